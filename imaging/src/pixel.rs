//! How the pixels of an instance are stored, and what a stored value means (PS3.3 C.7.6.3).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::{attribute, scan::Broken};

/// The most pixels of a frame that is decoded.
pub const FRAME_PIXELS_MAX: usize = 1 << 28;

/// Why the pixels of an instance, or one frame of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PixelError {
    #[error("{name} {tag} is missing or out of range")]
    Attribute { name: &'static str, tag: Tag },
    #[error("there is no pixel data")]
    NoPixels,
    #[error("the data set breaks off before its pixels, at {tag}: {source}")]
    Broken { tag: Tag, source: Broken },
    #[error("a pixel of {samples} samples and {bits} bits is not supported")]
    Unsupported { samples: u16, bits: u16 },
    #[error("the pixel data ends inside the frame: {available} of {needed} bytes are there")]
    Truncated { needed: u64, available: u64 },
    #[error("the instance has {frames} frames")]
    NoSuchFrame { frames: u32 },
    #[error("{fragments} fragments without offsets cannot be told apart into {frames} frames")]
    FrameBoundaries { fragments: usize, frames: u32 },
    #[error("a frame of {0} pixels is larger than {FRAME_PIXELS_MAX}")]
    TooLarge(usize),
    #[error("the pixel data cannot be read")]
    Read(#[source] std::io::Error),
    #[error("this build has no decoder for its transfer syntax")]
    NoDecoder,
    #[error("the decoder refused the frame: {0}")]
    Decoder(String),
    #[error("the decoder gave {given} bytes where the frame has {expected}")]
    DecodedSize { given: usize, expected: usize },
    #[error("a colour image has no place in a volume")]
    Colour,
    #[error("the palette is missing or too short")]
    Palette,
}

/// The kind of number that a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    Unsigned,
    Signed,
    /// Float Pixel Data (7FE0,0008).
    Float32,
    /// Double Float Pixel Data (7FE0,0009).
    Float64,
}

/// PS3.3 C.7.6.3.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
    /// JPEG 2000's own colour transforms: the codec undoes them.
    YbrCodec,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PixelFormat {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) frames: u32,
    pub(crate) samples: u16,
    pub(crate) bits_allocated: u16,
    pub(crate) bits_stored: u16,
    pub(crate) high_bit: u16,
    pub(crate) sample: Sample,
    pub(crate) photometric: Photometric,
    /// Whether the samples of one colour lie together (Planar Configuration 1).
    pub(crate) is_planar: bool,
}

impl PixelFormat {
    /// Reads the description; `pixel_tag` says which of the three pixel attributes is there.
    pub(crate) fn read(ds: &InMemDicomObject, pixel_tag: Tag) -> Result<Self, PixelError> {
        let number =
            |tag, name| attribute::integer::<u16>(ds, tag).ok_or(PixelError::Attribute { name, tag });
        let rows = number(tags::ROWS, "Rows")?;
        let columns = number(tags::COLUMNS, "Columns")?;
        if rows == 0 || columns == 0 {
            return Err(PixelError::Attribute { name: "Rows or Columns", tag: tags::ROWS });
        }
        let samples = attribute::integer(ds, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        let is_signed = attribute::integer::<u16>(ds, tags::PIXEL_REPRESENTATION) == Some(1);
        let (sample, bits_allocated) = match pixel_tag {
            tags::FLOAT_PIXEL_DATA => (Sample::Float32, 32),
            tags::DOUBLE_FLOAT_PIXEL_DATA => (Sample::Float64, 64),
            _ if is_signed => (Sample::Signed, number(tags::BITS_ALLOCATED, "Bits Allocated")?),
            _ => (Sample::Unsigned, number(tags::BITS_ALLOCATED, "Bits Allocated")?),
        };
        if bits_allocated == 0 {
            return Err(PixelError::Attribute { name: "Bits Allocated", tag: tags::BITS_ALLOCATED });
        }
        let bits_stored = attribute::integer(ds, tags::BITS_STORED)
            .filter(|bits| (1..=bits_allocated).contains(bits))
            .unwrap_or(bits_allocated);
        let high_bit = attribute::integer(ds, tags::HIGH_BIT)
            .filter(|high| (bits_stored - 1..bits_allocated).contains(high))
            .unwrap_or(bits_stored - 1);
        let format = Self {
            rows: rows.into(),
            columns: columns.into(),
            frames: attribute::integer(ds, tags::NUMBER_OF_FRAMES).filter(|frames| *frames > 0).unwrap_or(1),
            samples,
            bits_allocated,
            bits_stored,
            high_bit,
            sample,
            photometric: photometric(&attribute::string(ds, tags::PHOTOMETRIC_INTERPRETATION), samples),
            is_planar: attribute::integer::<u16>(ds, tags::PLANAR_CONFIGURATION) == Some(1),
        };
        format.check()?;
        Ok(format)
    }

    fn check(&self) -> Result<(), PixelError> {
        let is_supported = matches!((self.samples, self.bits_allocated), (1, 1 | 8 | 16 | 32) | (3, 8 | 16))
            || (self.samples == 1 && self.bits_allocated == 64 && self.sample == Sample::Float64);
        if !is_supported {
            return Err(PixelError::Unsupported { samples: self.samples, bits: self.bits_allocated });
        }
        if self.pixels() > FRAME_PIXELS_MAX {
            return Err(PixelError::TooLarge(self.pixels()));
        }
        Ok(())
    }

    pub(crate) fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// PS3.3 C.7.6.3.1.2: uncompressed 4:2:2 shares two colour samples between two pixels.
    pub(crate) fn frame_bits(&self) -> u64 {
        let samples = self.pixels() as u64 * u64::from(self.samples);
        let is_shared = self.photometric == Photometric::YbrFull422;
        let stored = if is_shared { samples / 3 * 2 } else { samples };
        stored * u64::from(self.bits_allocated)
    }

    /// The bytes that a codec gives for one frame: every sample, none shared.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.pixels() * usize::from(self.samples) * usize::from(self.bits_allocated.div_ceil(8))
    }

    /// The largest value that fits the stored bits.
    pub(crate) fn largest(&self) -> f64 {
        let bits = if self.sample == Sample::Signed { self.bits_stored - 1 } else { self.bits_stored };
        2_f64.powi(bits.into()) - 1.0
    }
}

fn photometric(text: &str, samples: u16) -> Photometric {
    match text {
        "MONOCHROME1" => Photometric::Monochrome1,
        "PALETTE COLOR" => Photometric::Palette,
        "YBR_FULL" => Photometric::YbrFull,
        "YBR_FULL_422" => Photometric::YbrFull422,
        "YBR_RCT" | "YBR_ICT" => Photometric::YbrCodec,
        _ if samples == 3 => Photometric::Rgb,
        _ => Photometric::Monochrome2,
    }
}

/// From stored values to modality units (PS3.3 C.11.1): a line, or a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rescale {
    Linear { slope: f64, intercept: f64 },
    Table { first: i64, values: Vec<f32> },
}

impl Rescale {
    pub(crate) const IDENTITY: Self = Self::Linear { slope: 1.0, intercept: 0.0 };

    /// The transformation of a whole instance; frames may have their own.
    pub(crate) fn read(ds: &InMemDicomObject) -> Self {
        if let Some(table) = attribute::item(ds, tags::MODALITY_LUT_SEQUENCE).and_then(modality_table) {
            return table;
        }
        let intercept = attribute::float(ds, tags::RESCALE_INTERCEPT).unwrap_or(0.0);
        match attribute::float(ds, tags::RESCALE_SLOPE) {
            Some(slope) if slope != 0.0 => Self::Linear { slope, intercept },
            _ => Self::Linear { slope: 1.0, intercept },
        }
    }

    /// The modality value of one stored value.
    pub(crate) fn apply(&self, stored: f64) -> f32 {
        match self {
            Self::Linear { slope, intercept } => (stored * slope + intercept) as f32,
            Self::Table { first, values } => {
                let entry = (stored as i64).saturating_sub(*first).clamp(0, values.len() as i64 - 1);
                values[entry as usize]
            }
        }
    }
}

/// PS3.3 C.11.1.1.1: number of entries (0 stands for 65536), first stored value, bits.
fn modality_table(item: &InMemDicomObject) -> Option<Rescale> {
    let [entries, first, _bits]: [f64; 3] = attribute::float_array(item, tags::LUT_DESCRIPTOR)?;
    let entries = if entries == 0.0 { 1 << 16 } else { entries as usize };
    let values: Vec<f32> =
        attribute::floats(item, tags::LUT_DATA)?.iter().map(|value| *value as f32).collect();
    (entries > 0 && values.len() >= entries)
        .then(|| Rescale::Table { first: first as i64, values: values[..entries].to_vec() })
}

/// Stored values that stand for "nothing was measured here" (PS3.3 C.7.5.1.1.2).
pub(crate) fn padding(ds: &InMemDicomObject) -> Option<(f64, f64)> {
    let value = attribute::float(ds, tags::PIXEL_PADDING_VALUE)?;
    let limit = attribute::float(ds, tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    let is_signed = attribute::integer::<u16>(ds, tags::PIXEL_REPRESENTATION) == Some(1);
    // Written as unsigned by some although the pixels are signed.
    let read = |value: f64| if is_signed && value > 32767.0 { value - 65536.0 } else { value };
    let (value, limit) = (read(value), read(limit));
    Some((value.min(limit), value.max(limit)))
}
