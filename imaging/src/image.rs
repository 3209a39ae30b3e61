//! One frame as a picture, for models that look at images rather than volumes.
//!
//! Grey values are in modality units, MONOCHROME1 turned so that more is brighter. Colour is
//! RGB whatever it was stored as: planar, YBR, subsampled or by palette.

use std::path::Path;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use ndarray::{Array2, Array3};

use crate::{
    attribute,
    codec::interleave,
    decode::{OpenError, PixelFile, Samples},
    head::HeadError,
    pixel::{Photometric, PixelError, PixelFormat, Rescale},
};

/// One decoded frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// [row, column], modality units.
    Grey(Array2<f32>),
    /// [row, column, red/green/blue], from 0 to `largest`.
    Colour { values: Array3<f32>, largest: f32 },
}

/// Why a file gives no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the instance cannot be read")]
    Head(#[source] HeadError),
    #[error("frame {frame} cannot be decoded: {source}")]
    Pixels { frame: u32, source: PixelError },
}

/// Frame `frame` (counted from 1) of the instance in `path`.
///
/// # Errors
/// When it is no image, has no such frame, or the frame cannot be decoded.
pub fn load_image(path: &Path, frame: u32) -> Result<Image, ImageError> {
    let wrap = |source| ImageError::Pixels { frame, source };
    let file = PixelFile::open(path).map_err(|error| match error {
        OpenError::Head(source) => ImageError::Head(source),
        OpenError::Pixels(source) => wrap(source),
    })?;
    let index =
        frame.checked_sub(1).ok_or(PixelError::NoSuchFrame { frames: file.format.frames }).map_err(wrap)?;
    read(&file, index).map_err(wrap)
}

/// Frame `frame`, counted from 0.
pub(crate) fn read(file: &PixelFile, frame: u32) -> Result<Image, PixelError> {
    match file.format.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 => grey(file, frame),
        Photometric::Palette => palette(file, frame),
        _ if file.format.samples == 1 => grey(file, frame),
        _ => colour(file, frame),
    }
}

fn grey(file: &PixelFile, frame: u32) -> Result<Image, PixelError> {
    let mut values = vec![0.0; file.format.pixels()];
    read_shown(file, frame, &mut values)?;
    Ok(Image::Grey(shaped(&file.format, values)))
}

/// Modality values, more is brighter.
pub(crate) fn read_shown(file: &PixelFile, frame: u32, values: &mut [f32]) -> Result<(), PixelError> {
    let format = &file.format;
    file.read_grey(frame, values)?;
    if format.photometric == Photometric::Monochrome1 {
        // The ends of the stored range change places.
        let rescale = file.rescale(frame);
        let lowest =
            if format.sample == crate::pixel::Sample::Signed { -format.largest() - 1.0 } else { 0.0 };
        let sum = rescale.apply(format.largest()) + rescale.apply(lowest);
        values.iter_mut().for_each(|value| *value = sum - *value);
    }
    Ok(())
}

fn shaped(format: &PixelFormat, values: Vec<f32>) -> Array2<f32> {
    Array2::from_shape_vec((format.rows, format.columns), values).expect("one value for each pixel")
}

fn colour(file: &PixelFile, frame: u32) -> Result<Image, PixelError> {
    let format = &file.format;
    let samples = file.samples(frame)?;
    let is_decoded = samples.is_decoded;
    let words = words(format, samples)?;
    let largest = format.largest() as f32;
    let mut values: Vec<f32> = words.into_iter().map(f32::from).collect();
    let is_ybr = matches!(format.photometric, Photometric::YbrFull | Photometric::YbrFull422);
    if is_ybr && !is_decoded {
        values.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = rgb(*pixel, largest));
    }
    let values = Array3::from_shape_vec((format.rows, format.columns, 3), values);
    Ok(Image::Colour { values: values.expect("three values for each pixel"), largest })
}

/// Interleaved samples, three for each pixel.
fn words(format: &PixelFormat, samples: Samples) -> Result<Vec<u16>, PixelError> {
    let is_subsampled =
        format.photometric == Photometric::YbrFull422 && samples.bytes.len() < format.decoded_bytes();
    let bytes = if is_subsampled {
        spread(&samples.bytes)
    } else if format.is_planar && !samples.is_decoded {
        interleave(format, &samples.bytes)
    } else {
        samples.bytes
    };
    if bytes.len() < format.decoded_bytes() {
        return Err(PixelError::DecodedSize { given: bytes.len(), expected: format.decoded_bytes() });
    }
    let word = |pair: &[u8; 2]| {
        if samples.is_big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
    };
    Ok(match format.bits_allocated {
        8 => bytes.into_iter().map(u16::from).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(word).collect(),
    })
}

/// PS3.3 C.7.6.3.1.2: Y Y Cb Cr for two pixels becomes Y Cb Cr for each.
fn spread(bytes: &[u8]) -> Vec<u8> {
    bytes.as_chunks::<4>().0.iter().flat_map(|[y0, y1, cb, cr]| [*y0, *cb, *cr, *y1, *cb, *cr]).collect()
}

/// PS3.3 C.7.6.3.1.2, YBR_FULL back to RGB; `largest` is 255 for 8 bits.
fn rgb([y, cb, cr]: [f32; 3], largest: f32) -> [f32; 3] {
    let centre = (largest + 1.0) / 2.0;
    let (cb, cr) = (cb - centre, cr - centre);
    let red = y + 1.402 * cr;
    let green = y - 0.114 * 1.772 / 0.587 * cb - 0.299 * 1.402 / 0.587 * cr;
    let blue = y + 1.772 * cb;
    [red, green, blue].map(|value| value.round().clamp(0.0, largest))
}

/// PS3.3 C.7.6.3.1.5: stored values are indices into three tables.
fn palette(file: &PixelFile, frame: u32) -> Result<Image, PixelError> {
    const TABLES: [(Tag, Tag); 3] = [
        (tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA),
        (tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA),
        (tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA),
    ];
    let format = &file.format;
    let mut indices = vec![0.0; format.pixels()];
    file.read_values(frame, &Rescale::IDENTITY, &mut indices)?;
    let mut tables = Vec::with_capacity(TABLES.len());
    for (descriptor, data) in TABLES {
        tables.push(Table::read(file.dataset(), descriptor, data).ok_or(PixelError::Palette)?);
    }
    let largest = tables.iter().map(|table| table.largest).fold(0.0, f32::max);
    let values: Vec<f32> =
        indices.iter().flat_map(|index| tables.iter().map(|table| table.at(*index))).collect();
    let values = Array3::from_shape_vec((format.rows, format.columns, 3), values);
    Ok(Image::Colour { values: values.expect("three values for each pixel"), largest })
}

struct Table {
    first: f32,
    entries: Vec<f32>,
    largest: f32,
}

impl Table {
    fn read(ds: &InMemDicomObject, descriptor: Tag, data: Tag) -> Option<Self> {
        let [count, first, bits]: [f64; 3] = attribute::float_array(ds, descriptor)?;
        let count = if count == 0.0 { 1 << 16 } else { count as usize };
        let bytes = attribute::element(ds, data)?.to_bytes().ok()?;
        // Eight-bit entries are packed two to a word by some, one to a word by others.
        let is_packed = bits <= 8.0 && bytes.len() < count * 2;
        let entries: Vec<f32> = if is_packed {
            bytes.iter().map(|byte| f32::from(*byte)).collect()
        } else {
            bytes.as_chunks::<2>().0.iter().map(|pair| f32::from(u16::from_le_bytes(*pair))).collect()
        };
        let largest = 2_f32.powi(if bits <= 8.0 { 8 } else { 16 }) - 1.0;
        (count > 0 && entries.len() >= count).then(|| Self {
            first: first as f32,
            entries: entries[..count].to_vec(),
            largest,
        })
    }

    /// Values before the first take the first entry, those behind the last the last.
    fn at(&self, index: f32) -> f32 {
        let entry = (index - self.first).max(0.0) as usize;
        self.entries[entry.min(self.entries.len() - 1)]
    }
}
