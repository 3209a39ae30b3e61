//! A label map that is read one slice at a time.

use std::io;

use ndarray::{ArrayView3, Axis};

/// Slices of a label map, each row after row; read in any order, more than once.
pub trait LabelPlanes {
    /// Slices, rows, columns.
    fn shape(&self) -> [usize; 3];

    /// The voxels of one slice, from the label map itself or by way of `buffer`.
    ///
    /// # Errors
    /// When the slice cannot be read.
    fn plane<'p>(&'p mut self, slice: usize, buffer: &'p mut Vec<u8>) -> io::Result<&'p [u8]>;
}

/// A label map in memory.
pub(super) struct ArrayPlanes<'a>(pub(super) ArrayView3<'a, u8>);

impl LabelPlanes for ArrayPlanes<'_> {
    fn shape(&self) -> [usize; 3] {
        let (slices, rows, columns) = self.0.dim();
        [slices, rows, columns]
    }

    fn plane<'p>(&'p mut self, slice: usize, buffer: &'p mut Vec<u8>) -> io::Result<&'p [u8]> {
        let [_, rows, columns] = self.shape();
        if let Some(all) = self.0.as_slice() {
            let start = slice * rows * columns;
            return Ok(&all[start..start + rows * columns]);
        }
        buffer.clear();
        buffer.extend(self.0.index_axis(Axis(0), slice).iter());
        Ok(buffer)
    }
}
