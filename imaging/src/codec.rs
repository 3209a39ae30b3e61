//! Compressed frames to native samples.
//!
//! A codec gets one frame at a time and sees nothing else of the instance. The codecs are
//! other people's: one that panics on damaged input is contained, and whatever it answers is
//! measured against the image before it is used.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use dicom_core::value::C;
use dicom_dictionary_std::uids;
use dicom_encoding::{
    Codec,
    adapters::{PixelDataObject, RawPixelData},
};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex as _, TransferSyntaxRegistry};

use crate::{
    jpeg12,
    pixel::{Photometric, PixelError, PixelFormat, Sample},
    rle,
    uid::Uid,
};

/// The samples of one frame: little endian, interleaved, `bits_allocated` wide; colour as RGB.
pub(crate) fn decode(format: &PixelFormat, syntax: &Uid, frame: Vec<u8>) -> Result<Vec<u8>, PixelError> {
    if syntax.as_str() == uids::RLE_LOSSLESS {
        return rle::decode(format, &frame);
    }
    if syntax.as_str() == uids::JPEG_EXTENDED12_BIT
        && jpeg12::is_twelve_bit(&frame)
        && format.bits_allocated == 16
    {
        let samples = jpeg12::decode(&frame, format.columns, format.rows);
        return samples.map_err(|reason| PixelError::Decoder(reason.to_owned()));
    }
    let is_jpeg = matches!(
        syntax.as_str(),
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1
    );
    let frame = if is_jpeg && format.photometric == Photometric::Rgb {
        without_colour_transform(frame)
    } else {
        frame
    };
    let syntax = TransferSyntaxRegistry.get(syntax.as_str()).ok_or(PixelError::NoDecoder)?;
    let Codec::EncapsulatedPixelData(Some(reader), _) = syntax.codec() else {
        return Err(PixelError::NoDecoder);
    };
    let is_planar = is_planar_jpeg_ls(format, syntax.uid(), &frame);
    let object = OneFrame { syntax: syntax.uid(), format, frame };
    let decode = || {
        let mut samples = Vec::new();
        reader.decode_frame(&object, 0, &mut samples).map(|()| samples)
    };
    let mut samples = catch_unwind(AssertUnwindSafe(decode))
        .map_err(|_| PixelError::Decoder("it panicked".into()))?
        .map_err(|error| PixelError::Decoder(error.to_string()))?;
    let expected = format.decoded_bytes();
    if samples.len() * 2 == expected && format.bits_allocated == 16 {
        // A codestream of at most 8 bits in an image that has 16 allocated.
        samples = widen(&samples, format.sample);
    }
    if samples.len() != expected {
        return Err(PixelError::DecodedSize { given: samples.len(), expected });
    }
    Ok(if is_planar { interleave(format, &samples) } else { samples })
}

/// Whether colour from this codec is RGB whatever the instance says.
pub(crate) fn gives_rgb(syntax: &Uid) -> bool {
    !matches!(
        syntax.as_str(),
        uids::RLE_LOSSLESS
            | uids::JPEGLS_LOSSLESS
            | uids::JPEGLS_NEAR_LOSSLESS
            | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN
            | uids::DEFLATED_IMAGE_FRAME_COMPRESSION
    )
}

/// A JPEG that says nothing of its colours is taken for YCbCr by decoders; where the instance
/// says RGB (PS3.5 §8.2.1), an Adobe segment with transform 0 tells them so.
fn without_colour_transform(frame: Vec<u8>) -> Vec<u8> {
    const START: [u8; 2] = [0xff, 0xd8];
    const ADOBE: &[u8] = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00";
    // The segment, when there is one, stands at the front.
    let front = &frame[..frame.len().min(1024)];
    let says_itself = front.windows(9).any(|window| window[..2] == ADOBE[..2] && window[4..] == ADOBE[4..9]);
    match frame.strip_prefix(&START) {
        Some(rest) if !says_itself => [&START[..], ADOBE, rest].concat(),
        _ => frame,
    }
}

fn widen(samples: &[u8], sample: Sample) -> Vec<u8> {
    let extend = |byte: u8| if sample == Sample::Signed && byte >= 0x80 { 0xff } else { 0 };
    samples.iter().flat_map(|byte| [*byte, extend(*byte)]).collect()
}

/// ISO 14495-1: a scan with one component leaves the colours one after the other.
fn is_planar_jpeg_ls(format: &PixelFormat, syntax: &str, frame: &[u8]) -> bool {
    const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
    let is_jpeg_ls = matches!(syntax, uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS);
    let scan = || frame.windows(5).find(|window| window.starts_with(&START_OF_SCAN));
    is_jpeg_ls && format.samples > 1 && scan().is_some_and(|scan| scan[4] == 1)
}

pub(crate) fn interleave(format: &PixelFormat, planes: &[u8]) -> Vec<u8> {
    let (pixels, samples) = (format.pixels(), usize::from(format.samples));
    let width = usize::from(format.bits_allocated / 8);
    let mut out = Vec::with_capacity(planes.len());
    for pixel in 0..pixels {
        for sample in 0..samples {
            let start = (sample * pixels + pixel) * width;
            out.extend_from_slice(&planes[start..start + width]);
        }
    }
    out
}

/// What a codec may see.
struct OneFrame<'a> {
    syntax: &'a str,
    format: &'a PixelFormat,
    frame: Vec<u8>,
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.syntax
    }

    fn rows(&self) -> Option<u16> {
        u16::try_from(self.format.rows).ok()
    }

    fn cols(&self) -> Option<u16> {
        u16::try_from(self.format.columns).ok()
    }

    fn samples_per_pixel(&self) -> Option<u16> {
        Some(self.format.samples)
    }

    fn bits_allocated(&self) -> Option<u16> {
        Some(self.format.bits_allocated)
    }

    fn bits_stored(&self) -> Option<u16> {
        Some(self.format.bits_stored)
    }

    fn photometric_interpretation(&self) -> Option<&str> {
        Some(match self.format.photometric {
            Photometric::Monochrome1 => "MONOCHROME1",
            Photometric::Monochrome2 => "MONOCHROME2",
            Photometric::Palette => "PALETTE COLOR",
            Photometric::Rgb => "RGB",
            Photometric::YbrFull => "YBR_FULL",
            Photometric::YbrFull422 => "YBR_FULL_422",
            Photometric::YbrCodec => "YBR_RCT",
        })
    }

    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }

    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }

    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(&self.frame))
    }

    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        None
    }

    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        let fragments: C<Vec<u8>> = C::from_iter([self.frame.clone()]);
        Some(RawPixelData { fragments, offset_table: C::new() })
    }
}
