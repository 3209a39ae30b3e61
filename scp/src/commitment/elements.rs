//! The few elements of a commitment's data sets, little endian with or without value representations.
//!
//! Reads nothing but what lies within the bytes that it is given, to a fixed depth.

type Tag = (u16, u16);

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = (0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = (0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = (0xFFFE, 0xE0DD);
/// Enough for any argument; one more is refused.
const DEPTH_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Element<'bytes> {
    tag: Tag,
    value: &'bytes [u8],
}

/// The elements of a data set; `None` when it is malformed.
pub(super) fn read(bytes: &[u8], implicit: bool) -> Option<Vec<Element<'_>>> {
    let mut at = 0;
    let mut elements = Vec::new();
    while at < bytes.len() {
        let (element, next) = element(bytes, at, implicit, 0)?;
        elements.push(element);
        at = next;
    }
    Some(elements)
}

pub(super) fn text<'bytes>(elements: &[Element<'bytes>], tag: Tag) -> Option<&'bytes str> {
    let value = elements.iter().find(|element| element.tag == tag)?.value;
    Some(std::str::from_utf8(value).ok()?.trim_matches(['\0', ' ']))
}

pub(super) fn has(elements: &[Element<'_>], tag: Tag) -> bool {
    elements.iter().any(|element| element.tag == tag)
}

pub(super) fn number(elements: &[Element<'_>], tag: Tag) -> Option<u16> {
    let value = elements.iter().find(|element| element.tag == tag)?.value;
    Some(u16::from_le_bytes(value.try_into().ok()?))
}

/// The items of a sequence, each with its elements; `None` when there is none or it is malformed.
pub(super) fn items<'bytes>(
    elements: &[Element<'bytes>],
    tag: Tag,
    implicit: bool,
) -> Option<Vec<Vec<Element<'bytes>>>> {
    let value = elements.iter().find(|element| element.tag == tag)?.value;
    let mut at = 0;
    let mut items = Vec::new();
    while at < value.len() {
        let (item, next) = item(value, at, implicit, 1)?;
        items.push(read(item, implicit)?);
        at = next;
    }
    Some(items)
}

/// One element at `at`, and where the next begins. The value of a sequence is its items without delimiter.
fn element(bytes: &[u8], at: usize, implicit: bool, depth: u32) -> Option<(Element<'_>, usize)> {
    let (tag, start, length) = header(bytes, at, implicit)?;
    if length != UNDEFINED {
        let end = start.checked_add(length as usize)?;
        return Some((Element { tag, value: bytes.get(start..end)? }, end));
    }
    let mut end = start;
    loop {
        let (inside, after, _) = header(bytes, end, implicit)?;
        match inside {
            SEQUENCE_DELIMITATION => return Some((Element { tag, value: bytes.get(start..end)? }, after)),
            _ => end = item(bytes, end, implicit, depth + 1)?.1,
        }
    }
}

/// The content of one item at `at`, and where the next begins.
fn item(bytes: &[u8], at: usize, implicit: bool, depth: u32) -> Option<(&[u8], usize)> {
    let (tag, start, length) = header(bytes, at, implicit)?;
    if tag != ITEM || depth > DEPTH_MAX {
        return None;
    }
    if length != UNDEFINED {
        let end = start.checked_add(length as usize)?;
        return Some((bytes.get(start..end)?, end));
    }
    let mut end = start;
    loop {
        let (inside, after, _) = header(bytes, end, implicit)?;
        if inside == ITEM_DELIMITATION {
            return Some((bytes.get(start..end)?, after));
        }
        end = element(bytes, end, implicit, depth + 1)?.1;
    }
}

/// Tag, where the value begins, length.
fn header(bytes: &[u8], at: usize, implicit: bool) -> Option<(Tag, usize, u32)> {
    let header = bytes.get(at..at.checked_add(8)?)?;
    let tag = (u16::from_le_bytes([header[0], header[1]]), u16::from_le_bytes([header[2], header[3]]));
    if implicit || tag.0 == 0xFFFE {
        return Some((tag, at + 8, u32::from_le_bytes([header[4], header[5], header[6], header[7]])));
    }
    match &header[4..6] {
        b"SQ" | b"OB" | b"OW" | b"UN" | b"UT" | b"UC" | b"UR" => {
            let length = bytes.get(at + 8..at + 12)?;
            Some((tag, at + 12, u32::from_le_bytes([length[0], length[1], length[2], length[3]])))
        }
        _ => Some((tag, at + 8, u32::from(u16::from_le_bytes([header[6], header[7]])))),
    }
}

/// Writes elements in the order in which they are given.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    implicit: bool,
}

impl Writer {
    pub(super) fn new(implicit: bool) -> Self {
        Self { bytes: Vec::new(), implicit }
    }

    pub(super) fn uid(&mut self, tag: Tag, value: &str) {
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), 0);
        self.put(tag, *b"UI", &value);
    }

    pub(super) fn number(&mut self, tag: Tag, value: u16) {
        self.put(tag, *b"US", &value.to_le_bytes());
    }

    /// An empty sequence is left out.
    pub(super) fn sequence(&mut self, tag: Tag, items: Vec<Self>) {
        if items.is_empty() {
            return;
        }
        let mut value = Vec::new();
        for item in items {
            value.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
            value.extend_from_slice(&length(&item.bytes).to_le_bytes());
            value.extend_from_slice(&item.bytes);
        }
        self.put(tag, *b"SQ", &value);
    }

    fn put(&mut self, tag: Tag, vr: [u8; 2], value: &[u8]) {
        self.bytes.extend_from_slice(&tag.0.to_le_bytes());
        self.bytes.extend_from_slice(&tag.1.to_le_bytes());
        match (self.implicit, &vr) {
            (true, _) => self.bytes.extend_from_slice(&length(value).to_le_bytes()),
            (false, b"SQ") => {
                self.bytes.extend_from_slice(b"SQ\0\0");
                self.bytes.extend_from_slice(&length(value).to_le_bytes());
            }
            (false, _) => {
                self.bytes.extend_from_slice(&vr);
                let length = u16::try_from(value.len()).expect("UIDs and numbers are short");
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(value);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn length(value: &[u8]) -> u32 {
    u32::try_from(value.len()).expect("a report is no longer than the request, which is bounded")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(implicit: bool) -> Vec<u8> {
        let mut item = Writer::new(implicit);
        item.uid((0x0008, 0x1155), "1.2.3");
        let mut out = Writer::new(implicit);
        out.uid((0x0008, 0x1195), "1.9");
        out.sequence((0x0008, 0x1199), vec![item]);
        out.finish()
    }

    #[test]
    fn what_is_written_reads_back_in_both_encodings() {
        for implicit in [true, false] {
            let bytes = written(implicit);
            let elements = read(&bytes, implicit).unwrap();
            assert_eq!(text(&elements, (0x0008, 0x1195)), Some("1.9"));
            let items = items(&elements, (0x0008, 0x1199), implicit).unwrap();
            assert_eq!(text(&items[0], (0x0008, 0x1155)), Some("1.2.3"));
        }
    }

    #[test]
    fn undefined_lengths_are_followed() {
        let mut bytes =
            vec![0x08, 0, 0x99, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
        bytes.extend_from_slice(&[0x08, 0, 0x55, 0x11, 4, 0, 0, 0, b'1', b'.', b'2', 0]);
        bytes.extend_from_slice(&[0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let elements = read(&bytes, true).unwrap();
        let items = items(&elements, (0x0008, 0x1199), true).unwrap();
        assert_eq!(text(&items[0], (0x0008, 0x1155)), Some("1.2"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), implicit: bool) {
            if let Some(elements) = read(&bytes, implicit) {
                let _ = items(&elements, (0x0008, 0x1199), implicit);
            }
        }

        #[test]
        fn no_damage_makes_reading_panic(at in 0_usize..60, byte: u8, implicit: bool) {
            let mut bytes = written(implicit);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            if let Some(elements) = read(&bytes, implicit) {
                let _ = items(&elements, (0x0008, 0x1199), implicit);
            }
        }
    }
}
