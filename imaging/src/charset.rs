//! Text in the character set that an instance declares (PS3.3 C.12.1.1.2, PS3.5 §6.1).
//!
//! The DICOM parser decodes every text with the *first* value of the Specific Character Set
//! (0008,0005) that it met last, be it of the data set or of an item in it. That is right for
//! one value of the sets it knows. For several values (code extensions, usual in Korea, Japan
//! and China), for sets that it does not know and behind items with a set of their own, the
//! bytes are recovered from what it made of them and decoded here.
//!
//! Bytes that mean nothing in the declared set become U+FFFD; nothing here can fail.

use dicom_core::{Tag, VR, header::Header as _};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use dicom_object::InMemDicomObject;

use crate::{attribute, iso2022::Extensions};

/// The character set of one data set, or of one item that declares its own.
#[derive(Debug, Clone)]
pub struct Charset {
    values: Vec<String>,
    /// Sequences in which an item declares another set, which the parser then goes on with.
    switches: Vec<(Tag, String)>,
}

impl Charset {
    /// The set that `ds` declares; the default repertoire when it declares none.
    pub fn of(ds: &InMemDicomObject) -> Self {
        Self::new(attribute::strings(ds, tags::SPECIFIC_CHARACTER_SET), ds)
    }

    /// The set of `item`, which inherits this one unless it declares its own.
    pub fn of_item(&self, item: &InMemDicomObject) -> Self {
        match item.get(tags::SPECIFIC_CHARACTER_SET) {
            Some(_) => Self::of(item),
            None => Self::new(self.values.clone(), item),
        }
    }

    fn new(values: Vec<String>, ds: &InMemDicomObject) -> Self {
        let sequences = ds.iter().filter_map(|element| Some((element.tag(), element.items()?)));
        let switches = sequences.filter_map(|(tag, items)| Some((tag, last_declared(items)?))).collect();
        Self { values, switches }
    }

    /// The text of `tag` in `ds`, without padding; several values are joined by a backslash.
    /// `None` when it is absent or empty.
    pub fn text(&self, ds: &InMemDicomObject, tag: Tag) -> Option<String> {
        let element = attribute::element(ds, tag)?;
        let mut text = element.to_multi_str().ok()?.join("\\");
        if depends_on_charset(element.vr()) && !self.was_parsed_right(tag) {
            let bytes = self.parsed_with(tag).encode(&text).unwrap_or_else(|_| latin1(&text));
            let bytes = without_octal_escapes(&bytes);
            text = Extensions::new(&self.values).decode(&bytes, element.vr() == VR::PN);
        }
        let text = text.trim_matches(|letter| letter == ' ' || letter == '\0');
        // PS3.5 §6.2.1.1: delimiters of absent groups at the end may be written or not.
        let text = if element.vr() == VR::PN { text.trim_end_matches('=') } else { text };
        // No text of DICOM holds a NUL but as padding, and no text of PostgreSQL any.
        (!text.is_empty()).then(|| text.replace('\0', " "))
    }

    fn first(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    fn was_parsed_right(&self, tag: Tag) -> bool {
        let is_known = match self.values.as_slice() {
            [] => true,
            [one] => one.is_empty() || SpecificCharacterSet::from_code(one).is_some(),
            _ => false,
        };
        is_known && self.in_force(tag) == self.first()
    }

    fn parsed_with(&self, tag: Tag) -> SpecificCharacterSet {
        SpecificCharacterSet::from_code(self.in_force(tag)).unwrap_or_default()
    }

    /// The set that the parser held when it came to `tag`.
    fn in_force(&self, tag: Tag) -> &str {
        let switch = self.switches.iter().rev().find(|(sequence, _)| *sequence < tag);
        switch.map_or(self.first(), |(_, value)| value.as_str())
    }
}

/// The last set that an item, or an item within one, declares.
fn last_declared(items: &[InMemDicomObject]) -> Option<String> {
    items.iter().rev().find_map(|item| {
        let nested = item.iter().filter_map(|element| last_declared(element.items()?)).last();
        nested.or_else(|| attribute::strings(item, tags::SPECIFIC_CHARACTER_SET).into_iter().next())
    })
}

/// The text of `tag` as people read it, in the character set that `ds` declares.
pub fn text(ds: &InMemDicomObject, tag: Tag) -> Option<String> {
    Charset::of(ds).text(ds, tag)
}

/// The parser writes a byte that its set lacks as a backslash and three octal digits.
fn without_octal_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest {
            [b'\\', high @ b'2'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..] => {
                out.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                rest = tail;
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// PS3.5 §6.1.2.3: the value representations that Specific Character Set governs.
fn depends_on_charset(vr: VR) -> bool {
    matches!(vr, VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT)
}

/// The parser falls back to ISO 8859-1 letter by letter; so does the way back.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, value::DataSetSequence};
    use dicom_dictionary_std::uids;
    use dicom_object::InMemDicomObject;
    use dicom_transfer_syntax_registry::{TransferSyntaxIndex as _, TransferSyntaxRegistry};

    use super::*;

    fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_le_bytes();
        [&group.to_le_bytes()[..], &number.to_le_bytes(), vr, &length, value].concat()
    }

    fn parse(bytes: &[u8]) -> InMemDicomObject {
        let syntax = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
        InMemDicomObject::read_dataset_with_ts(bytes, syntax).unwrap()
    }

    #[track_caller]
    fn check(charset: &[u8], name: &[u8], expected: &str) {
        let bytes = [element(8, 5, b"CS", charset), element(0x10, 0x10, b"PN", name)].concat();
        assert_eq!(text(&parse(&bytes), tags::PATIENT_NAME).as_deref(), Some(expected));
    }

    #[test]
    fn extensions_change_sets_within_a_name() {
        check(
            b"\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东",
        );
        check(b"ISO 2022 IR 100\\ISO 2022 IR 144", b"J\xe9r=\x1b-L\xbb\xee", "Jér=Лю");
        check(b"\\ISO 2022 IR 159", b"A=\x1b$(D\x22\x2f\x1b(B", "A=\u{2d8}");
        check(b"\\ISO 2022 IR 13", b"A=\x1b)I\xd4\xcf", "A=ﾔﾏ");
    }

    #[test]
    fn sets_that_the_parser_does_not_know_are_decoded() {
        check(b"ISO_IR 148", b"\xdeahin", "Şahin");
        check(b"ISO_IR 203", b"\xa4uro", "€uro");
    }

    #[test]
    fn a_delimiter_brings_the_first_set_back() {
        // The escape is not repeated behind the delimiter, so that the bytes are meaningless.
        check(b"\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8^\xb1", "김^\u{fffd}");
    }

    #[test]
    fn a_set_declared_in_an_item_does_not_reach_what_follows_it() {
        let mut item = InMemDicomObject::new_empty();
        item.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"));
        item.put(DataElement::new(tags::CODE_MEANING, VR::LO, "é"));
        let mut ds = InMemDicomObject::new_empty();
        ds.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"));
        ds.put(DataElement::new(tags::PROCEDURE_CODE_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])));
        let mut bytes = Vec::new();
        let syntax = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
        ds.write_dataset_with_ts(&mut bytes, syntax).unwrap();
        bytes.extend(element(0x10, 0x10, b"PN", b"J\xe9r\xf4me "));
        let ds = parse(&bytes);
        let charset = Charset::of(&ds);
        assert_eq!(charset.text(&ds, tags::PATIENT_NAME).as_deref(), Some("Jérôme"));
        let item = &attribute::items(&ds, tags::PROCEDURE_CODE_SEQUENCE)[0];
        assert_eq!(charset.of_item(item).text(item, tags::CODE_MEANING).as_deref(), Some("é"));
    }
}
