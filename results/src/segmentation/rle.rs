//! RLE Lossless (PS3.5 Annex G) for frames of one or two bytes a pixel, and Pixel Data in fragments (§A.4).

use crate::EncodeError;

const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
const SEQUENCE_DELIMITATION: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
/// Number of segments and the offsets of at most 15 (§G.5).
const HEADER_WORDS: usize = 16;
/// Longest run and longest literal of one code byte (§G.3.1).
const CODE_LENGTH_MAX: usize = 128;

/// Pixel Data (7FE0,0010) that is written fragment after fragment, one for each frame.
pub(super) struct Fragments<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the next offset of the Basic Offset Table belongs.
    offset_at: usize,
    first_fragment: usize,
}

impl<'a> Fragments<'a> {
    /// Starts after what `bytes` holds, with room for the offsets of `frames`.
    pub(super) fn begin(bytes: &'a mut Vec<u8>, frames: usize) -> Result<Self, EncodeError> {
        let table = 4 * frames;
        let length = u32::try_from(table).map_err(|_| EncodeError::TooLarge(table as u64))?;
        bytes.extend_from_slice(&[0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend_from_slice(&ITEM);
        bytes.extend_from_slice(&length.to_le_bytes());
        let offset_at = bytes.len();
        bytes.resize(offset_at + table, 0);
        let first_fragment = bytes.len();
        Ok(Self { bytes, offset_at, first_fragment })
    }

    /// Appends one frame with rows of `columns` pixels, the low byte of a pixel first.
    pub(super) fn push(
        &mut self,
        frame: &[u8],
        pixel_bytes: usize,
        columns: usize,
    ) -> Result<(), EncodeError> {
        let start = self.bytes.len();
        let offset = start - self.first_fragment;
        let offset = u32::try_from(offset).map_err(|_| EncodeError::TooLarge(offset as u64))?;
        self.bytes[self.offset_at..self.offset_at + 4].copy_from_slice(&offset.to_le_bytes());
        self.offset_at += 4;
        self.bytes.extend_from_slice(&ITEM);
        self.bytes.extend_from_slice(&[0; 4]);
        let value = self.bytes.len();
        append_frame(self.bytes, frame, pixel_bytes, columns);
        let length = self.bytes.len() - value;
        let length = u32::try_from(length).map_err(|_| EncodeError::TooLarge(length as u64))?;
        self.bytes[value - 4..value].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    pub(super) fn end(self) {
        self.bytes.extend_from_slice(&SEQUENCE_DELIMITATION);
    }
}

/// One frame to an even length: an RLE segment for each byte of a pixel, the highest first (§G.2).
fn append_frame(bytes: &mut Vec<u8>, frame: &[u8], pixel_bytes: usize, columns: usize) {
    let start = bytes.len();
    let mut header = [0_u32; HEADER_WORDS];
    header[0] = pixel_bytes as u32;
    bytes.resize(start + 4 * HEADER_WORDS, 0);
    let mut row_bytes = Vec::new();
    for (offset, byte) in header[1..].iter_mut().zip((0..pixel_bytes).rev()) {
        // a frame for which this is too small is refused by `push`
        *offset = (bytes.len() - start) as u32;
        // §G.3.1: a code never reaches over the end of a row
        for row in frame.chunks(columns.max(1) * pixel_bytes) {
            append_row(bytes, every(pixel_bytes, byte, row, &mut row_bytes));
        }
        if (bytes.len() - start) % 2 == 1 {
            bytes.push(0);
        }
    }
    for (word, at) in header.iter().zip((start..).step_by(4)) {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// One byte of each pixel of a row; the row itself where a pixel has no other.
fn every<'a>(pixel_bytes: usize, byte: usize, row: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if pixel_bytes == 1 {
        return row;
    }
    buffer.clear();
    buffer.extend(row.iter().skip(byte).step_by(pixel_bytes));
    buffer
}

fn append_row(bytes: &mut Vec<u8>, row: &[u8]) {
    let mut literal = 0;
    let mut at = 0;
    while at < row.len() {
        let run = row[at..].iter().take(CODE_LENGTH_MAX).take_while(|&&pixel| pixel == row[at]).count();
        // A run of two costs as much as it saves in the middle of a literal.
        if run < 3 {
            at += run;
            continue;
        }
        append_literal(bytes, &row[literal..at]);
        bytes.extend_from_slice(&[(257 - run) as u8, row[at]]);
        at += run;
        literal = at;
    }
    append_literal(bytes, &row[literal..]);
}

fn append_literal(bytes: &mut Vec<u8>, pixels: &[u8]) {
    for chunk in pixels.chunks(CODE_LENGTH_MAX) {
        bytes.push((chunk.len() - 1) as u8);
        bytes.extend_from_slice(chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decoder of §G.3.2.
    fn decoded(mut coded: &[u8], pixels: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < pixels {
            let (code, rest) = coded.split_first().expect("the frame ends with its last code");
            match code {
                0..=127 => {
                    let (literal, rest) = rest.split_at(usize::from(*code) + 1);
                    out.extend_from_slice(literal);
                    coded = rest;
                }
                128 => coded = rest,
                129..=255 => {
                    out.extend(std::iter::repeat_n(rest[0], 257 - usize::from(*code)));
                    coded = &rest[1..];
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_frame_comes_back(
            rows in prop::collection::vec(prop::collection::vec(0_u8..3, 300), 1..5),
            long in any::<bool>(),
        ) {
            let mut frame = rows.concat();
            if long {
                frame[40..290].fill(7);
            }
            let mut bytes = Vec::new();
            append_frame(&mut bytes, &frame, 1, 300);
            prop_assert_eq!(bytes.len() % 2, 0);
            prop_assert_eq!(&bytes[..8], &[1, 0, 0, 0, 64, 0, 0, 0]);
            prop_assert_eq!(decoded(&bytes[64..], frame.len()), frame);
        }
    }

    #[test]
    fn codes_end_with_their_row() {
        let mut bytes = Vec::new();
        append_frame(&mut bytes, &[5; 8], 1, 4);
        assert_eq!(bytes[64..], [253, 5, 253, 5]);
    }

    #[test]
    fn the_high_bytes_of_a_frame_stand_before_its_low_bytes() {
        let mut bytes = Vec::new();
        append_frame(&mut bytes, &[7, 1, 8, 1, 9, 1], 2, 3);
        assert_eq!(bytes[..12], [2, 0, 0, 0, 64, 0, 0, 0, 66, 0, 0, 0]);
        assert_eq!(bytes[64..], [254, 1, 2, 7, 8, 9]);
    }

    #[test]
    fn each_frame_has_its_offset() {
        let mut bytes = Vec::new();
        let mut fragments = Fragments::begin(&mut bytes, 2).unwrap();
        fragments.push(&[0; 4], 1, 2).unwrap();
        fragments.push(&[1; 4], 1, 2).unwrap();
        fragments.end();
        assert_eq!(bytes[20..28], [0, 0, 0, 0, 78, 0, 0, 0]);
        assert_eq!(bytes[28 + 78..28 + 82], ITEM);
        assert!(bytes.ends_with(&SEQUENCE_DELIMITATION));
    }
}
