//! A label map that is read one slice at a time.

use std::{io, ops::BitOr};

use ndarray::{ArrayView3, Axis};

/// Slices of a label map, each row after row; read in any order, more than once.
pub trait LabelPlanes {
    /// Slices, rows, columns.
    fn shape(&self) -> [usize; 3];

    /// The voxels of one slice.
    ///
    /// # Errors
    /// When the slice cannot be read.
    fn plane(&mut self, slice: usize) -> io::Result<LabelPlane<'_>>;
}

/// The voxels of one slice, as narrow as the reader could keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelPlane<'a> {
    Bytes(&'a [u8]),
    Words(&'a [u16]),
}

/// A voxel's value.
pub(super) trait Label: Copy + Eq + Default + BitOr<Output = Self> {
    /// How many there are.
    const VALUES: usize;

    fn value(self) -> u16;

    /// One bit for each voxel that has `value`, as [`super::pack::pack`] orders them.
    fn pack(plane: &[Self], value: u16) -> Vec<u8>;
}

impl Label for u8 {
    const VALUES: usize = 1 << 8;

    fn value(self) -> u16 {
        u16::from(self)
    }

    fn pack(plane: &[Self], value: u16) -> Vec<u8> {
        // a byte's value comes from a byte
        super::pack::pack(plane, value as u8)
    }
}

impl Label for u16 {
    const VALUES: usize = 1 << 16;

    fn value(self) -> u16 {
        self
    }

    fn pack(plane: &[Self], value: u16) -> Vec<u8> {
        let is_it: Vec<u8> = plane.iter().map(|&label| u8::from(label == value)).collect();
        super::pack::pack(&is_it, 1)
    }
}

/// A label map in memory.
pub(super) struct ArrayPlanes<'a> {
    labels: ArrayView3<'a, u8>,
    /// A slice of an array that does not lie in memory row after row.
    copy: Vec<u8>,
}

impl<'a> ArrayPlanes<'a> {
    pub(super) fn new(labels: ArrayView3<'a, u8>) -> Self {
        Self { labels, copy: Vec::new() }
    }
}

impl LabelPlanes for ArrayPlanes<'_> {
    fn shape(&self) -> [usize; 3] {
        let (slices, rows, columns) = self.labels.dim();
        [slices, rows, columns]
    }

    fn plane(&mut self, slice: usize) -> io::Result<LabelPlane<'_>> {
        let [_, rows, columns] = self.shape();
        if let Some(all) = self.labels.as_slice() {
            let start = slice * rows * columns;
            return Ok(LabelPlane::Bytes(&all[start..start + rows * columns]));
        }
        self.copy.clear();
        self.copy.extend(self.labels.index_axis(Axis(0), slice).iter());
        Ok(LabelPlane::Bytes(&self.copy))
    }
}
