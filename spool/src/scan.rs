//! Walks the elements of a data set while it streams by (PS3.5 §7).
//!
//! Whatever the chunks, the walk sees every element header once, jumps over values, and
//! proves that all lengths add up to the end of the data set. It keeps the head (all before
//! the pixel data, at most [`HEAD_BYTES_MAX`], values of more than [`VALUE_BYTES_MAX`]
//! left out) for whoever wants the facts. Its memory is bounded by that, whatever the
//! data set's size. It does not interpret values.

use std::ops::Range;

/// The most bytes of a head that are kept.
pub(crate) const HEAD_BYTES_MAX: usize = 1 << 20;
/// The longest value of a known length that is kept in a head.
pub(crate) const VALUE_BYTES_MAX: usize = 256 << 10;
/// Sequences in sequences, counted with their items.
const DEPTH_MAX: usize = 64;
const UNDEFINED: u32 = u32::MAX;
const HEADER_BYTES_MAX: usize = 12;

const SOP_CLASS_UID: Tag = (0x0008, 0x0016);
const SOP_INSTANCE_UID: Tag = (0x0008, 0x0018);
const STUDY_INSTANCE_UID: Tag = (0x0020, 0x000D);
const SERIES_INSTANCE_UID: Tag = (0x0020, 0x000E);

const ITEM: Tag = (0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = (0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = (0xFFFE, 0xE0DD);

type Tag = (u16, u16);

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

/// How elements are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
}

impl Encoding {
    /// The UID of the plain syntax with this encoding.
    pub(crate) fn transfer_syntax(self) -> &'static str {
        match self {
            Self::ImplicitLittle => "1.2.840.10008.1.2",
            Self::ExplicitLittle => "1.2.840.10008.1.2.1",
            Self::ExplicitBig => "1.2.840.10008.1.2.2",
        }
    }

    fn u16(self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self == Self::ExplicitBig { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self == Self::ExplicitBig { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
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

struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    length: u32,
    bytes: usize,
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

/// Float, Double Float and Pixel Data (PS3.3 §C.7.6.24).
fn is_pixel_data((group, element): Tag) -> bool {
    group == 0x7FE0 && element >= 0x0008
}

/// Reads the header of one element, item or delimiter; `None` when `bytes` ends within it.
fn read_header(bytes: &[u8], encoding: Encoding) -> Result<Option<Header>, Malformed> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    let tag = (encoding.u16(bytes), encoding.u16(&bytes[2..]));
    if encoding == Encoding::ImplicitLittle || tag.0 == 0xFFFE {
        return Ok(Some(Header { tag, vr: None, length: encoding.u32(&bytes[4..]), bytes: 8 }));
    }
    let vr = [bytes[4], bytes[5]];
    match &vr {
        b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FD" | b"FL" | b"IS" | b"LO" | b"LT"
        | b"PN" | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
            Ok(Some(Header { tag, vr: Some(vr), length: u32::from(encoding.u16(&bytes[6..])), bytes: 8 }))
        }
        // PS3.5 §6.2: every other value representation, future ones too, has a 32-bit length after two reserved bytes.
        _ if vr.iter().all(u8::is_ascii_uppercase) => Ok((bytes.len() >= HEADER_BYTES_MAX).then(|| Header {
            tag,
            vr: Some(vr),
            length: encoding.u32(&bytes[8..]),
            bytes: HEADER_BYTES_MAX,
        })),
        _ => Err(Malformed::ValueRepresentation(tag.0, tag.1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn explicit(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&tag.0.to_le_bytes());
        out.extend_from_slice(&tag.1.to_le_bytes());
        out.extend_from_slice(vr);
        if matches!(vr, b"OB" | b"OW" | b"SQ" | b"UN") {
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        } else {
            out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        }
        out.extend_from_slice(value);
        out
    }

    fn undefined(tag: Tag, vr: &[u8; 2], inside: &[u8]) -> Vec<u8> {
        let mut out = explicit(tag, vr, &[]);
        let at = out.len() - 4;
        out[at..].copy_from_slice(&UNDEFINED.to_le_bytes());
        out.extend_from_slice(inside);
        out.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        out
    }

    fn item(value: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFE, 0xFF, 0x00, 0xE0];
        out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(value);
        out
    }

    fn sample() -> Vec<u8> {
        [
            explicit(SOP_CLASS_UID, b"UI", b"1.2.3\0"),
            explicit(SOP_INSTANCE_UID, b"UI", b"1.2.3.45"),
            undefined((0x0008, 0x1140), b"SQ", &item(&explicit((0x0008, 0x1155), b"UI", b"1.9\0"))),
            explicit(STUDY_INSTANCE_UID, b"UI", b"1.22"),
            explicit(SERIES_INSTANCE_UID, b"UI", b"1.33"),
            undefined((0x7FE0, 0x0010), b"OB", &[item(&[]), item(&[1; 40])].concat()),
        ]
        .concat()
    }

    fn scan(bytes: &[u8], chunk: usize) -> Result<Scanner, Malformed> {
        let mut scanner = Scanner::new(Encoding::ExplicitLittle);
        for part in bytes.chunks(chunk) {
            scanner.push(part)?;
        }
        scanner.finish()?;
        Ok(scanner)
    }

    #[test]
    fn the_head_is_the_same_whatever_the_chunks() {
        let bytes = sample();
        let whole = scan(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.sop_instance(), Some("1.2.3.45"));
        assert_eq!(whole.study(), Some("1.22"));
        assert!(whole.head_is_whole() && bytes.starts_with(whole.head()));
        for chunk in 1..bytes.len() {
            assert_eq!(scan(&bytes, chunk).unwrap().head(), whole.head(), "chunks of {chunk}");
        }
    }

    #[test]
    fn a_data_set_that_is_cut_is_truncated_unless_cut_between_elements() {
        let bytes = sample();
        let whole_until: Vec<usize> = {
            let pixel_data =
                bytes.len() - undefined((0x7FE0, 0x0010), b"OB", &[item(&[]), item(&[1; 40])].concat()).len();
            (0..pixel_data).filter(|&end| scan(&bytes[..end], 7).is_ok()).collect()
        };
        assert_eq!(whole_until.len(), 5, "only at the ends of top-level elements: {whole_until:?}");
        for end in bytes.len() - 60..bytes.len() {
            assert_eq!(scan(&bytes[..end], 7).unwrap_err(), Malformed::Truncated, "cut at {end}");
        }
    }

    #[test]
    fn long_private_values_are_left_out_and_the_rest_is_kept() {
        let long = explicit((0x0019, 0x1001), b"OB", &vec![7; VALUE_BYTES_MAX + 2]);
        let bytes =
            [explicit(SOP_CLASS_UID, b"UI", b"1.2\0"), long, explicit(STUDY_INSTANCE_UID, b"UI", b"1.22")]
                .concat();
        let scanner = scan(&bytes, 4096).unwrap();
        assert_eq!(scanner.study(), Some("1.22"));
        assert!(scanner.head().len() < 64);
    }

    #[test]
    fn a_sequence_beyond_the_head_is_left_out_whole() {
        let items = item(&explicit((0x0008, 0x1155), b"OB", &vec![1; 200 << 10])).repeat(8);
        let bytes = [
            explicit(SOP_CLASS_UID, b"UI", b"1.2\0"),
            undefined((0x0008, 0x1140), b"SQ", &items),
            explicit(STUDY_INSTANCE_UID, b"UI", b"1.22"),
        ]
        .concat();
        let scanner = scan(&bytes, 5000).unwrap();
        assert_eq!(scanner.study(), Some("1.22"));
        assert_eq!(scanner.head().len(), explicit(SOP_CLASS_UID, b"UI", b"1.2\0").len() * 2);
    }

    #[test]
    fn endless_nesting_is_refused() {
        let mut bytes = Vec::new();
        for _ in 0..200 {
            bytes.extend_from_slice(&[0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        assert_eq!(scan(&bytes, 100).unwrap_err(), Malformed::Depth);
    }

    #[test]
    fn an_unknown_sequence_is_walked_as_implicit() {
        // (0008,1155) without value representation, inside UN of undefined length
        let inside = [0x08, 0, 0x55, 0x11, 4, 0, 0, 0, b'1', b'.', b'9', 0];
        let bytes = [
            undefined((0x0009, 0x1001), b"UN", &item(&inside)),
            explicit(STUDY_INSTANCE_UID, b"UI", b"1.22"),
        ];
        assert_eq!(scan(&bytes.concat(), 3).unwrap().study(), Some("1.22"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2048), chunk in 1_usize..300) {
            for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
                let mut scanner = Scanner::new(encoding);
                let walked = bytes.chunks(chunk).try_for_each(|part| scanner.push(part));
                prop_assert!(scanner.head().len() <= bytes.len());
                prop_assert!(scanner.carry.len() < HEADER_BYTES_MAX || walked.is_err());
            }
        }

        #[test]
        fn damage_to_a_good_data_set_never_makes_it_panic(at in 0_usize..150, byte in any::<u8>(), chunk in 1_usize..50) {
            let mut bytes = sample();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            if let Ok(scanner) = scan(&bytes, chunk) {
                prop_assert!(scanner.head().len() <= bytes.len());
            }
        }
    }
}
