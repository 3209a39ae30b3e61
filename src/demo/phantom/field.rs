//! Points, rotations, distances and smooth random fields: what a head is built from. Lengths in mm.

use super::random::Random;

pub(super) type Point = [f32; 3];

/// A smooth random field with values in [-1, 1]: a few plane waves, evaluated at any point.
#[derive(Debug, Clone)]
pub(super) struct Waves(Vec<Wave>);

#[derive(Debug, Clone)]
struct Wave {
    vector: Point,
    phase: f32,
}

impl Waves {
    pub(super) fn draw(random: &mut Random, count: usize, wavelength_mm: (f32, f32)) -> Self {
        let waves = (0..count).map(|_| {
            let direction = direction(random);
            let wavelength = random.within(wavelength_mm.0, wavelength_mm.1);
            let vector = direction.map(|part| std::f32::consts::TAU * part / wavelength);
            Wave { vector, phase: random.within(0.0, std::f32::consts::TAU) }
        });
        Self(waves.collect())
    }

    pub(super) fn at(&self, point: Point) -> f32 {
        let sum: f32 = self.0.iter().map(|wave| (dot(point, wave.vector) + wave.phase).sin()).sum();
        sum / self.0.len() as f32
    }
}

/// A direction with no preferred axis: points of the cube outside the ball are drawn again.
fn direction(random: &mut Random) -> Point {
    loop {
        let point = [random.within(-1.0, 1.0), random.within(-1.0, 1.0), random.within(-1.0, 1.0)];
        let length = dot(point, point).sqrt();
        if (0.05..1.0).contains(&length) {
            return point.map(|part| part / length);
        }
    }
}

/// A rotation, by rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation([Point; 3]);

impl Rotation {
    /// About x, then y, then z.
    pub(super) fn from_degrees(angles: Point) -> Self {
        let [(sa, ca), (sb, cb), (sc, cc)] = angles.map(|angle| angle.to_radians().sin_cos());
        Self([
            [cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
            [sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
            [-sb, cb * sa, cb * ca],
        ])
    }

    pub(super) fn apply(&self, point: Point) -> Point {
        self.0.map(|row| dot(row, point))
    }

    /// The rotation backwards.
    pub(super) fn undo(&self, point: Point) -> Point {
        [0, 1, 2]
            .map(|axis| self.0[0][axis] * point[0] + self.0[1][axis] * point[1] + self.0[2][axis] * point[2])
    }
}

/// First-order signed distance to an ellipsoid with axes along the frame, negative inside.
pub(super) fn ellipsoid(point: Point, centre: Point, radii: Point) -> f32 {
    let (mut level, mut slope) = (0.0, 0.0);
    for axis in 0..3 {
        let part = (point[axis] - centre[axis]) / radii[axis];
        level += part * part;
        slope += (part / radii[axis]) * (part / radii[axis]);
    }
    let level = level.sqrt();
    level * (level - 1.0) / slope.sqrt().max(1e-6)
}

pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn plus(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}
