//! A head: tissues painted one over another, seen through a coil and with noise.

use super::field::{Point, Rotation, Waves, ellipsoid, minus, plus};
use super::geometry::Stack;
use super::lesion::{Ground, KnownLesion, Lesion, cover};
use super::random::{Random, normal_pair};

/// Signal of a T1-weighted image after contrast agent, relative to normal white matter.
mod signal {
    pub(super) const WHITE: f32 = 1.0;
    pub(super) const GREY: f32 = 0.76;
    pub(super) const CSF: f32 = 0.3;
    pub(super) const FAT: f32 = 1.5;
    pub(super) const MUSCLE: f32 = 0.65;
    pub(super) const MARROW: f32 = 0.8;
    pub(super) const EYE: f32 = 0.35;
    pub(super) const BONE: f32 = 0.08;
}

/// Grey nuclei of one side: centre (its x is towards the side) and radii.
const NUCLEI: [(Point, Point); 3] = [
    ([14.0, 8.0, 4.0], [8.0, 14.0, 9.0]),
    ([26.0, -6.0, 2.0], [5.0, 17.0, 10.0]),
    ([13.0, -22.0, 10.0], [5.0, 10.0, 9.0]),
];

/// Far outside of anything.
const FAR_MM: f32 = 9.0;

/// Edge of the cubes in which the truth is counted.
const TRUTH_STEP_MM: f32 = 0.75;

/// A tube that winds along one axis of the head; as bright as an enhancing lesion.
#[derive(Debug, Clone)]
struct Vessel {
    axis: usize,
    start: f32,
    end: f32,
    offset: [f32; 2],
    swing: [f32; 2],
    wavelength: f32,
    radius: f32,
}

impl Vessel {
    fn draw(random: &mut Random, brain: Point) -> Self {
        let axis = random.below(3) as usize;
        let across = [[1, 2], [0, 2], [0, 1]][axis];
        let start = random.within(-0.7, 0.2) * brain[axis];
        Self {
            axis,
            start,
            end: start + random.within(20.0, 60.0),
            offset: across.map(|other| random.within(-0.6, 0.6) * brain[other]),
            swing: [random.within(2.0, 9.0), random.within(2.0, 9.0)],
            wavelength: random.within(25.0, 70.0),
            radius: random.within(0.9, 2.2),
        }
    }

    fn distance(&self, point: Point) -> f32 {
        let along = point[self.axis];
        let ends = (self.start - along).max(along - self.end);
        if ends > FAR_MM {
            return ends;
        }
        let (first, second) = match self.axis {
            0 => (point[1], point[2]),
            1 => (point[0], point[2]),
            _ => (point[0], point[1]),
        };
        let (sine, cosine) = (std::f32::consts::TAU * along / self.wavelength).sin_cos();
        let aside = (first - self.offset[0] - self.swing[0] * sine)
            .hypot(second - self.offset[1] - self.swing[1] * cosine);
        ends.max(aside - self.radius)
    }
}

/// Everything that is drawn from the seed.
#[derive(Debug, Clone)]
pub(super) struct Head {
    seed: u64,
    /// Half axes of the brain's hull, mm.
    brain: Point,
    turn: Rotation,
    centre: Point,
    ventricle_scale: f32,
    fold_depth_mm: f32,
    cortex_mm: f32,
    folds: Waves,
    texture: Waves,
    marrow: Waves,
    vessels: Vec<Vessel>,
    vessel_signal: f32,
    lesions: Vec<Lesion>,
    bias: Waves,
    bias_depth: f32,
    noise: f32,
    edge_mm: f32,
    gain: f32,
}

impl Head {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let scale = random.within(0.94, 1.04);
        let brain = [66.0, 84.0, 68.0].map(|radius: f32| radius * scale);
        let vessels = 6 + random.below(4);
        Self {
            seed,
            brain,
            turn: Rotation::from_degrees([0, 1, 2].map(|_| random.sign() * random.within(1.0, 9.0))),
            centre: [0, 1, 2].map(|_| random.within(-5.0, 5.0)),
            ventricle_scale: random.within(0.8, 1.4),
            fold_depth_mm: random.within(9.0, 14.0),
            cortex_mm: random.within(2.8, 3.6),
            folds: Waves::draw(&mut random, 7, (15.0, 30.0)),
            texture: Waves::draw(&mut random, 6, (8.0, 30.0)),
            marrow: Waves::draw(&mut random, 5, (8.0, 30.0)),
            vessels: (0..vessels).map(|_| Vessel::draw(&mut random, brain)).collect(),
            vessel_signal: random.within(1.3, 1.7),
            lesions: vec![Lesion::draw(&mut random, brain)],
            bias: Waves::draw(&mut random, 4, (160.0, 420.0)),
            bias_depth: random.within(0.08, 0.22),
            noise: random.within(0.015, 0.035),
            edge_mm: random.within(1.0, 1.6),
            gain: random.within(350.0, 550.0),
        }
    }

    /// The stored pixel values of one slice, row by row.
    pub(super) fn slice(&self, stack: &Stack, slice: usize) -> Vec<u16> {
        let matrix = stack.matrix;
        let place = |row: usize, column: usize| ((slice * matrix + row) * matrix + column) as u64;
        let mut pixels = Vec::with_capacity(matrix * matrix);
        for row in 0..matrix {
            for column in 0..matrix {
                let patient = stack.point(slice, row, column);
                let ideal = self.signal(self.in_head(patient)).unwrap_or(0.0);
                let seen = if ideal > 0.0 { ideal * self.coil(patient) } else { 0.0 };
                let [real, imaginary] =
                    normal_pair(self.seed, place(row, column)).map(|part| part * self.noise);
                // Rician, as magnitude images are.
                let magnitude = (seen + real).hypot(imaginary) * self.gain;
                pixels.push(magnitude.round().clamp(0.0, 4095.0) as u16);
            }
        }
        pixels
    }

    /// Where the lesions are and how large, counted on a fine grid of the generator's own.
    pub(super) fn known_lesions(&self) -> Vec<KnownLesion> {
        self.lesions.iter().map(|lesion| self.known(lesion)).collect()
    }

    fn known(&self, lesion: &Lesion) -> KnownLesion {
        let steps = (lesion.reach_mm() / TRUTH_STEP_MM).ceil() as i32;
        let (mut core, mut oedema, mut sum) = (0u32, 0u32, [0f64; 3]);
        let offsets = || (-steps..=steps).map(|step| step as f32 * TRUTH_STEP_MM);
        for z in offsets() {
            for y in offsets() {
                for x in offsets() {
                    let point = plus(lesion.centre, [x, y, z]);
                    let Some(touch) = lesion.touch(point, self.ground(point), self.edge_mm) else { continue };
                    if touch.is_core {
                        core += 1;
                        let patient = plus(self.turn.apply(point), self.centre);
                        (0..3).for_each(|axis| sum[axis] += f64::from(patient[axis]));
                    } else if touch.swelling >= 0.5 {
                        oedema += 1;
                    }
                }
            }
        }
        let cube_ml = f64::from(TRUTH_STEP_MM).powi(3) / 1000.0;
        KnownLesion {
            kind: lesion.kind,
            core_centre_lps: sum.map(|total| total / f64::from(core.max(1))),
            core_ml: f64::from(core) * cube_ml,
            oedema_ml: f64::from(oedema) * cube_ml,
        }
    }

    fn in_head(&self, patient: Point) -> Point {
        self.turn.undo(minus(patient, self.centre))
    }

    fn coil(&self, patient: Point) -> f32 {
        (2.0 * self.bias_depth * self.bias.at(patient)).exp()
    }

    fn hull(&self, point: Point) -> f32 {
        ellipsoid(point, [0.0; 3], self.brain)
    }

    /// Signal at a point of the head; nothing in air.
    fn signal(&self, point: Point) -> Option<f32> {
        let hull = self.hull(point);
        let [x, y, z] = point;
        let near_neck = z < -40.0 && x.abs() < 62.0 && y > -110.0 && y < 80.0;
        if hull >= 18.0 && !near_neck {
            return None;
        }
        let mut paint = Paint { signal: 0.0, edge_mm: self.edge_mm };
        self.paint_shell(&mut paint, point, hull);
        if hull < 6.0 {
            let ground = self.paint_brain(&mut paint, point, hull);
            self.paint_vessels(&mut paint, point, hull);
            for touch in self.lesions.iter().filter_map(|lesion| lesion.touch(point, ground, self.edge_mm)) {
                paint.blend(touch.swelling, touch.oedema);
                paint.blend(touch.core, touch.core_signal);
            }
        }
        Some(paint.signal)
    }

    /// Neck, face, scalp, skull and eyes.
    fn paint_shell(&self, paint: &mut Paint, point: Point, hull: f32) {
        let [x, y, z] = point;
        if hull < 0.0 {
            return; // the brain covers it all
        }
        let marrow = self.marrow.at(point);
        paint.over((x.hypot(y - 18.0) - 56.0).max(z + 45.0), signal::MUSCLE);
        paint.over(ellipsoid(point, [0.0, -62.0, -62.0], [50.0, 42.0, 44.0]), signal::MUSCLE);
        paint.over(hull - 15.0, signal::FAT);
        paint.over(hull - 13.0 + 1.5 * marrow, signal::MUSCLE);
        paint.over(hull - 10.5, signal::BONE);
        paint.over((hull - 6.5).abs() - 1.6, signal::MARROW * (0.8 + 0.35 * marrow));
        for side in [-1.0, 1.0] {
            paint.over(ellipsoid(point, [side * 31.0, -84.0, -30.0], [17.0, 15.0, 16.0]), signal::FAT);
            paint.over(ellipsoid(point, [side * 31.0, -87.0, -30.0], [12.0; 3]), signal::EYE);
        }
    }

    /// CSF, hemispheres, nuclei, cerebellum, stem and ventricles.
    fn paint_brain(&self, paint: &mut Paint, point: Point, hull: f32) -> Ground {
        let hemispheres = self.hemispheres(point, hull);
        paint.over(hull - 2.5, signal::CSF);
        let floor = floor(point);
        if floor + 4.0 < self.edge_mm {
            paint.over((floor + 4.0).max(hull - 2.5), 0.4 + 0.25 * self.marrow.at(point));
        }
        paint.over(hemispheres, signal::GREY);
        let mut white = cover(hemispheres + self.cortex_mm, self.edge_mm);
        if white > 0.0 {
            paint.blend(white, signal::WHITE * (1.0 + 0.04 * self.texture.at(point)));
        }
        for (centre, radii) in NUCLEI {
            let beside = [point[0].abs(), point[1], point[2]];
            let nucleus = cover(ellipsoid(beside, centre, radii), self.edge_mm);
            paint.blend(0.85 * nucleus, signal::GREY * 1.03);
            white *= 1.0 - nucleus;
        }
        let low = self.paint_hind_brain(paint, point);
        let ventricle = self.paint_ventricles(paint, point);
        let tissue = cover(hemispheres.min(low), self.edge_mm) * cover(-ventricle, self.edge_mm);
        Ground { hull, tissue, white }
    }

    /// Signed distance to the tissue of the hemispheres: the hull less the sulci, the fissure and what is below.
    fn hemispheres(&self, point: Point, hull: f32) -> f32 {
        let [x, y, z] = point;
        // The sulci are sheets: where the field is zero.
        let sulcus = (1.0 - 4.4 * self.folds.at(point).abs()).clamp(0.0, 1.0) * self.fold_depth_mm;
        let mut depth = -hull - sulcus;
        if z > 8.0 {
            depth = depth.min((x + 0.03 * y).abs() - 0.8);
        }
        -depth.min(floor(point))
    }

    fn paint_hind_brain(&self, paint: &mut Paint, point: Point) -> f32 {
        let z = point[2];
        if z >= -12.0 {
            return FAR_MM;
        }
        let (cerebellum, stem) = hind_brain(point);
        paint.over(cerebellum.min(stem) - 3.0, signal::CSF);
        paint.over(cerebellum, signal::GREY);
        paint.over((cerebellum + 7.0).min(stem), signal::WHITE * 0.95);
        cerebellum.min(stem)
    }

    fn paint_ventricles(&self, paint: &mut Paint, point: Point) -> f32 {
        let [x, y, z] = point;
        let scale = self.ventricle_scale;
        let (horn, third) = self.ventricles(point);
        paint.over(horn, signal::CSF);
        let plexus = ellipsoid([x.abs(), y, z], [7.0 + 5.0 * scale, 20.0, 12.0], [2.4, 7.0, 2.6]);
        paint.over(plexus, self.vessel_signal * 0.9);
        paint.over(third, signal::CSF);
        horn.min(third)
    }

    fn ventricles(&self, [x, y, z]: Point) -> (f32, f32) {
        let scale = self.ventricle_scale;
        let bent = [x.abs(), y, z + 0.006 * y * y];
        let radii = [5.5 * scale, 32.0 * (0.7 + 0.3 * scale), 7.5 * scale];
        let horn = ellipsoid(bent, [5.0 + 4.0 * scale, 2.0, 18.0], radii);
        (horn, ellipsoid([x, y, z], [0.0, 4.0, 2.0], [1.6 * scale, 12.0, 9.0]))
    }

    /// Vessels of the brain, and the superior sagittal sinus along the vault.
    fn paint_vessels(&self, paint: &mut Paint, point: Point, hull: f32) {
        for vessel in &self.vessels {
            paint.over(vessel.distance(point).max(hull + 2.0), self.vessel_signal);
        }
        if point[2] > 0.0 {
            paint.over(point[0].hypot(hull - 1.0) - 3.6, self.vessel_signal);
        }
    }

    /// What a lesion grows into at a point.
    fn ground(&self, point: Point) -> Ground {
        let hull = self.hull(point);
        // Nothing is seen of this paint; the ground is what painting finds out.
        self.paint_brain(&mut Paint { signal: 0.0, edge_mm: self.edge_mm }, point, hull)
    }
}

/// Signed height above the base of the hemispheres.
fn floor([_, y, z]: Point) -> f32 {
    z + 42.0 + 0.12 * y
}

/// Signed distances to the cerebellum, with its folia, and to the brain stem.
fn hind_brain(point: Point) -> (f32, f32) {
    let [x, y, z] = point;
    let folia = 2.2 * (0.9 * z + 0.05 * y).sin().abs();
    let cerebellum = ellipsoid(point, [0.0, 42.0, -48.0], [48.0, 30.0, 22.0]) + folia;
    let stem = (x.hypot(y - 10.0 - 0.12 * z) - 12.0).max(z + 14.0);
    (cerebellum, stem)
}

/// The signal at one point while coats are laid over it, softly within the edge.
struct Paint {
    signal: f32,
    edge_mm: f32,
}

impl Paint {
    fn over(&mut self, distance: f32, signal: f32) {
        self.blend(cover(distance, self.edge_mm), signal);
    }

    fn blend(&mut self, fraction: f32, signal: f32) {
        self.signal += fraction * (signal - self.signal);
    }
}
