//! Bits of one segment, packed as PS3.5 §8.1.1 and Annex D ask: the first pixel in the lowest bit,
//! frames following each other without padding.

/// Packs the pixels of `plane[pixels]` that equal `value`; the bit of the first pixel of the range is
/// the lowest of the first byte.
pub(super) fn pack(plane: &[u8], value: u8) -> Vec<u8> {
    let (chunks, rest) = plane.as_chunks::<8>();
    let mut packed = Vec::with_capacity(plane.len().div_ceil(8));
    packed.extend(chunks.iter().map(|chunk| pack_8(*chunk, value)));
    if !rest.is_empty() {
        // a value that differs from `value` fills up the last byte
        let mut last = [!value; 8];
        last[..rest.len()].copy_from_slice(rest);
        packed.push(pack_8(last, value));
    }
    packed
}

/// One bit for each of eight pixels, without a branch: bytes that equal `value` become zero, zero
/// bytes become their own lowest bit, and one multiplication gathers the bits.
fn pack_8(pixels: [u8; 8], value: u8) -> u8 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const LOW_7: u64 = 0x7f * EACH;
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let differing = u64::from_le_bytes(pixels) ^ (u64::from(value) * EACH);
    let equal = !(((differing & LOW_7) + LOW_7) | differing | LOW_7) >> 7;
    (equal.wrapping_mul(GATHER) >> 56) as u8
}

/// Appends bits that need not end at a byte.
#[derive(Debug)]
pub(super) struct BitStream<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    bits: usize,
}

impl<'a> BitStream<'a> {
    /// Starts after what `bytes` holds.
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        Self { bytes, start, bits: 0 }
    }

    /// Appends a frame of `frame_bits`, all zero but for `packed` from bit `8 * first_byte` on.
    pub(super) fn push(&mut self, frame_bits: usize, first_byte: usize, packed: &[u8]) {
        let at = self.bits + 8 * first_byte;
        self.bits += frame_bits;
        self.bytes.resize(self.start + self.bits.div_ceil(8), 0);
        let (byte, shift) = (self.start + at / 8, at % 8);
        if shift == 0 && self.bytes[byte] == 0 {
            self.bytes[byte..byte + packed.len()].copy_from_slice(packed);
            return;
        }
        for (index, &bits) in packed.iter().enumerate() {
            let shifted = u16::from(bits) << shift;
            self.bytes[byte + index] |= shifted as u8;
            if let Some(next) = self.bytes.get_mut(byte + index + 1) {
                *next |= (shifted >> 8) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit(bytes: &[u8], index: usize) -> bool {
        bytes[index / 8] >> (index % 8) & 1 == 1
    }

    proptest! {
        #[test]
        fn every_pixel_is_its_bit(plane in prop::collection::vec(0u8..4, 0..200), value in 0u8..4) {
            let packed = pack(&plane, value);
            prop_assert_eq!(packed.len(), plane.len().div_ceil(8));
            for (index, &pixel) in plane.iter().enumerate() {
                prop_assert_eq!(bit(&packed, index), pixel == value);
            }
            for index in plane.len()..packed.len() * 8 {
                prop_assert!(!bit(&packed, index), "padding bit {} is set", index);
            }
        }

        #[test]
        fn all_byte_values_are_told_apart(plane in prop::array::uniform8(any::<u8>()), value: u8) {
            let packed = pack_8(plane, value);
            for (index, &pixel) in plane.iter().enumerate() {
                prop_assert_eq!(packed >> index & 1 == 1, pixel == value);
            }
        }

        #[test]
        fn frames_follow_each_other_without_padding(
            frames in prop::collection::vec(prop::collection::vec(any::<bool>(), 37), 1..9),
            before in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let mut bytes = before.clone();
            let mut stream = BitStream::new(&mut bytes);
            for frame in &frames {
                let pixels: Vec<u8> = frame.iter().map(|&set| u8::from(set)).collect();
                // rows 8.. only, as a frame whose first byte is empty
                let first = usize::from(!frame[..8].contains(&true));
                stream.push(37, first, &pack(&pixels[8 * first..], 1));
            }
            prop_assert_eq!(&bytes[..before.len()], &before[..]);
            let all: Vec<bool> = frames.concat();
            prop_assert_eq!(bytes.len() - before.len(), all.len().div_ceil(8));
            for (index, &set) in all.iter().enumerate() {
                prop_assert_eq!(bit(&bytes[before.len()..], index), set, "bit {}", index);
            }
        }
    }
}
