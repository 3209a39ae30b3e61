//! Where the slices of a phantom study lie: Image Plane Module (PS3.3 §C.7.6.2) in numbers.

use super::{PhantomStudy, field::Point};

/// How the slices are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orientation {
    Axial,
    Sagittal,
    Coronal,
    /// Axial, turned by 30° about the left-right axis and then by 30° about the body axis.
    Oblique,
}

impl Orientation {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Axial => "AX",
            Self::Sagittal => "SAG",
            Self::Coronal => "COR",
            Self::Oblique => "OBL",
        }
    }

    /// Direction of a row (along increasing column), and of a column.
    fn cosines(self) -> ([f64; 3], [f64; 3]) {
        match self {
            Self::Axial => ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            Self::Sagittal => ([0.0, 1.0, 0.0], [0.0, 0.0, -1.0]),
            Self::Coronal => ([1.0, 0.0, 0.0], [0.0, 0.0, -1.0]),
            Self::Oblique => {
                let (sine, cosine) = 30f64.to_radians().sin_cos();
                ([cosine, sine, 0.0], [-sine * cosine, cosine * cosine, sine])
            }
        }
    }
}

/// The middle of the field of view in patient coordinates: a little below the middle of the brain.
const MIDDLE: [f64; 3] = [0.0, 0.0, -8.0];

/// A stack of parallel slices.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    pub(super) row: [f64; 3],
    pub(super) column: [f64; 3],
    pub(super) normal: [f64; 3],
    first: [f64; 3],
    pub(super) matrix: usize,
    pixel_spacing_mm: f64,
    slice_spacing_mm: f64,
}

impl Stack {
    pub(super) fn new(options: &PhantomStudy) -> Self {
        let (row, column) = options.orientation.cosines();
        let normal = [
            row[1] * column[2] - row[2] * column[1],
            row[2] * column[0] - row[0] * column[2],
            row[0] * column[1] - row[1] * column[0],
        ];
        let in_plane = options.pixel_spacing_mm * f64::from(options.matrix - 1) / 2.0;
        let through = options.slice_spacing_mm * f64::from(options.slices - 1) / 2.0;
        let first = [0, 1, 2]
            .map(|axis| MIDDLE[axis] - in_plane * (row[axis] + column[axis]) - through * normal[axis]);
        Self {
            row,
            column,
            normal,
            first,
            matrix: usize::from(options.matrix),
            pixel_spacing_mm: options.pixel_spacing_mm,
            slice_spacing_mm: options.slice_spacing_mm,
        }
    }

    /// Image Position (Patient) of a slice: the centre of its first pixel.
    pub(super) fn position(&self, slice: usize) -> [f64; 3] {
        let along = self.slice_spacing_mm * slice as f64;
        [0, 1, 2].map(|axis| self.first[axis] + along * self.normal[axis])
    }

    /// Slice Location: the distance along the normal.
    pub(super) fn location(&self, slice: usize) -> f64 {
        let position = self.position(slice);
        (0..3).map(|axis| position[axis] * self.normal[axis]).sum()
    }

    /// The centre of a pixel in patient coordinates.
    pub(super) fn point(&self, slice: usize, row: usize, column: usize) -> Point {
        let origin = self.position(slice);
        let (right, down) = (self.pixel_spacing_mm * column as f64, self.pixel_spacing_mm * row as f64);
        [0, 1, 2].map(|axis| (origin[axis] + right * self.row[axis] + down * self.column[axis]) as f32)
    }
}
