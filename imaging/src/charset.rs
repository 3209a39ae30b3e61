//! Text in the character set that an instance declares (PS3.3 C.12.1.1.2, PS3.5 §6.1).
//!
//! The DICOM parser decodes every text with the *first* value of the Specific Character Set
//! (0008,0005) that it met last, be it of the data set or of an item in it. That is right for
//! one value of the sets it knows. For several values (code extensions, usual in Korea, Japan
//! and China), for sets that it does not know and behind items with a set of their own, the
//! bytes are recovered from what it made of them and decoded here.
//!
//! It also cuts a text of several values at each byte 5C before it decodes it. That byte is the
//! second half of letters in ISO-IR 87, ISO-IR 159, GBK, GB18030 and Shift JIS, so what was cut is
//! put together again first.
//!
//! Bytes that mean nothing in the declared set become U+FFFD; nothing here can fail.

use std::borrow::Cow;

use dicom_core::{PrimitiveValue, Tag, VR, header::Header as _};
use dicom_dictionary_std::tags;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use dicom_object::{InMemDicomObject, mem::InMemElement};

use crate::{
    attribute,
    iso2022::{ESCAPE, Extensions},
};

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
        let values = parsed_values(element)?;
        let text = if depends_on_charset(element.vr()) && !self.was_parsed_right(tag, values.len()) {
            let bytes = parsed_bytes(&self.parsed_with(tag), &values);
            Extensions::new(&self.values).decode(&bytes, element.vr() == VR::PN)
        } else {
            values.join("\\")
        };
        let text = text.trim_matches(|letter| letter == ' ' || letter == '\0');
        // PS3.5 §6.2.1.1: delimiters of absent groups at the end may be written or not.
        let text = if element.vr() == VR::PN { text.trim_end_matches('=') } else { text };
        // No text of DICOM holds a NUL but as padding, and no text of PostgreSQL any.
        (!text.is_empty()).then(|| text.replace('\0', " "))
    }

    fn first(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    fn was_parsed_right(&self, tag: Tag, values: usize) -> bool {
        let is_known = match self.values.as_slice() {
            [] => true,
            [one] => one.is_empty() || SpecificCharacterSet::from_code(one).is_some(),
            _ => false,
        };
        let is_whole = values < 2 || !has_letters_with_5c(self.first());
        is_known && is_whole && self.in_force(tag) == self.first()
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

/// Sets that the parser reads as one that has 5C in letters, and for which it may have cut them.
fn has_letters_with_5c(term: &str) -> bool {
    matches!(term, "GB18030" | "GBK" | "GB2312" | "ISO_IR 13")
}

/// The values as the parser cut them; asked for several, it cuts once more at the escapes that it has written.
fn parsed_values(element: &InMemElement) -> Option<Cow<'_, [String]>> {
    match element.value().primitive() {
        Some(PrimitiveValue::Strs(values)) => Some(Cow::Borrowed(values)),
        Some(PrimitiveValue::Str(value)) => Some(Cow::Borrowed(std::slice::from_ref(value))),
        _ => element.to_multi_str().ok(),
    }
}

/// The bytes that the parser made `values` of with `codec`.
fn parsed_bytes(codec: &SpecificCharacterSet, values: &[String]) -> Vec<u8> {
    // ISO 8859-1 has a letter for every byte: there, what looks like an escape is text.
    let escapes = ![SpecificCharacterSet::ISO_IR_6, SpecificCharacterSet::ISO_IR_100].contains(codec);
    let values = values.iter().map(|value| {
        let bytes = codec.encode(value).unwrap_or_else(|_| latin1(value));
        if escapes { without_octal_escapes(&bytes) } else { bytes }
    });
    values.collect::<Vec<_>>().join(&b'\\')
}

/// The parser writes a byte that its set lacks as a backslash and three octal digits. Where an escape sequence has
/// put a two-byte set into G0, the same bytes are letters.
fn without_octal_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut within_pairs) = (bytes, false);
    while let Some((&byte, tail)) = rest.split_first() {
        match rest {
            [b'\\', high @ b'2'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..]
                if !within_pairs =>
            {
                out.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                rest = tail;
                continue;
            }
            [ESCAPE, b'$', b'@' | b'B' | b'(', ..] => within_pairs = true,
            [ESCAPE, b'(', ..] => within_pairs = false,
            _ => {}
        }
        out.push(byte);
        rest = tail;
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
    use encoding_rs::{EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, SHIFT_JIS};
    use proptest::prelude::*;

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

    /// What is read of `value` in an element of `vr`.
    fn read(charset: &str, vr: &[u8; 2], value: &[u8]) -> String {
        let number = if vr == b"PN" { 0x1060 } else { 0x4000 }; // of group 0010: mother's birth name, comments
        let bytes = [element(8, 5, b"CS", charset.as_bytes()), element(0x10, number, vr, value)].concat();
        text(&parse(&bytes), Tag(0x10, number)).unwrap_or_default()
    }

    #[test]
    fn a_kanji_whose_second_byte_is_a_backslash_is_one_letter() {
        let iso_2022 = |text: &str| ISO_2022_JP.encode(text).0.into_owned();
        for charset in
            ["\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "ISO 2022 IR 101\\ISO 2022 IR 87"]
        {
            for vr in [b"LO", b"LT"] {
                assert_eq!(read(charset, vr, &iso_2022("日本外科病院")), "日本外科病院", "{charset}");
            }
            let name = [iso_2022("山本外科"), iso_2022("太郎")].join(&b'^');
            assert_eq!(read(charset, b"PN", &name), "山本外科^太郎", "{charset}");
        }
        assert_eq!(read("GB18030", b"LO", b"\x81\\\\234"), "乗\\234");
        assert_eq!(read("ISO_IR 13", b"LO", b"\x95\\\xb1"), "表ｱ");
    }

    #[test]
    fn a_value_of_digits_is_no_escape() {
        for charset in
            ["", "\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "GB18030"]
        {
            assert_eq!(read(charset, b"LO", b"A\\234\\B"), "A\\234\\B", "{charset}");
        }
    }

    /// Two bytes of seven bits and the letter that they are in `encoding`, behind `shift`; often with a 5C, and with
    /// what looks like an octal number.
    fn pair(shift: &'static [u8], encoding: &'static Encoding) -> impl Strategy<Value = (Vec<u8>, String)> {
        let high = prop_oneof![0x21..=0x7e_u8, 0x30..=0x37_u8, Just(b'\\')];
        let low = prop_oneof![0x21..=0x7e_u8, 0x30..=0x37_u8, Just(b'\\')];
        (high, low).prop_filter_map("no letter", move |(high, low)| {
            let bytes = [shift, &[high | 0x80, low | 0x80]].concat();
            let (letter, _, failed) = encoding.decode(&bytes);
            (!failed).then(|| (vec![high, low], letter.into_owned()))
        })
    }

    /// Bytes and text of a value: ASCII, then letters between two escape sequences.
    fn part(
        letters: impl Strategy<Value = (Vec<u8>, String)>,
        before: &'static [u8],
        after: &'static [u8],
    ) -> impl Strategy<Value = (Vec<u8>, String)> {
        let letters = proptest::collection::vec(letters, 1..8);
        ("[A-Za-z0-9]{0,4}", letters).prop_map(move |(ascii, letters)| {
            let (bytes, text): (Vec<_>, Vec<_>) = letters.into_iter().unzip();
            ([ascii.as_bytes(), before, &bytes.concat(), after].concat(), ascii + &text.concat())
        })
    }

    fn parts(
        part: impl Strategy<Value = (Vec<u8>, String)>,
    ) -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<String>)> {
        proptest::collection::vec(part, 1..5).prop_map(|parts| parts.into_iter().unzip())
    }

    fn high((bytes, letter): (Vec<u8>, String)) -> (Vec<u8>, String) {
        (bytes.into_iter().map(|byte| byte | 0x80).collect(), letter)
    }

    /// A letter of a set without code extensions, in two bytes, often with a 5C as the second one.
    fn letter(encoding: &'static Encoding) -> impl Strategy<Value = (Vec<u8>, String)> {
        let low = prop_oneof![0x40..=0x7e_u8, 0x80..=0xfc_u8, Just(b'\\')];
        (0x81..=0xfc_u8, low).prop_filter_map("no ideograph", move |(high, low)| {
            let bytes = [high, low];
            let (letter, _, failed) = encoding.decode(&bytes);
            let is_one = letter.chars().count() == 1 && letter.chars().all(|c| ('一'..='龥').contains(&c));
            (!failed && is_one).then(|| (vec![high, low], letter.into_owned()))
        })
    }

    /// The parts as values, as components of a name, and as lines.
    fn check_parts(charset: &str, (bytes, texts): &(Vec<Vec<u8>>, Vec<String>)) {
        assert_eq!(read(charset, b"LO", &bytes.join(&b'\\')), texts.join("\\"), "{charset}");
        assert_eq!(read(charset, b"PN", &bytes.join(&b'^')), texts.join("^"), "{charset}");
        assert_eq!(read(charset, b"LT", &bytes.join(&b'\n')), texts.join("\n"), "{charset}");
    }

    proptest! {
        #[test]
        fn two_byte_sets_in_g0_read_back(
            kanji in parts(part(pair(&[], EUC_JP), b"\x1b$B", b"\x1b(B")),
            supplementary in parts(part(pair(&[0x8f], EUC_JP), b"\x1b$(D", b"\x1b(B")),
        ) {
            for first in ["", "ISO 2022 IR 6", "ISO 2022 IR 13", "ISO 2022 IR 100", "ISO 2022 IR 127"] {
                check_parts(&format!("{first}\\ISO 2022 IR 87"), &kanji);
                check_parts(&format!("{first}\\ISO 2022 IR 87\\ISO 2022 IR 159"), &supplementary);
            }
        }

        #[test]
        fn two_byte_sets_in_g1_read_back(
            hangul in parts(part(pair(&[], EUC_KR).prop_map(high), b"\x1b$)C", b"")),
            hanzi in parts(part(pair(&[], GBK).prop_map(high), b"\x1b$)A", b"")),
        ) {
            check_parts("\\ISO 2022 IR 149", &hangul);
            check_parts("\\ISO 2022 IR 58", &hanzi);
        }

        #[test]
        fn letters_of_sets_without_extensions_read_back(
            gb18030 in parts(part(letter(GB18030), b"", b"")),
            gbk in parts(part(letter(GBK), b"", b"")),
            kanji in parts(part(letter(SHIFT_JIS), b"", b"")),
        ) {
            check_parts("GB18030", &gb18030);
            check_parts("GBK", &gbk);
            check_parts("ISO_IR 13", &kanji);
        }
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
