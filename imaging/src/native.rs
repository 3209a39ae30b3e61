//! Stored samples to numbers: one tight loop for each width.
//!
//! Two shifts take out the stored bits and extend their sign, so that the loops have no
//! branch and the compiler makes vectors of them. Linear rescaling is folded in.

use crate::pixel::{PixelFormat, Rescale, Sample};

/// Bytes as they lie in a frame, with their byte order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) is_big_endian: bool,
}

/// Above this a product in f32 may be rounded twice; below, whole numbers are exact.
const EXACT: f64 = 128.0;

/// Writes the modality value of every sample to `out`, which has the length of the frame.
///
/// `first_bit` is where a frame of single bits begins within its first byte.
pub(crate) fn convert(
    format: &PixelFormat,
    stored: Stored<'_>,
    first_bit: usize,
    rescale: &Rescale,
    out: &mut [f32],
) {
    match rescale {
        Rescale::Linear { slope, intercept } => linear(format, stored, first_bit, (*slope, *intercept), out),
        Rescale::Table { .. } => {
            linear(format, stored, first_bit, (1.0, 0.0), out);
            for value in out {
                *value = rescale.apply((*value).into());
            }
        }
    }
}

fn linear(
    format: &PixelFormat,
    stored: Stored<'_>,
    first_bit: usize,
    (slope, intercept): (f64, f64),
    out: &mut [f32],
) {
    let is_exact =
        slope.fract() == 0.0 && intercept.fract() == 0.0 && slope.abs() <= EXACT && intercept.abs() <= 1e6;
    let (slope_32, intercept_32) = (slope as f32, intercept as f32);
    let wide = |value: f64| (value * slope + intercept) as f32;
    let left = u32::from(format.bits_allocated - 1 - format.high_bit);
    let right = u32::from(format.bits_allocated - format.bits_stored);
    match (format.bits_allocated, format.sample) {
        (1, _) => bits(stored.bytes, first_bit, [wide(0.0), wide(1.0)], out),
        (8, Sample::Signed) => {
            each(stored.bytes.as_chunks::<1>().0, out, |[byte]| {
                wide(((byte << left).cast_signed() >> right).into())
            });
        }
        (8, _) => each(stored.bytes.as_chunks::<1>().0, out, |[byte]| wide(((byte << left) >> right).into())),
        (16, sample) => {
            let words = stored.bytes.as_chunks::<2>().0;
            let is_signed = sample == Sample::Signed;
            match (is_signed, is_exact, stored.is_big_endian) {
                (true, true, false) => each(words, out, |word| {
                    f32::from((u16::from_le_bytes(word) << left).cast_signed() >> right) * slope_32
                        + intercept_32
                }),
                (false, true, false) => each(words, out, |word| {
                    f32::from((u16::from_le_bytes(word) << left) >> right) * slope_32 + intercept_32
                }),
                (true, _, is_big) => each(words, out, |word| {
                    let value = if is_big { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) };
                    wide(((value << left).cast_signed() >> right).into())
                }),
                (false, _, is_big) => each(words, out, |word| {
                    let value = if is_big { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) };
                    wide(((value << left) >> right).into())
                }),
            }
        }
        (_, Sample::Float64) => each(stored.bytes.as_chunks::<8>().0, out, |bytes| {
            let bits =
                if stored.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) };
            wide(f64::from_bits(bits))
        }),
        (_, sample) => each(stored.bytes.as_chunks::<4>().0, out, |bytes| {
            let value =
                if stored.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            wide(match sample {
                Sample::Float32 => f32::from_bits(value).into(),
                Sample::Signed => ((value << left).cast_signed() >> right).into(),
                _ => ((value << left) >> right).into(),
            })
        }),
    }
}

fn each<const N: usize>(samples: &[[u8; N]], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (out, sample) in out.iter_mut().zip(samples) {
        *out = value(*sample);
    }
}

/// PS3.5 §8.1.1: single bits, lowest first; frames follow each other without padding.
fn bits(bytes: &[u8], first_bit: usize, values: [f32; 2], out: &mut [f32]) {
    for (offset, out) in out.iter_mut().enumerate() {
        let bit = first_bit + offset;
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        *out = values[usize::from(byte >> (bit % 8) & 1)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::Photometric;

    fn format(bits_allocated: u16, bits_stored: u16, high_bit: u16, sample: Sample) -> PixelFormat {
        PixelFormat {
            rows: 1,
            columns: 2,
            frames: 1,
            samples: 1,
            bits_allocated,
            bits_stored,
            high_bit,
            sample,
            photometric: Photometric::Monochrome2,
            is_planar: false,
        }
    }

    #[track_caller]
    fn check(
        format: &PixelFormat,
        bytes: &[u8],
        is_big_endian: bool,
        rescale: (f64, f64),
        expected: [f32; 2],
    ) {
        let mut out = [0.0; 2];
        let rescale = Rescale::Linear { slope: rescale.0, intercept: rescale.1 };
        convert(format, Stored { bytes, is_big_endian }, 0, &rescale, &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn signs_widths_and_byte_orders_are_read_as_stored() {
        check(&format(8, 8, 7, Sample::Unsigned), &[255, 1], false, (1.0, 0.0), [255.0, 1.0]);
        check(&format(8, 8, 7, Sample::Signed), &[255, 1], false, (1.0, 0.0), [-1.0, 1.0]);
        check(
            &format(16, 16, 15, Sample::Signed),
            &[0xff, 0xff, 1, 0],
            false,
            (1.0, -1024.0),
            [-1025.0, -1023.0],
        );
        check(&format(16, 16, 15, Sample::Unsigned), &[0xff, 0xff, 0, 1], true, (1.0, 0.0), [65535.0, 1.0]);
        check(&format(16, 16, 15, Sample::Signed), &[0xff, 0xfe, 0, 1], true, (0.5, 0.0), [-1.0, 0.5]);
        let bytes = [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0];
        check(&format(32, 32, 31, Sample::Unsigned), &bytes, false, (1.0, 0.0), [4_294_967_295.0, 2.0]);
        check(&format(32, 32, 31, Sample::Signed), &bytes, false, (1.0, 0.0), [-1.0, 2.0]);
    }

    #[test]
    fn bits_beside_the_stored_ones_do_not_count() {
        // An overlay in the four high bits of a 12 bit image.
        check(
            &format(16, 12, 11, Sample::Unsigned),
            &[0x01, 0xf0, 0xff, 0x0f],
            false,
            (1.0, 0.0),
            [1.0, 4095.0],
        );
        check(&format(16, 12, 11, Sample::Signed), &[0x01, 0xf0, 0xff, 0x0f], false, (1.0, 0.0), [1.0, -1.0]);
        // Stored in the high bits.
        check(
            &format(16, 12, 15, Sample::Unsigned),
            &[0x1f, 0x00, 0xf0, 0xff],
            false,
            (1.0, 0.0),
            [1.0, 4095.0],
        );
    }

    #[test]
    fn single_bits_begin_where_the_previous_frame_ended() {
        let mut out = [9.0; 4];
        let stored = Stored { bytes: &[0b0100_0000, 0b0000_0001], is_big_endian: false };
        convert(&format(1, 1, 0, Sample::Unsigned), stored, 6, &Rescale::IDENTITY, &mut out);
        assert_eq!(out, [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_modality_table_holds_its_ends() {
        let table = Rescale::Table { first: 10, values: vec![100.0, 200.0] };
        let mut out = [0.0; 4];
        let mut format = format(8, 8, 7, Sample::Unsigned);
        format.columns = 4;
        convert(&format, Stored { bytes: &[0, 10, 11, 255], is_big_endian: false }, 0, &table, &mut out);
        assert_eq!(out, [100.0, 100.0, 200.0, 200.0]);
    }
}
