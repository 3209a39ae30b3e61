//! Walks the elements of a data set by their lengths alone, before anything is parsed.
//!
//! It finds where the head ends and where the pixels lie, so that the head can be parsed
//! without the pixels and a frame can be read without the rest. It also is the guard in
//! front of the parser: a length that reaches past the end, or nesting without end, stops
//! the walk instead of claiming memory. It keeps no value.

use std::io::{self, BufReader, Read, Seek};

use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary as _, DataDictionaryEntry as _},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};

/// Sequences nested deeper than this are taken for an attack; real ones stay below ten.
const DEPTH_MAX: usize = 32;
const UNDEFINED: u32 = u32::MAX;
const PIXEL_GROUP: u16 = 0x7fe0;
/// PS3.5 §7.5: the three tags that have no value representation.
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_DELIMITATION: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_DELIMITATION: Tag = Tag(0xfffe, 0xe0dd);

/// How the data set is encoded (PS3.5 Annex A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) is_explicit: bool,
    pub(crate) is_big_endian: bool,
}

/// What the walk found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scan {
    /// Where the last whole element before the pixel group ends.
    pub(crate) head_end: u64,
    pub(crate) pixels: Option<PixelSpan>,
    /// The element at which the walk could not go on.
    pub(crate) broken_at: Option<(Tag, Broken)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("it ends inside the element")]
    Truncated,
    #[error("sequences are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("it is no sequence item")]
    NotAnItem,
}

/// Where the pixel data lies in the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PixelSpan {
    /// `available` is smaller than `length` when the file was cut.
    Native { tag: Tag, offset: u64, length: u64, available: u64 },
    Encapsulated {
        fragments: Vec<Fragment>,
        /// From the Extended Offset Table (7FE0,0001), else from the basic one: the start of
        /// each frame, counted from the first fragment's item. Empty when there is none.
        frame_offsets: Vec<u64>,
        /// Whether the closing delimiter was met.
        is_whole: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Of the value, behind the item header.
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// Walks `source` from byte `start`; `length` is where the source ends.
///
/// # Errors
/// Only when reading fails; a broken data set is described in the answer.
pub(crate) fn scan<R: Read + Seek>(
    mut source: R,
    start: u64,
    length: u64,
    encoding: Encoding,
) -> io::Result<Scan> {
    source.seek(io::SeekFrom::Start(start))?;
    let mut walker =
        Walker { reader: BufReader::with_capacity(16 * 1024, source), position: start, length, encoding };
    let mut found = Scan { head_end: start, pixels: None, broken_at: None };
    let mut extended_offsets = Vec::new();
    while walker.position < length {
        let outcome = walker.top_level(&mut extended_offsets);
        match outcome {
            Ok(Step::Element) => found.head_end = walker.position,
            Ok(Step::PixelGroup) => {}
            Ok(Step::Pixels(pixels)) => {
                found.pixels = Some(pixels);
                break;
            }
            Err(Stop::Broken(tag, reason)) => {
                found.broken_at = Some((tag, reason));
                break;
            }
            Err(Stop::Io(error)) => return Err(error),
        }
    }
    Ok(found)
}

enum Step {
    Element,
    /// An element of group 7FE0 that comes before the pixels.
    PixelGroup,
    Pixels(PixelSpan),
}

enum Stop {
    Broken(Tag, Broken),
    Io(io::Error),
}

#[derive(Debug, Clone, Copy)]
struct Element {
    tag: Tag,
    is_sequence: bool,
    length: u32,
}

struct Walker<R> {
    reader: BufReader<R>,
    position: u64,
    length: u64,
    encoding: Encoding,
}

impl<R: Read + Seek> Walker<R> {
    fn top_level(&mut self, extended_offsets: &mut Vec<u64>) -> Result<Step, Stop> {
        let element = self.element()?;
        match element.tag {
            tags::EXTENDED_OFFSET_TABLE => {
                *extended_offsets = self.offsets_64(element)?;
                Ok(Step::PixelGroup)
            }
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA => {
                self.pixels(element, std::mem::take(extended_offsets)).map(Step::Pixels)
            }
            tag => {
                self.value(element, 0)?;
                Ok(if tag.group() == PIXEL_GROUP { Step::PixelGroup } else { Step::Element })
            }
        }
    }

    fn value(&mut self, element: Element, depth: usize) -> Result<(), Stop> {
        if element.length == UNDEFINED {
            return self.items(element.tag, None, depth);
        }
        if !element.is_sequence {
            return self.skip(element.tag, element.length.into());
        }
        let end = self.position + u64::from(element.length);
        if end > self.length {
            return Err(Stop::Broken(element.tag, Broken::Truncated));
        }
        self.items(element.tag, Some(end), depth)
    }

    /// PS3.5 §7.5: items until `end`, or until the sequence delimiter when that is unknown.
    fn items(&mut self, tag: Tag, end: Option<u64>, depth: usize) -> Result<(), Stop> {
        if depth >= DEPTH_MAX {
            return Err(Stop::Broken(tag, Broken::TooDeep));
        }
        while end.is_none_or(|end| self.position < end) {
            let (item, length) = self.item_header(tag)?;
            match item {
                SEQUENCE_DELIMITATION => return Ok(()),
                ITEM => self.item(tag, length, depth)?,
                _ => return Err(Stop::Broken(tag, Broken::NotAnItem)),
            }
        }
        Ok(())
    }

    fn item(&mut self, sequence: Tag, length: u32, depth: usize) -> Result<(), Stop> {
        let end = (length != UNDEFINED).then(|| self.position + u64::from(length));
        if end.is_some_and(|end| end > self.length) {
            return Err(Stop::Broken(sequence, Broken::Truncated));
        }
        while end.is_none_or(|end| self.position < end) {
            let element = self.element()?;
            if element.tag == ITEM_DELIMITATION {
                return Ok(());
            }
            self.value(element, depth + 1)?;
        }
        Ok(())
    }

    fn pixels(&mut self, element: Element, extended_offsets: Vec<u64>) -> Result<PixelSpan, Stop> {
        if element.length != UNDEFINED {
            let (offset, length) = (self.position, u64::from(element.length));
            let available = length.min(self.length - offset);
            return Ok(PixelSpan::Native { tag: element.tag, offset, length, available });
        }
        let table = self.item_header(element.tag)?;
        let basic_offsets = self.offsets_32(element.tag, table.1)?;
        let mut fragments = Vec::new();
        let is_whole = loop {
            match self.fragment(element.tag) {
                Ok(Some(fragment)) => fragments.push(fragment),
                Ok(None) => break true,
                Err(Stop::Broken(..)) => break false,
                Err(stop) => return Err(stop),
            }
        };
        let frame_offsets = if extended_offsets.is_empty() { basic_offsets } else { extended_offsets };
        Ok(PixelSpan::Encapsulated { fragments, frame_offsets, is_whole })
    }

    fn fragment(&mut self, tag: Tag) -> Result<Option<Fragment>, Stop> {
        let (item, length) = self.item_header(tag)?;
        if item != ITEM {
            return Ok(None);
        }
        let fragment = Fragment { offset: self.position, length };
        self.skip(tag, length.into())?;
        Ok(Some(fragment))
    }

    /// PS3.5 §A.4: the Basic Offset Table, four bytes for each frame.
    fn offsets_32(&mut self, tag: Tag, length: u32) -> Result<Vec<u64>, Stop> {
        let bytes = self.bytes(tag, length)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk).into()).collect())
    }

    /// PS3.3 C.7.6.3.1.8: the Extended Offset Table, eight bytes for each frame.
    fn offsets_64(&mut self, element: Element) -> Result<Vec<u64>, Stop> {
        let bytes = self.bytes(element.tag, element.length)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
    }

    fn bytes(&mut self, tag: Tag, length: u32) -> Result<Vec<u8>, Stop> {
        if u64::from(length) > self.length - self.position {
            return Err(Stop::Broken(tag, Broken::Truncated));
        }
        let mut bytes = vec![0; length as usize];
        self.read(tag, &mut bytes)?;
        Ok(bytes)
    }

    /// PS3.5 §7.1: tag, representation where explicit, length.
    fn element(&mut self) -> Result<Element, Stop> {
        let tag = self.tag()?;
        if tag.group() == ITEM.group() {
            return Ok(Element { tag, is_sequence: false, length: self.length_32(tag)? });
        }
        if !self.encoding.is_explicit {
            let length = self.length_32(tag)?;
            let is_sequence =
                StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr().relaxed() == VR::SQ);
            return Ok(Element { tag, is_sequence, length });
        }
        let mut representation = [0; 2];
        self.read(tag, &mut representation)?;
        let mut short = [0; 2];
        self.read(tag, &mut short)?;
        let length =
            if has_short_length(representation) { u32::from(self.u16(short)) } else { self.length_32(tag)? };
        Ok(Element { tag, is_sequence: &representation == b"SQ", length })
    }

    fn item_header(&mut self, sequence: Tag) -> Result<(Tag, u32), Stop> {
        let tag = self.tag().map_err(|stop| match stop {
            Stop::Broken(_, reason) => Stop::Broken(sequence, reason),
            io => io,
        })?;
        Ok((tag, self.length_32(sequence)?))
    }

    fn tag(&mut self) -> Result<Tag, Stop> {
        let mut bytes = [0; 4];
        self.read(Tag(0, 0), &mut bytes)?;
        let [a, b, c, d] = bytes;
        Ok(Tag(self.u16([a, b]), self.u16([c, d])))
    }

    fn length_32(&mut self, tag: Tag) -> Result<u32, Stop> {
        let mut bytes = [0; 4];
        self.read(tag, &mut bytes)?;
        Ok(if self.encoding.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.encoding.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn read(&mut self, tag: Tag, bytes: &mut [u8]) -> Result<(), Stop> {
        if bytes.len() as u64 > self.length - self.position {
            return Err(Stop::Broken(tag, Broken::Truncated));
        }
        self.reader.read_exact(bytes).map_err(Stop::Io)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, tag: Tag, count: u64) -> Result<(), Stop> {
        if count > self.length - self.position {
            return Err(Stop::Broken(tag, Broken::Truncated));
        }
        let step = i64::try_from(count).map_err(|_| Stop::Broken(tag, Broken::Truncated))?;
        self.reader.seek_relative(step).map_err(Stop::Io)?;
        self.position += count;
        Ok(())
    }
}

/// PS3.5 Table 7.1-2; whatever is not listed has two reserved bytes and a 32-bit length.
fn has_short_length(representation: [u8; 2]) -> bool {
    matches!(
        &representation,
        b"AE"
            | b"AS"
            | b"AT"
            | b"CS"
            | b"DA"
            | b"DS"
            | b"DT"
            | b"FL"
            | b"FD"
            | b"IS"
            | b"LO"
            | b"LT"
            | b"PN"
            | b"SH"
            | b"SL"
            | b"SS"
            | b"ST"
            | b"TM"
            | b"UI"
            | b"UL"
            | b"US"
    )
}
