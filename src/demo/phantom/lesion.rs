//! A lesion: a core, solid or with necrosis or not enhancing, and oedema in the white matter around it.

use super::field::{Point, Rotation, Waves, ellipsoid, minus};
use super::random::Random;

/// What the core does after contrast agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LesionKind {
    Enhancing,
    Necrotic,
    NonEnhancing,
}

/// Signal of a T1-weighted image after contrast agent, relative to normal white matter.
mod signal {
    pub(super) const ENHANCING: (f32, f32) = (1.3, 1.65);
    pub(super) const NECROSIS: (f32, f32) = (0.32, 0.45);
    pub(super) const NON_ENHANCING: (f32, f32) = (0.45, 0.56);
    pub(super) const OEDEMA: (f32, f32) = (0.69, 0.8);
}

/// One lesion in head coordinates.
#[derive(Debug, Clone)]
pub(super) struct Lesion {
    pub(super) kind: LesionKind,
    pub(super) centre: Point,
    radii: Point,
    turn: Rotation,
    roughness_mm: f32,
    shape: Waves,
    texture: Waves,
    rim_mm: f32,
    oedema_mm: f32,
    halo: Waves,
    core_signal: f32,
    necrosis_signal: f32,
    oedema_signal: f32,
}

/// A lesion as the generator placed it, whatever grid it is sampled on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownLesion {
    pub(crate) kind: LesionKind,
    /// Centre of mass of the core, in patient coordinates (LPS), mm.
    pub(crate) core_centre_lps: [f64; 3],
    pub(crate) core_ml: f64,
    pub(crate) oedema_ml: f64,
}

/// How much a lesion changes one point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    pub(super) swelling: f32,
    pub(super) oedema: f32,
    pub(super) core: f32,
    pub(super) core_signal: f32,
    pub(super) is_core: bool,
}

/// What lies at a point before the lesion is painted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    /// Signed distance to the brain's hull, negative inside.
    pub(super) hull: f32,
    /// How much of the point is tissue (not CSF), and how much of that is white matter.
    pub(super) tissue: f32,
    pub(super) white: f32,
}

impl Lesion {
    pub(super) fn draw(random: &mut Random, brain: Point) -> Self {
        let radius = random.within(11.0, 17.0);
        let kind = match random.below(3) {
            0 => LesionKind::Enhancing,
            1 => LesionKind::Necrotic,
            _ => LesionKind::NonEnhancing,
        };
        let (low, high) = match kind {
            LesionKind::Enhancing | LesionKind::Necrotic => signal::ENHANCING,
            LesionKind::NonEnhancing => signal::NON_ENHANCING,
        };
        Self {
            kind,
            centre: place(random, brain, radius),
            radii: [0, 1, 2].map(|_| radius * random.within(0.85, 1.15)),
            turn: Rotation::from_degrees([0, 1, 2].map(|_| random.within(-90.0, 90.0))),
            roughness_mm: radius * random.within(0.03, 0.14),
            shape: Waves::draw(random, 5, (14.0, 34.0)),
            texture: Waves::draw(random, 6, (5.0, 14.0)),
            rim_mm: radius * random.within(0.2, 0.4) + 1.0,
            oedema_mm: random.within(7.0, 16.0),
            halo: Waves::draw(random, 5, (25.0, 60.0)),
            core_signal: random.within(low, high),
            necrosis_signal: random.within(signal::NECROSIS.0, signal::NECROSIS.1),
            oedema_signal: random.within(signal::OEDEMA.0, signal::OEDEMA.1),
        }
    }

    /// Half the edge of a cube around the centre that holds core and oedema.
    pub(super) fn reach_mm(&self) -> f32 {
        self.radii.iter().copied().fold(0.0, f32::max) * 1.15 + 1.35 * self.oedema_mm + 4.0
    }

    /// How the lesion changes a point; nothing where it is out of reach.
    pub(super) fn touch(&self, point: Point, ground: Ground, edge_mm: f32) -> Option<Touch> {
        let from_centre = minus(point, self.centre);
        let reach = self.reach_mm();
        if from_centre.iter().any(|part| part.abs() > reach) {
            return None;
        }
        let turned = self.turn.undo(from_centre);
        let distance = ellipsoid(turned, [0.0; 3], self.radii) + self.roughness_mm * self.shape.at(point);
        let distance = distance.max(ground.hull + 0.5);
        let width = self.oedema_mm * (0.75 + 0.6 * self.halo.at(point));
        let swelling =
            (0.5 - (distance - width) / 2.5).clamp(0.0, 1.0) * ground.tissue * (0.3 + 0.7 * ground.white);
        let texture = self.texture.at(point);
        Some(Touch {
            swelling,
            oedema: self.oedema_signal * (1.0 + 0.04 * texture),
            core: cover(distance, edge_mm),
            core_signal: self.core_signal_at(distance, texture, edge_mm),
            is_core: distance < 0.0,
        })
    }

    fn core_signal_at(&self, distance: f32, texture: f32, edge_mm: f32) -> f32 {
        let solid = self.core_signal * (1.0 + 0.1 * texture);
        if self.kind != LesionKind::Necrotic {
            return solid;
        }
        let dead = cover(distance + self.rim_mm + 0.8 * texture, edge_mm);
        solid + dead * (self.necrosis_signal * (1.0 + 0.06 * texture) - solid)
    }
}

/// How much of a point lies inside a boundary at a signed distance: the partial volume.
pub(super) fn cover(distance: f32, edge_mm: f32) -> f32 {
    (0.5 - distance / edge_mm).clamp(0.0, 1.0)
}

/// Somewhere in a hemisphere, deep enough to lie in the brain, and not across the midline.
fn place(random: &mut Random, brain: Point, radius: f32) -> Point {
    loop {
        let centre = [
            random.within(-0.8, 0.8) * brain[0],
            random.within(-0.8, 0.8) * brain[1],
            random.within(-0.3, 0.7) * brain[2],
        ];
        let deep = ellipsoid(centre, [0.0; 3], brain) < -(0.8 * radius + 5.0);
        if deep && centre[0].abs() > 1.2 * radius {
            return centre;
        }
    }
}
