//! Memory in whole pages, which a disk takes without a copy in between.

use std::ops::{Deref, DerefMut};

/// What direct writes are multiples of, in memory and on the disk.
pub const PAGE_BYTES: usize = 4096;

/// Zeroed bytes that begin at a multiple of a page. None by default.
#[derive(Debug, Default)]
pub struct Pages {
    /// Never grown, so that it stays where it is.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Pages {
    pub fn zeroed(length: usize) -> Self {
        let bytes = vec![0; length + PAGE_BYTES - 1];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES);
        Self { bytes, start, length }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_where_a_page_begins() {
        for length in [1, PAGE_BYTES, 5 * PAGE_BYTES] {
            let mut pages = Pages::zeroed(length);
            pages[0] = 1;
            assert_eq!(pages.len(), length);
            assert_eq!(pages.as_ptr() as usize % PAGE_BYTES, 0);
        }
    }
}
