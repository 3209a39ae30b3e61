//! Walking over Explicit VR Little Endian in place: for thousands of frames that need not be built.
//!
//! Reads what is written here: sequences and items with their lengths. Anything else ends the walk.

use dicom_core::Tag;

/// One element: its tag and its value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    pub(super) value: &'a [u8],
}

/// Elements one after the other; stops at the first that does not fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Elements<'a> {
    pub(super) fn get(self, tag: Tag) -> Option<&'a [u8]> {
        self.into_iter().find(|element| element.tag == tag).map(|element| element.value)
    }

    /// The only item of a sequence.
    pub(super) fn group(self, tag: Tag) -> Option<Self> {
        Items(self.get(tag)?).next()
    }

    pub(super) fn text(self, tag: Tag) -> Option<&'a str> {
        std::str::from_utf8(self.get(tag)?).ok().map(|text| text.trim_matches([' ', '\0']))
    }

    pub(super) fn number_16(self, tag: Tag) -> Option<u16> {
        Some(u16::from_le_bytes(self.get(tag)?.try_into().ok()?))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = split_tag(self.0)?;
        let (vr, rest) = rest.split_at_checked(2)?;
        let (length, rest) = match vr {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
            | b"UV" => split_u32(rest.get(2..)?)?,
            _ => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_le_bytes(*length)), rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag, value })
    }
}

/// Items of a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Items<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Elements<'a>;

    fn next(&mut self) -> Option<Elements<'a>> {
        let (tag, rest) = split_tag(self.0)?;
        let (length, rest) = split_u32(rest)?;
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (tag == Tag(0xFFFE, 0xE000)).then_some(Elements(value))
    }
}

fn split_tag(bytes: &[u8]) -> Option<(Tag, &[u8])> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk()?;
    Some((Tag(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d])), rest))
}

fn split_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*length) as usize, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_walked_over_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let values = Elements(&bytes).map(|element| element.value.len()).sum::<usize>();
            prop_assert!(values <= bytes.len());
            prop_assert!(Items(&bytes).count() <= bytes.len() / 8);
        }
    }

    #[test]
    fn short_and_long_lengths_are_read() {
        let bytes = [
            &[0x20, 0, 0x32, 0, b'D', b'S', 2, 0, b'1', b' '][..],
            &[0x20, 0, 0x11, 0x91, b'S', b'Q', 0, 0, 8, 0, 0, 0, 0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0][..],
        ]
        .concat();
        let elements = Elements(&bytes);
        assert_eq!(elements.text(Tag(0x0020, 0x0032)), Some("1"));
        assert!(elements.group(Tag(0x0020, 0x9111)).is_some_and(|group| group.0.is_empty()));
    }
}
