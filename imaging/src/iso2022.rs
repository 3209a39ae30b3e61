//! Code extensions after ISO 2022, as DICOM restricts them (PS3.3 C.12.1.1.2, PS3.5 §6.1.2.5).
//!
//! Two code elements are in force at a time: G0 for bytes below 0x80, G1 for those above.
//! An escape sequence replaces one of them; a delimiter brings the first declared set back.

use encoding_rs::{EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS, UTF_8};

/// What a byte, or a pair of bytes, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// ISO 646, and the romaji half of JIS X 0201, which differs in two glyphs only.
    Ascii,
    /// The right half of an 8-bit set.
    Single(&'static Encoding),
    /// Two bytes in the columns of EUC.
    Double(&'static Encoding),
    /// JIS X 0212: two bytes behind a single shift in EUC-JP.
    Jis0212,
    None,
}

/// The declared sets of one data set.
#[derive(Debug, Clone)]
pub(crate) struct Extensions {
    g0: Element,
    g1: Element,
    /// A set without code extensions decodes the whole text at once (GB18030, UTF-8).
    whole: Option<&'static Encoding>,
}

/// PS3.3 Tables C.12-3 and C.12-4: escape sequence, the register it fills, the element.
const ESCAPES: [(&[u8], Register, Element); 20] = [
    (b"(B", Register::G0, Element::Ascii),
    (b"(J", Register::G0, Element::Ascii),
    (b")I", Register::G1, Element::Single(SHIFT_JIS)),
    (b"-A", Register::G1, Element::Single(encoding_rs::WINDOWS_1252)),
    (b"-B", Register::G1, Element::Single(encoding_rs::ISO_8859_2)),
    (b"-C", Register::G1, Element::Single(encoding_rs::ISO_8859_3)),
    (b"-D", Register::G1, Element::Single(encoding_rs::ISO_8859_4)),
    (b"-L", Register::G1, Element::Single(encoding_rs::ISO_8859_5)),
    (b"-G", Register::G1, Element::Single(encoding_rs::ISO_8859_6)),
    (b"-F", Register::G1, Element::Single(encoding_rs::ISO_8859_7)),
    (b"-H", Register::G1, Element::Single(encoding_rs::ISO_8859_8)),
    (b"-M", Register::G1, Element::Single(encoding_rs::WINDOWS_1254)),
    (b"-T", Register::G1, Element::Single(encoding_rs::WINDOWS_874)),
    (b"-b", Register::G1, Element::Single(encoding_rs::ISO_8859_15)),
    (b"$@", Register::G0, Element::Double(EUC_JP)),
    (b"$B", Register::G0, Element::Double(EUC_JP)),
    (b"$(D", Register::G0, Element::Jis0212),
    (b"$)C", Register::G1, Element::Double(EUC_KR)),
    (b"$)A", Register::G1, Element::Double(GBK)),
    // Seen in the wild: KS X 1001 in G0.
    (b"$(C", Register::G0, Element::Double(EUC_KR)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    G0,
    G1,
}

pub(crate) const ESCAPE: u8 = 0x1b;

impl Extensions {
    /// The state that the first of `values` starts with; the others need no declaration to
    /// be understood, because their escape sequences name them.
    pub(crate) fn new(values: &[String]) -> Self {
        let first = values.first().map_or("", String::as_str);
        let (g0, g1) = initial(first);
        Self { g0, g1, whole: unextended(first) }
    }

    pub(crate) fn decode(&self, bytes: &[u8], is_person_name: bool) -> String {
        if let Some(encoding) = self.whole {
            return encoding.decode_without_bom_handling(bytes).0.into_owned();
        }
        let (mut g0, mut g1) = (self.g0, self.g1);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if byte == ESCAPE
                && let Some((sequence, register, element)) = escape(tail)
            {
                match register {
                    Register::G0 => g0 = element,
                    Register::G1 => g1 = element,
                }
                rest = &tail[sequence.len()..];
                continue;
            }
            // PS3.5 §6.1.2.5.3: a delimiter resets both; in a two-byte G0 its code may be
            // half of a letter, and a conforming writer has gone back to ASCII before it.
            let is_double_g0 = matches!(g0, Element::Double(_) | Element::Jis0212) && byte > 0x20;
            if !is_double_g0 && is_delimiter(byte, is_person_name) {
                (g0, g1) = (self.g0, self.g1);
                text.push(char::from(byte));
                rest = tail;
                continue;
            }
            let element = if byte < 0x80 { g0 } else { g1 };
            rest = &rest[letter(element, rest, &mut text)..];
        }
        text
    }
}

/// PS3.5 §6.1.2.5.3; the backslash separates values, `^` and `=` parts of a name.
fn is_delimiter(byte: u8, is_person_name: bool) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b'\\') || (is_person_name && matches!(byte, b'^' | b'='))
}

fn escape(tail: &[u8]) -> Option<(&'static [u8], Register, Element)> {
    ESCAPES.into_iter().find(|(sequence, ..)| tail.starts_with(sequence))
}

/// Appends the letter that `bytes` start with and says how many bytes it took.
fn letter(element: Element, bytes: &[u8], text: &mut String) -> usize {
    let byte = bytes[0];
    let is_graphic = matches!(byte & 0x7f, 0x21..=0x7e);
    match element {
        Element::Single(encoding) if byte >= 0x80 => {
            text.push_str(&encoding.decode_without_bom_handling(&[byte]).0);
            1
        }
        Element::Double(encoding) if is_graphic => {
            pair(bytes, text, |high, low| encoding.decode_without_bom_handling(&[high, low]).0.into_owned())
        }
        Element::Jis0212 if is_graphic => pair(bytes, text, |high, low| {
            EUC_JP.decode_without_bom_handling(&[0x8f, high, low]).0.into_owned()
        }),
        _ if byte < 0x80 => {
            text.push(char::from(byte));
            1
        }
        _ => {
            text.push(char::REPLACEMENT_CHARACTER);
            1
        }
    }
}

fn pair(bytes: &[u8], text: &mut String, decode: impl Fn(u8, u8) -> String) -> usize {
    match bytes {
        [high, low, ..] => {
            text.push_str(&decode(high | 0x80, low | 0x80));
            2
        }
        _ => {
            text.push(char::REPLACEMENT_CHARACTER);
            1
        }
    }
}

/// PS3.3 Tables C.12-2 to C.12-4: the elements that the first declared set puts in force.
fn initial(term: &str) -> (Element, Element) {
    let right = |encoding| (Element::Ascii, Element::Single(encoding));
    match number(term) {
        13 => right(SHIFT_JIS),
        100 => right(encoding_rs::WINDOWS_1252),
        101 => right(encoding_rs::ISO_8859_2),
        109 => right(encoding_rs::ISO_8859_3),
        110 => right(encoding_rs::ISO_8859_4),
        126 => right(encoding_rs::ISO_8859_7),
        127 => right(encoding_rs::ISO_8859_6),
        138 => right(encoding_rs::ISO_8859_8),
        144 => right(encoding_rs::ISO_8859_5),
        148 => right(encoding_rs::WINDOWS_1254),
        166 => right(encoding_rs::WINDOWS_874),
        203 => right(encoding_rs::ISO_8859_15),
        // Not allowed as a first value, yet written: the two-byte sets sit in G1 from the start.
        149 => (Element::Ascii, Element::Double(EUC_KR)),
        58 => (Element::Ascii, Element::Double(GBK)),
        _ => (Element::Ascii, Element::None),
    }
}

/// PS3.3 Table C.12-5: sets that prohibit code extensions.
fn unextended(term: &str) -> Option<&'static Encoding> {
    match term {
        "ISO_IR 192" => Some(UTF_8),
        "GB18030" => Some(GB18030),
        "GBK" | "GB2312" => Some(GBK),
        // Of one byte by the table; files that say it hold Shift JIS, which has it as a part.
        "ISO_IR 13" => Some(SHIFT_JIS),
        _ => None,
    }
}

/// The registration number in `ISO_IR 100` or `ISO 2022 IR 100`, 0 when there is none.
fn number(term: &str) -> u32 {
    let digits = term.trim().rsplit([' ', '_']).next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}
