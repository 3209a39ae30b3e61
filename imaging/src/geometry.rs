//! Where voxels lie in the patient: slices by their true positions, in LPS millimetres.
//!
//! A [`Grid`] never loses where a slice was acquired. Its affine is what tools with one
//! matrix expect (the mean step between slices); [`Grid::point`] and [`Grid::index`] go by
//! the positions themselves and so are exact for uneven spacing and tilted gantries too.

use serde::{Deserialize, Serialize};

pub type Point = [f64; 3];

/// Lengths in a patient, mm: what lies outside is a mistake, and its squares might be infinite or nothing.
const LENGTH_MIN: f64 = 1e-7;
const LENGTH_MAX: f64 = 1e7;
/// Slices are evenly spaced when each lies within this part of a step from its place.
const UNEVEN_FRACTION: f64 = 0.05;
/// A stack leans when its steps depart from the normal by more than this.
const TILT_DEGREES: f64 = 0.1;
/// A plane is called after an axis when its normal is within this angle of it.
const OBLIQUE_DEGREES: f64 = 10.0;

/// Why positions and orientations make no grid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeometryError {
    #[error("row and column directions are no two perpendicular unit vectors")]
    Orientation,
    #[error("pixel spacing {0:?} is no length in a patient")]
    Spacing([f64; 2]),
    #[error("the position of slice {0} is no place")]
    Position(usize),
    #[error("there is no slice")]
    Empty,
    #[error("slices {0} and {1} lie at the same place or out of order")]
    Order(usize, usize),
}

/// A stack of equal, parallel slices in patient coordinates.
///
/// An index is (column, row, slice), voxel centres at whole numbers; slices go along the
/// normal, which is row direction × column direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Columns, rows, slices.
    pub dims: [usize; 3],
    /// (column, row, slice, 1) → LPS mm. Exact for every slice if the grid is regular.
    pub affine: [[f64; 4]; 4],
    /// The centre of the first voxel of each slice.
    pub positions: Vec<Point>,
}

/// How the slices of a grid follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Regularity {
    /// The largest departure of a slice from even spacing, mm along the normal.
    pub unevenness_mm: f64,
    /// The angle between the stack's own direction and the normal of its slices.
    pub tilt_degrees: f64,
    pub is_even: bool,
    pub is_upright: bool,
}

/// The plane in which slices were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    Axial,
    Sagittal,
    Coronal,
    Oblique,
    /// The image does not say where in the patient it lies (CR, DX, MG, photographs).
    Unplaced,
}

impl Grid {
    /// A grid of slices as they were acquired. `pixel_spacing` is that of DICOM: between
    /// rows, then between columns. `thickness` stands in for the step of a single slice.
    ///
    /// # Errors
    /// When the directions are not perpendicular, a spacing is not positive or the
    /// positions do not go along the normal.
    pub fn from_slices(
        size: [usize; 2],
        orientation: [f64; 6],
        pixel_spacing: [f64; 2],
        positions: Vec<Point>,
        thickness: f64,
    ) -> Result<Self, GeometryError> {
        let (along_row, along_column) = directions(orientation).ok_or(GeometryError::Orientation)?;
        if !pixel_spacing.iter().all(|spacing| (LENGTH_MIN..=LENGTH_MAX).contains(spacing)) {
            return Err(GeometryError::Spacing(pixel_spacing));
        }
        let is_nowhere =
            |position: &Point| position.iter().any(|axis| !(-LENGTH_MAX..=LENGTH_MAX).contains(axis));
        if let Some(slice) = positions.iter().position(is_nowhere) {
            return Err(GeometryError::Position(slice));
        }
        let normal = cross(along_row, along_column);
        let origin = *positions.first().ok_or(GeometryError::Empty)?;
        for (slice, pair) in positions.windows(2).enumerate() {
            // NaN is out of order as well.
            if !matches!(
                dot(sub(pair[1], pair[0]), normal).partial_cmp(&0.0),
                Some(std::cmp::Ordering::Greater)
            ) {
                return Err(GeometryError::Order(slice, slice + 1));
            }
        }
        let step = match positions.as_slice() {
            [first, .., last] => scale(sub(*last, *first), 1.0 / (positions.len() - 1) as f64),
            _ => scale(normal, if (LENGTH_MIN..=LENGTH_MAX).contains(&thickness) { thickness } else { 1.0 }),
        };
        let columns =
            [scale(along_row, pixel_spacing[1]), scale(along_column, pixel_spacing[0]), step, origin];
        Ok(Self { dims: [size[0], size[1], positions.len()], affine: affine(columns), positions })
    }

    /// An even grid given by its matrix, whose third column need not be perpendicular.
    pub fn from_affine(dims: [usize; 3], affine: [[f64; 4]; 4]) -> Self {
        let at = |slice: usize| transform(&affine, [0.0, 0.0, slice as f64]);
        Self { dims, affine, positions: (0..dims[2]).map(at).collect() }
    }

    pub fn columns(&self) -> usize {
        self.dims[0]
    }

    pub fn rows(&self) -> usize {
        self.dims[1]
    }

    pub fn slices(&self) -> usize {
        self.dims[2]
    }

    pub fn origin(&self) -> Point {
        self.column(3)
    }

    /// Distance between voxel centres along columns, rows and slices (the mean of the last,
    /// measured along the normal).
    pub fn spacing(&self) -> [f64; 3] {
        [norm(self.column(0)), norm(self.column(1)), dot(self.column(2), self.normal()).abs()]
    }

    /// Image Orientation (Patient): direction of a row, then of a column.
    pub fn orientation(&self) -> [f64; 6] {
        let ([a, b, c], [d, e, f]) = (unit(self.column(0)), unit(self.column(1)));
        [a, b, c, d, e, f]
    }

    /// Row direction × column direction.
    pub fn normal(&self) -> Point {
        cross(unit(self.column(0)), unit(self.column(1)))
    }

    pub fn plane(&self) -> Plane {
        plane(self.normal())
    }

    /// The patient coordinates of an index; between slices it follows the line from one to
    /// the next, beyond the ends the line of the last two.
    pub fn point(&self, index: [f64; 3]) -> Point {
        let in_plane = add(scale(self.column(0), index[0]), scale(self.column(1), index[1]));
        add(self.slice_origin(index[2]), in_plane)
    }

    /// The index of a point in patient coordinates: the inverse of [`Grid::point`].
    pub fn index(&self, point: Point) -> [f64; 3] {
        let slice = self.slice_of(point);
        let rest = sub(point, self.slice_origin(slice));
        let (right, down) = (self.column(0), self.column(1));
        [dot(rest, right) / dot(right, right), dot(rest, down) / dot(down, down), slice]
    }

    /// How thick a slab slice `slice` stands for: half the way to each neighbour; at an end
    /// the way to the only neighbour.
    pub fn slice_extent_mm(&self, slice: usize) -> f64 {
        let step = |from: usize| dot(sub(self.positions[from + 1], self.positions[from]), self.normal());
        match (slice.checked_sub(1), slice + 1 < self.slices()) {
            (Some(before), true) => f64::midpoint(step(before), step(slice)),
            (Some(before), false) => step(before),
            (None, true) => step(slice),
            (None, false) => self.spacing()[2],
        }
    }

    /// The volume of a voxel in slice `slice`.
    pub fn voxel_volume_mm3(&self, slice: usize) -> f64 {
        let [x, y, _] = self.spacing();
        x * y * self.slice_extent_mm(slice)
    }

    /// The length along the normal that the slices cover, from outer face to outer face.
    pub fn coverage_mm(&self) -> f64 {
        (0..self.slices()).map(|slice| self.slice_extent_mm(slice)).sum()
    }

    pub fn regularity(&self) -> Regularity {
        let normal = self.normal();
        let step = dot(self.column(2), normal);
        let unevenness_mm = self
            .positions
            .iter()
            .enumerate()
            .map(|(slice, position)| (dot(sub(*position, self.origin()), normal) - step * slice as f64).abs())
            .fold(0.0, f64::max);
        let lean = norm(sub(self.column(2), scale(normal, step)));
        let tilt_degrees = lean.atan2(step.abs()).to_degrees();
        Regularity {
            unevenness_mm,
            tilt_degrees,
            is_even: unevenness_mm <= UNEVEN_FRACTION * step.abs(),
            is_upright: tilt_degrees <= TILT_DEGREES,
        }
    }

    /// Whether the affine places every voxel and its axes are perpendicular.
    pub fn is_regular(&self) -> bool {
        let regularity = self.regularity();
        regularity.is_even && regularity.is_upright
    }

    fn column(&self, axis: usize) -> Point {
        [self.affine[0][axis], self.affine[1][axis], self.affine[2][axis]]
    }

    fn slice_origin(&self, slice: f64) -> Point {
        if self.slices() < 2 {
            return add(self.origin(), scale(self.column(2), slice));
        }
        let below = segment(slice.floor(), self.slices());
        let (from, to) = (self.positions[below], self.positions[below + 1]);
        add(from, scale(sub(to, from), slice - below as f64))
    }

    fn slice_of(&self, point: Point) -> f64 {
        let normal = self.normal();
        let height = |position: Point| dot(sub(point, position), normal);
        if self.slices() < 2 {
            return height(self.origin()) / dot(self.column(2), normal);
        }
        let passed = self.positions.partition_point(|position| height(*position) >= 0.0);
        let below = segment(passed as f64 - 1.0, self.slices());
        let step = dot(sub(self.positions[below + 1], self.positions[below]), normal);
        below as f64 + height(self.positions[below]) / step
    }
}

/// The slice below `slice` such that there is one above it as well.
fn segment(slice: f64, slices: usize) -> usize {
    // Saturates at both ends; NaN becomes 0.
    (slice.max(0.0) as usize).min(slices - 2)
}

/// The plane whose normal is `normal`.
pub fn plane(normal: Point) -> Plane {
    let limit = OBLIQUE_DEGREES.to_radians().cos();
    match normal.map(f64::abs) {
        [_, _, z] if z >= limit => Plane::Axial,
        [x, _, _] if x >= limit => Plane::Sagittal,
        [_, y, _] if y >= limit => Plane::Coronal,
        _ => Plane::Oblique,
    }
}

/// PS3.3 C.7.6.2.1.1: two perpendicular unit vectors; rounding in the text is forgiven.
pub(crate) fn directions(orientation: [f64; 6]) -> Option<(Point, Point)> {
    let [a, b, c, d, e, f] = orientation;
    let (row, column) = ([a, b, c], [d, e, f]);
    let is_unit = |vector: Point| (norm(vector) - 1.0).abs() < 0.01;
    (is_unit(row) && is_unit(column) && dot(row, column).abs() < 0.01).then(|| (unit(row), unit(column)))
}

pub(crate) fn transform(affine: &[[f64; 4]; 4], [x, y, z]: Point) -> Point {
    let along = |row: &[f64; 4]| row[0] * x + row[1] * y + row[2] * z + row[3];
    [along(&affine[0]), along(&affine[1]), along(&affine[2])]
}

fn affine(columns: [Point; 4]) -> [[f64; 4]; 4] {
    let row = |axis: usize| columns.map(|column| column[axis]);
    [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]]
}

pub(crate) fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Point, b: Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(crate) fn scale(vector: Point, factor: f64) -> Point {
    vector.map(|component| component * factor)
}

pub(crate) fn norm(vector: Point) -> f64 {
    dot(vector, vector).sqrt()
}

fn unit(vector: Point) -> Point {
    scale(vector, 1.0 / norm(vector))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

    fn at(z: &[f64], lean: f64) -> Vec<Point> {
        z.iter().map(|z| [10.0, 20.0 + lean * z, *z]).collect()
    }

    fn grid(z: &[f64], lean: f64) -> Grid {
        Grid::from_slices([4, 3], AXIAL, [2.0, 0.5], at(z, lean), 1.0).unwrap()
    }

    #[track_caller]
    fn close(a: Point, b: Point) {
        assert!(norm(sub(a, b)) < 1e-9, "{a:?} {b:?}");
    }

    #[test]
    fn index_is_the_inverse_of_point_on_uneven_and_leaning_stacks() {
        for grid in [grid(&[0.0, 5.0, 10.0], 0.0), grid(&[0.0, 1.0, 5.0, 12.0], 0.3), grid(&[7.0], 0.0)] {
            for index in
                [[0.0, 0.0, 0.0], [1.5, 2.0, 0.25], [3.0, 1.0, 2.5], [-2.0, 9.0, -1.0], [0.0, 0.0, 7.0]]
            {
                close(grid.index(grid.point(index)), index);
            }
        }
    }

    #[test]
    fn a_slice_is_where_it_was_acquired_and_not_where_the_mean_step_puts_it() {
        let grid = grid(&[0.0, 1.0, 5.0, 12.0], 0.0);
        close(grid.point([0.0, 0.0, 1.0]), [10.0, 20.0, 1.0]);
        close(grid.point([2.0, 1.0, 1.5]), [11.0, 22.0, 3.0]);
        assert_eq!(grid.spacing(), [0.5, 2.0, 4.0]);
    }

    #[test]
    fn uneven_and_tilted_stacks_are_told_from_regular_ones() {
        assert!(grid(&[0.0, 5.0, 10.01], 0.0).is_regular());
        assert!(!grid(&[0.0, 1.0, 5.0], 0.0).regularity().is_even);
        let tilted = grid(&[0.0, 5.0, 10.0], 18.5_f64.to_radians().tan()).regularity();
        assert!(tilted.is_even && !tilted.is_upright);
        assert!((tilted.tilt_degrees - 18.5).abs() < 1e-9);
    }

    #[test]
    fn a_voxel_reaches_half_way_to_the_next_slice() {
        let grid = grid(&[0.0, 1.0, 5.0], 0.0);
        assert_eq!([0, 1, 2].map(|slice| grid.slice_extent_mm(slice)), [1.0, 2.5, 4.0]);
        assert_eq!(grid.voxel_volume_mm3(1), 2.5);
        assert_eq!(grid.coverage_mm(), 7.5);
    }

    #[test]
    fn planes_have_the_names_of_their_axes() {
        assert_eq!(plane([0.0, 0.0, -1.0]), Plane::Axial);
        assert_eq!(plane([1.0, 0.0, 0.0]), Plane::Sagittal);
        assert_eq!(plane([0.0, 1.0, 0.1]), Plane::Coronal);
        assert_eq!(plane([0.0, 0.5, 0.866]), Plane::Oblique);
    }

    #[test]
    fn impossible_geometry_is_refused() {
        let build = |orientation, spacing, z: &[f64]| {
            Grid::from_slices([4, 3], orientation, spacing, at(z, 0.0), 1.0).unwrap_err()
        };
        assert_eq!(build([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [1.0; 2], &[0.0]), GeometryError::Orientation);
        assert_eq!(build(AXIAL, [1.0, 0.0], &[0.0]), GeometryError::Spacing([1.0, 0.0]));
        assert_eq!(
            build(AXIAL, [1.0, f64::NAN], &[0.0]).to_string(),
            "pixel spacing [1.0, NaN] is no length in a patient"
        );
        assert_eq!(build(AXIAL, [1.0; 2], &[]), GeometryError::Empty);
        assert_eq!(build(AXIAL, [1.0; 2], &[0.0, 2.0, 1.0]), GeometryError::Order(1, 2));
        assert_eq!(build(AXIAL, [1.0; 2], &[0.0, f64::NAN]), GeometryError::Position(1));
        assert_eq!(build(AXIAL, [1.0; 2], &[f64::INFINITY]), GeometryError::Position(0));
        assert_eq!(build(AXIAL, [1e300, 1.0], &[0.0]), GeometryError::Spacing([1e300, 1.0]));
    }
}
