//! RLE Lossless (PS3.5 Annex G), any width, damaged input included.

use crate::pixel::{PixelError, PixelFormat};

const HEADER_BYTES: usize = 64;

/// The samples of one frame, interleaved, little endian.
pub(crate) fn decode(format: &PixelFormat, frame: &[u8]) -> Result<Vec<u8>, PixelError> {
    let refuse = |reason: &str| PixelError::Decoder(reason.to_owned());
    let sample_bytes = usize::from(format.bits_allocated / 8);
    let planes = usize::from(format.samples) * sample_bytes;
    let header = frame.get(..HEADER_BYTES).ok_or_else(|| refuse("the RLE header is cut"))?;
    let word = |at: usize| {
        let [a, b, c, d] = [header[at * 4], header[at * 4 + 1], header[at * 4 + 2], header[at * 4 + 3]];
        u32::from_le_bytes([a, b, c, d]) as usize
    };
    if word(0) != planes || planes == 0 || planes > 15 {
        return Err(refuse("the number of RLE segments does not fit the image"));
    }
    let mut out = vec![0; format.pixels() * planes];
    for plane in 0..planes {
        let end = if plane + 1 < planes { word(plane + 2) } else { frame.len() };
        let segment = frame.get(word(plane + 1)..end).ok_or_else(|| refuse("an RLE segment lies outside"))?;
        // §G.2: the most significant byte of a sample comes first.
        let (sample, byte) = (plane / sample_bytes, sample_bytes - 1 - plane % sample_bytes);
        let places = out.iter_mut().skip(sample * sample_bytes + byte).step_by(planes);
        if !unpack(segment, places) {
            return Err(refuse("an RLE segment ends before the image"));
        }
    }
    Ok(out)
}

/// §G.3.1; whether every place was filled.
fn unpack<'a>(mut segment: &[u8], places: impl ExactSizeIterator<Item = &'a mut u8>) -> bool {
    let mut places = places.peekable();
    while places.peek().is_some() {
        match segment {
            [control @ 0..=127, rest @ ..] => {
                let count = usize::from(*control) + 1;
                let Some((literal, rest)) = rest.split_at_checked(count.min(rest.len())) else {
                    return false;
                };
                if literal.is_empty() {
                    return false;
                }
                literal.iter().zip(&mut places).for_each(|(byte, place)| *place = *byte);
                segment = rest;
            }
            [128, rest @ ..] => segment = rest,
            [control, byte, rest @ ..] => {
                let count = 257 - usize::from(*control);
                places.by_ref().take(count).for_each(|place| *place = *byte);
                segment = rest;
            }
            _ => return false,
        }
    }
    true
}
