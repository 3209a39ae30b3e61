//! Frames of one instance, read and decoded one at a time.
//!
//! A file may hold thousands of frames: each is read from its place in the file
//! when it is asked for, so that memory is one frame whatever the instance. Asking from
//! several threads at once is fine.

use std::path::Path;

use dicom_dictionary_std::tags;

use crate::{
    codec,
    frames::{self, FrameFacts},
    head::{Head, HeadError},
    native::{self, Stored},
    pixel::{self, Photometric, PixelError, PixelFormat, Rescale},
    scan::{Fragment, PixelSpan},
};

/// An open instance with pixels.
#[derive(Debug)]
pub(crate) struct PixelFile {
    head: Head,
    pub(crate) format: PixelFormat,
    /// Of the instance; an entry of `frames` may have its own.
    rescale: Rescale,
    /// Per-frame facts of an enhanced instance, else none.
    pub(crate) frames: Vec<FrameFacts>,
    /// Stored values that stand for nothing.
    pub(crate) padding: Option<(f64, f64)>,
}

/// The samples of a frame as the instance stores them.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_big_endian: bool,
    pub(crate) first_bit: usize,
    /// Whether a codec has put them in order and made colour RGB.
    pub(crate) is_decoded: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the head cannot be read")]
    Head(#[from] HeadError),
    #[error(transparent)]
    Pixels(#[from] PixelError),
}

impl PixelFile {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let head = Head::open(path)?;
        let tag = match &head.pixels {
            None => return Err(no_pixels(&head).into()),
            Some(PixelSpan::Native { tag, .. }) => *tag,
            Some(PixelSpan::Encapsulated { .. }) => tags::PIXEL_DATA,
        };
        Ok(Self {
            format: PixelFormat::read(&head.dataset, tag)?,
            rescale: Rescale::read(&head.dataset),
            frames: frames::all(&head.dataset),
            padding: pixel::padding(&head.dataset),
            head,
        })
    }

    pub(crate) fn dataset(&self) -> &dicom_object::InMemDicomObject {
        &self.head.dataset
    }

    /// The transformation of frame `frame`, counted from 0.
    pub(crate) fn rescale(&self, frame: u32) -> Rescale {
        match self.frames.get(frame as usize).and_then(|facts| facts.rescale) {
            Some((slope, intercept)) => Rescale::Linear { slope, intercept },
            None => self.rescale.clone(),
        }
    }

    /// Writes the modality values of a grey frame to `out`.
    pub(crate) fn read_grey(&self, frame: u32, out: &mut [f32]) -> Result<(), PixelError> {
        if self.format.samples != 1 || self.format.photometric == Photometric::Palette {
            return Err(PixelError::Colour);
        }
        self.read_values(frame, &self.rescale(frame), out)
    }

    /// Writes every sample of a frame to `out` through `rescale`.
    pub(crate) fn read_values(
        &self,
        frame: u32,
        rescale: &Rescale,
        out: &mut [f32],
    ) -> Result<(), PixelError> {
        let samples = self.samples(frame)?;
        let stored = Stored { bytes: &samples.bytes, is_big_endian: samples.is_big_endian };
        native::convert(&self.format, stored, samples.first_bit, rescale, out);
        Ok(())
    }

    /// The samples of frame `frame`, counted from 0.
    pub(crate) fn samples(&self, frame: u32) -> Result<Samples, PixelError> {
        if frame >= self.format.frames {
            return Err(PixelError::NoSuchFrame { frames: self.format.frames });
        }
        match self.head.pixels.as_ref().ok_or(PixelError::NoPixels)? {
            PixelSpan::Native { offset, available, .. } => self.native(frame, *offset, *available),
            PixelSpan::Encapsulated { fragments, frame_offsets, .. } => {
                let bytes = self.encapsulated(frame, fragments, frame_offsets)?;
                let bytes = codec::decode(&self.format, &self.head.transfer_syntax, bytes)?;
                let is_decoded = codec::gives_rgb(&self.head.transfer_syntax);
                Ok(Samples { bytes, is_big_endian: false, first_bit: 0, is_decoded })
            }
        }
    }

    fn native(&self, frame: u32, offset: u64, available: u64) -> Result<Samples, PixelError> {
        let bits = self.format.frame_bits();
        let first_bit = bits * u64::from(frame);
        let (start, end) = (first_bit / 8, (first_bit + bits).div_ceil(8));
        if end > available {
            return Err(PixelError::Truncated { needed: end, available });
        }
        let length = usize::try_from(end - start).expect("a frame is bounded by FRAME_PIXELS_MAX");
        Ok(Samples {
            bytes: self.head.source.read_at(offset + start, length).map_err(PixelError::Read)?,
            is_big_endian: self.head.encoding.is_big_endian,
            first_bit: usize::try_from(first_bit % 8).expect("below 8"),
            is_decoded: false,
        })
    }

    fn encapsulated(
        &self,
        frame: u32,
        fragments: &[Fragment],
        offsets: &[u64],
    ) -> Result<Vec<u8>, PixelError> {
        let mut bytes = Vec::new();
        for fragment in self.fragments_of(frame, fragments, offsets)? {
            let part = self.head.source.read_at(fragment.offset, fragment.length as usize);
            bytes.extend(part.map_err(PixelError::Read)?);
        }
        Ok(bytes)
    }

    /// PS3.5 §A.4: one fragment for each frame, or offsets, or one frame in all; failing
    /// these, every fragment that begins a codestream begins a frame.
    fn fragments_of<'a>(
        &self,
        frame: u32,
        fragments: &'a [Fragment],
        offsets: &[u64],
    ) -> Result<&'a [Fragment], PixelError> {
        let (frame, frames) = (frame as usize, self.format.frames as usize);
        if frames == 1 {
            return if fragments.is_empty() { Err(PixelError::NoPixels) } else { Ok(fragments) };
        }
        if fragments.len() == frames {
            return Ok(&fragments[frame..=frame]);
        }
        let starts = if offsets.len() == frames {
            starts_by_offset(fragments, offsets)
        } else {
            self.starts_by_codestream(fragments)?
        };
        let boundaries =
            || PixelError::FrameBoundaries { fragments: fragments.len(), frames: self.format.frames };
        if starts.len() != frames {
            return Err(boundaries());
        }
        let end = starts.get(frame + 1).copied().unwrap_or(fragments.len());
        fragments.get(starts[frame]..end).filter(|part| !part.is_empty()).ok_or_else(boundaries)
    }

    fn starts_by_codestream(&self, fragments: &[Fragment]) -> Result<Vec<usize>, PixelError> {
        const JPEG: [u8; 2] = [0xff, 0xd8];
        const JPEG_2000: [u8; 2] = [0xff, 0x4f];
        let mut starts = Vec::new();
        for (index, fragment) in fragments.iter().enumerate().filter(|(_, fragment)| fragment.length >= 2) {
            let front = self.head.source.read_at(fragment.offset, 2).map_err(PixelError::Read)?;
            if front == JPEG || front == JPEG_2000 {
                starts.push(index);
            }
        }
        Ok(starts)
    }
}

fn no_pixels(head: &Head) -> PixelError {
    match head.broken_at {
        Some((tag, source)) => PixelError::Broken { tag, source },
        None => PixelError::NoPixels,
    }
}

/// Offsets count from the first fragment's item header, eight bytes before its value.
fn starts_by_offset(fragments: &[Fragment], offsets: &[u64]) -> Vec<usize> {
    const ITEM_HEADER: u64 = 8;
    let Some(first) = fragments.first() else { return Vec::new() };
    let base = first.offset - ITEM_HEADER;
    offsets
        .iter()
        .filter_map(|offset| {
            fragments.binary_search_by_key(offset, |fragment| fragment.offset - ITEM_HEADER - base).ok()
        })
        .collect()
}
