//! Walks the elements of a data set while it streams by (PS3.5 §7).
//!
//! Whatever the chunks, the walk sees every element header once, jumps over values, and
//! proves that all lengths add up to the end of the data set. It keeps the head (all before
//! the pixel data, at most [`HEAD_BYTES_MAX`], values of more than [`VALUE_BYTES_MAX`]
//! left out) for whoever wants the facts. Its memory is bounded by that, whatever the
//! data set's size. It does not interpret values.

mod element;

use std::ops::Range;

pub(crate) use element::Encoding;
use element::{
    HEADER_BYTES_MAX, Header, ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION, Tag, UNDEFINED, is_pixel_data,
    read_header,
};

/// The most bytes of a head that are kept.
pub(crate) const HEAD_BYTES_MAX: usize = 1 << 20;
/// The longest value of a known length that is kept in a head.
pub(crate) const VALUE_BYTES_MAX: usize = 256 << 10;
/// Sequences in sequences, counted with their items.
const DEPTH_MAX: usize = 64;

const SOP_CLASS_UID: Tag = (0x0008, 0x0016);
const SOP_INSTANCE_UID: Tag = (0x0008, 0x0018);
const STUDY_INSTANCE_UID: Tag = (0x0020, 0x000D);
const SERIES_INSTANCE_UID: Tag = (0x0020, 0x000E);

/// Why a data set cannot be walked to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the data set ends inside an element")]
    Truncated,
    #[error("element ({0:04X},{1:04X}) cannot be in a data set here")]
    Misplaced(u16, u16),
    #[error("element ({0:04X},{1:04X}) has no valid value representation")]
    ValueRepresentation(u16, u16),
    #[error("element ({0:04X},{1:04X}) has an undefined length that its value representation does not allow")]
    Length(u16, u16),
    #[error("sequences are nested more than {DEPTH_MAX} deep")]
    Depth,
    #[error("the deflated data set cannot be inflated")]
    Deflate,
    #[error("the head of the deflated data set inflates to more than is allowed")]
    Inflated,
}

/// A sequence or an item of undefined length that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Sequence(Encoding),
    Item(Encoding),
}

impl Open {
    fn encoding(self) -> Encoding {
        match self {
            Self::Sequence(encoding) | Self::Item(encoding) => encoding,
        }
    }
}

/// Where the values of the four identifying UIDs are in the head.
#[derive(Debug, Default)]
struct Places {
    sop_class: Option<Range<usize>>,
    sop_instance: Option<Range<usize>>,
    study: Option<Range<usize>>,
    series: Option<Range<usize>>,
}

#[derive(Debug)]
pub(crate) struct Scanner {
    encoding: Encoding,
    /// An element header that a chunk's end has cut.
    carry: Vec<u8>,
    /// Bytes of the current value that are still to come.
    value_left: u64,
    keeps_value: bool,
    open: Vec<Open>,
    head: Vec<u8>,
    head_is_whole: bool,
    /// Where the current top-level sequence began in `head`, while it is kept.
    sequence_start: Option<usize>,
    places: Places,
}

impl Scanner {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            carry: Vec::with_capacity(HEADER_BYTES_MAX),
            value_left: 0,
            keeps_value: false,
            open: Vec::new(),
            head: Vec::with_capacity(4096),
            head_is_whole: false,
            sequence_start: None,
            places: Places::default(),
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// True when the pixel data has begun.
    pub(crate) fn head_is_whole(&self) -> bool {
        self.head_is_whole
    }

    /// The kept head: a data set of its own, in the same encoding.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(crate) fn sop_class(&self) -> Option<&str> {
        self.text(self.places.sop_class.as_ref())
    }

    pub(crate) fn sop_instance(&self) -> Option<&str> {
        self.text(self.places.sop_instance.as_ref())
    }

    pub(crate) fn study(&self) -> Option<&str> {
        self.text(self.places.study.as_ref())
    }

    pub(crate) fn series(&self) -> Option<&str> {
        self.text(self.places.series.as_ref())
    }

    fn text(&self, place: Option<&Range<usize>>) -> Option<&str> {
        let bytes = self.head.get(place?.clone())?;
        let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\0', ' ']);
        (!text.is_empty()).then_some(text)
    }

    /// Takes the next bytes of the data set.
    ///
    /// # Errors
    /// When they cannot be elements; the scanner is of no use afterwards.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) -> Result<(), Malformed> {
        loop {
            chunk = self.pass_value(chunk);
            if chunk.is_empty() {
                return Ok(());
            }
            let Some(header) = self.next_header(&mut chunk)? else { return Ok(()) };
            self.enter(&header)?;
        }
    }

    /// Confirms that the data set may end here.
    ///
    /// # Errors
    /// When an element, an item or a sequence is still open.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.value_left > 0 || !self.carry.is_empty() || !self.open.is_empty() {
            return Err(Malformed::Truncated);
        }
        Ok(())
    }

    fn pass_value<'chunk>(&mut self, chunk: &'chunk [u8]) -> &'chunk [u8] {
        if self.value_left == 0 {
            return chunk;
        }
        let count = usize::try_from(self.value_left).unwrap_or(usize::MAX).min(chunk.len());
        let (value, rest) = chunk.split_at(count);
        if self.keeps_value {
            self.head.extend_from_slice(value);
        }
        self.value_left -= count as u64;
        rest
    }

    /// Reads one element header from the carried bytes and the chunk; `None` when it needs more.
    fn next_header(&mut self, chunk: &mut &[u8]) -> Result<Option<Header>, Malformed> {
        let encoding = self.open.last().map_or(self.encoding, |open| open.encoding());
        if self.carry.is_empty() {
            let Some(header) = read_header(chunk, encoding)? else {
                self.carry.extend_from_slice(chunk);
                *chunk = &[];
                return Ok(None);
            };
            self.keep_header(&chunk[..header.bytes], &header);
            *chunk = &chunk[header.bytes..];
            return Ok(Some(header));
        }
        while let Some((&byte, rest)) = chunk.split_first() {
            self.carry.push(byte);
            *chunk = rest;
            if let Some(header) = read_header(&self.carry, encoding)? {
                let bytes = std::mem::take(&mut self.carry);
                self.keep_header(&bytes, &header);
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Decides whether this element belongs to the head, and keeps its header when it does.
    fn keep_header(&mut self, bytes: &[u8], header: &Header) {
        let at_top = self.open.is_empty();
        if at_top {
            self.sequence_start = None;
            if is_pixel_data(header.tag) {
                self.head_is_whole = true;
            }
        }
        let value_bytes = if header.length == UNDEFINED { 0 } else { header.length as usize };
        let fits = value_bytes <= VALUE_BYTES_MAX
            && self.head.len().saturating_add(bytes.len()).saturating_add(value_bytes) <= HEAD_BYTES_MAX;
        self.keeps_value = !self.head_is_whole && fits && (at_top || self.sequence_start.is_some());
        if !self.keeps_value {
            self.leave_sequence_out();
            return;
        }
        if at_top && header.length == UNDEFINED {
            self.sequence_start = Some(self.head.len());
        }
        self.head.extend_from_slice(bytes);
    }

    /// A sequence that does not fit is left out as a whole, never cut.
    fn leave_sequence_out(&mut self) {
        if let Some(start) = self.sequence_start.take() {
            self.head.truncate(start);
        }
    }

    fn enter(&mut self, header: &Header) -> Result<(), Malformed> {
        match self.open.last().copied() {
            Some(Open::Sequence(encoding)) => self.enter_in_sequence(header, encoding),
            Some(Open::Item(_)) if header.tag == ITEM_DELIMITATION => {
                self.open.pop();
                Ok(())
            }
            Some(Open::Item(encoding)) => self.enter_element(header, encoding),
            None => self.enter_element(header, self.encoding),
        }
    }

    fn enter_in_sequence(&mut self, header: &Header, encoding: Encoding) -> Result<(), Malformed> {
        match header.tag {
            ITEM if header.length == UNDEFINED => self.open(Open::Item(encoding)),
            ITEM => {
                self.value_left = u64::from(header.length);
                Ok(())
            }
            SEQUENCE_DELIMITATION => {
                self.open.pop();
                Ok(())
            }
            (group, element) => Err(Malformed::Misplaced(group, element)),
        }
    }

    fn enter_element(&mut self, header: &Header, encoding: Encoding) -> Result<(), Malformed> {
        let (group, element) = header.tag;
        // PS3.7 §E and PS3.10 §7.1: groups 0000 and 0002 never are in a data set; delimiters have no place here.
        if group < 0x0008 && group % 2 == 0 && group != 0x0004 || group == 0xFFFE {
            return Err(Malformed::Misplaced(group, element));
        }
        if header.length == UNDEFINED {
            return match header.vr.as_ref() {
                // PS3.5 §6.2.2, note 5: UN of undefined length is a sequence in Implicit VR Little Endian.
                Some(b"UN") => self.open(Open::Sequence(Encoding::ImplicitLittle)),
                None | Some(b"SQ" | b"OB" | b"OW" | b"OV") => self.open(Open::Sequence(encoding)),
                Some(_) => Err(Malformed::Length(group, element)),
            };
        }
        self.value_left = u64::from(header.length);
        if self.open.is_empty() && self.keeps_value {
            self.note_place(header);
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Malformed> {
        if self.open.len() == DEPTH_MAX {
            return Err(Malformed::Depth);
        }
        self.open.push(open);
        Ok(())
    }

    fn note_place(&mut self, header: &Header) {
        let place = match header.tag {
            SOP_CLASS_UID => &mut self.places.sop_class,
            SOP_INSTANCE_UID => &mut self.places.sop_instance,
            STUDY_INSTANCE_UID => &mut self.places.study,
            SERIES_INSTANCE_UID => &mut self.places.series,
            _ => return,
        };
        let start = self.head.len();
        *place = Some(start..start + header.length as usize);
    }
}

#[cfg(test)]
mod tests;
