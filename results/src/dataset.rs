//! Building data sets: each element gets the VR that PS3.6 gives its tag.

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
    value::{C, DataSetSequence},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::InMemDicomObject;
use imaging::{Code, Uid};
use time::OffsetDateTime;

pub(crate) type DataSet = InMemDicomObject;

/// Elements by tag, without repeating the VR.
pub(crate) trait Elements: Sized {
    /// One text value; an empty text makes an empty (type 2) element.
    fn set(&mut self, tag: Tag, text: &str);
    fn set_all<T: Into<String>>(&mut self, tag: Tag, texts: impl IntoIterator<Item = T>);
    fn set_number(&mut self, tag: Tag, value: impl Into<PrimitiveValue>);
    fn set_items(&mut self, tag: Tag, items: Vec<DataSet>);
    /// A code sequence of one item.
    fn set_code(&mut self, tag: Tag, code: &Code);

    fn with(mut self, tag: Tag, text: &str) -> Self {
        self.set(tag, text);
        self
    }

    fn with_items(mut self, tag: Tag, items: Vec<DataSet>) -> Self {
        self.set_items(tag, items);
        self
    }

    fn with_code(mut self, tag: Tag, code: &Code) -> Self {
        self.set_code(tag, code);
        self
    }
}

impl Elements for DataSet {
    fn set(&mut self, tag: Tag, text: &str) {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
        self.put(DataElement::new(tag, vr_of(tag), value));
    }

    fn set_all<T: Into<String>>(&mut self, tag: Tag, texts: impl IntoIterator<Item = T>) {
        let values: C<String> = texts.into_iter().map(Into::into).collect();
        self.put(DataElement::new(tag, vr_of(tag), PrimitiveValue::Strs(values)));
    }

    fn set_number(&mut self, tag: Tag, value: impl Into<PrimitiveValue>) {
        self.put(DataElement::new(tag, vr_of(tag), value.into()));
    }

    fn set_items(&mut self, tag: Tag, items: Vec<DataSet>) {
        self.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    }

    fn set_code(&mut self, tag: Tag, code: &Code) {
        self.set_items(tag, vec![code_item(code)]);
    }
}

pub(crate) fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// PS3.3 §8.8: value by its length and kind in Code Value, Long Code Value or URN Code Value.
pub(crate) fn code_item(code: &Code) -> DataSet {
    let value_tag = match &code.value {
        value if value.starts_with("urn:") || value.contains("://") => tags::URN_CODE_VALUE,
        value if value.chars().count() > 16 => tags::LONG_CODE_VALUE,
        _ => tags::CODE_VALUE,
    };
    DataSet::new_empty()
        .with(value_tag, &code.value)
        .with(tags::CODING_SCHEME_DESIGNATOR, &code.scheme)
        .with(tags::CODE_MEANING, truncated(&code.meaning, 64))
}

/// The code of a code sequence's item, the reverse of [`code_item`].
pub(crate) fn code_of(item: &DataSet) -> Option<Code> {
    let value = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE]
        .into_iter()
        .find_map(|tag| text(item, tag))?;
    Some(Code {
        value,
        scheme: text(item, tags::CODING_SCHEME_DESIGNATOR)?,
        meaning: text(item, tags::CODE_MEANING).unwrap_or_default(),
    })
}

/// Reference to an instance (Table 10-11).
pub(crate) fn sop_reference(sop_class: &str, sop_instance: &str) -> DataSet {
    DataSet::new_empty()
        .with(tags::REFERENCED_SOP_CLASS_UID, sop_class)
        .with(tags::REFERENCED_SOP_INSTANCE_UID, sop_instance)
}

/// The text of an element without padding; none when it is absent or empty. For what Overread wrote
/// itself and for values that are ASCII by definition; source text goes through `imaging`.
pub(crate) fn text(dataset: &DataSet, tag: Tag) -> Option<String> {
    let text = dataset.get(tag)?.to_str().ok()?;
    let text = text.trim_matches([' ', '\0']);
    (!text.is_empty()).then(|| text.to_owned())
}

pub(crate) fn uid(dataset: &DataSet, tag: Tag) -> Option<Uid> {
    Uid::parse(&text(dataset, tag)?).ok()
}

pub(crate) fn integer<T: std::str::FromStr>(dataset: &DataSet, tag: Tag) -> Option<T> {
    // IS may be written as "5.0" by some devices; the part before the point counts
    let text = text(dataset, tag)?;
    text.split('.').next()?.trim().trim_start_matches('+').parse().ok()
}

pub(crate) fn items(dataset: &DataSet, tag: Tag) -> &[DataSet] {
    dataset.get(tag).and_then(DataElement::items).unwrap_or_default()
}

pub(crate) fn first_item(dataset: &DataSet, tag: Tag) -> Option<&DataSet> {
    items(dataset, tag).first()
}

/// At most `length` characters; the limits of PS3.5 Table 6.2-1 count characters, not bytes.
pub(crate) fn truncated(text: &str, length: usize) -> &str {
    text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
}

/// A decimal string: at most 16 characters (PS3.5 §6.2), as exact as they allow.
pub(crate) fn decimal(value: f64) -> String {
    let plain = (0..=14).rev().map(|digits| without_trailing_zeros(format!("{value:.digits$}")));
    let exponential = (0..=10).rev().map(|digits| format!("{value:.digits$e}"));
    let shortest = format!("{value}");
    std::iter::once(shortest)
        .chain(plain.filter(|text| text.bytes().any(|byte| matches!(byte, b'1'..=b'9'))))
        .chain(exponential)
        .find(|text| text.len() <= 16)
        .expect("no exponent of a double needs more than five characters, so one form fits")
}

fn without_trailing_zeros(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// DA of PS3.5.
pub(crate) fn date(at: OffsetDateTime) -> String {
    format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day())
}

/// TM of PS3.5, whole seconds.
pub(crate) fn time_of_day(at: OffsetDateTime) -> String {
    format!("{:02}{:02}{:02}", at.hour(), at.minute(), at.second())
}

/// DT of PS3.5 with its offset from UTC.
pub(crate) fn date_time(at: OffsetDateTime) -> String {
    let (hours, minutes, _) = at.offset().as_hms();
    let sign = if at.offset().is_negative() { '-' } else { '+' };
    format!("{}{}{sign}{:02}{:02}", date(at), time_of_day(at), hours.abs(), minutes.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_decimal(value: f64, expected: &str) {
        assert_eq!(decimal(value), expected);
        assert!(decimal(value).len() <= 16);
    }

    #[test]
    fn decimals_fit_their_16_characters() {
        check_decimal(0.0, "0");
        check_decimal(103.08, "103.08");
        check_decimal(-0.1, "-0.1");
        check_decimal(1.0 / 3.0, "0.33333333333333");
        check_decimal(-1.0e6 / 3.0, "-333333.33333333");
        check_decimal(100.0 * 0.07, "7");
        check_decimal(1.0e-20 / 3.0, "3.3333333333e-21");
        check_decimal(-1.0e-300 / 3.0, "-3.33333333e-301");
        check_decimal(1.0e30, "1.0000000000e30");
    }

    #[test]
    fn long_and_urn_codes_have_their_own_elements() {
        let check = |value: &str, tag| {
            let item = code_item(&Code::new(value, "X", "y"));
            assert_eq!(code_of(&item).map(|code| code.value).as_deref(), Some(value));
            assert!(item.get(tag).is_some(), "{value}");
        };
        check("10200004", tags::CODE_VALUE);
        check("12345678901234567", tags::LONG_CODE_VALUE);
        check("urn:oid:1.2", tags::URN_CODE_VALUE);
    }

    #[test]
    fn truncation_counts_characters() {
        assert_eq!(truncated("홍길동", 2), "홍길");
        assert_eq!(truncated("abc", 64), "abc");
    }
}
