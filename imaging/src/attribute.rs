//! Typed reading of attributes: numbers, code strings, sequence items.
//!
//! Lenient on purpose: an attribute that is absent, empty or no number is `None`, never an
//! error, because facts that nobody needs must not refuse an instance. Text that people
//! read goes through [`crate::charset`] instead.

use dicom_core::{Tag, header::HasLength};
use dicom_object::{InMemDicomObject, mem::InMemElement};

pub(crate) fn element(ds: &InMemDicomObject, tag: Tag) -> Option<&InMemElement> {
    ds.get(tag).filter(|element| !element.is_empty())
}

/// The values of a code string, UID or number kept as text, without padding.
pub(crate) fn strings(ds: &InMemDicomObject, tag: Tag) -> Vec<String> {
    element(ds, tag)
        .and_then(|element| element.to_multi_str().ok())
        .map(|values| values.iter().flat_map(|value| value.split('\\')).map(trimmed).collect())
        .unwrap_or_default()
}

/// The first value, empty when the attribute is absent.
pub(crate) fn string(ds: &InMemDicomObject, tag: Tag) -> String {
    strings(ds, tag).into_iter().next().unwrap_or_default()
}

pub(crate) fn floats(ds: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let element = element(ds, tag)?;
    let values: Vec<f64> = match element.to_multi_float64() {
        Ok(values) => values,
        // A DS with a stray space or comma: take it value by value.
        Err(_) => strings(ds, tag).iter().map(|value| value.parse().ok()).collect::<Option<_>>()?,
    };
    (!values.is_empty() && values.iter().all(|value| value.is_finite())).then_some(values)
}

pub(crate) fn float(ds: &InMemDicomObject, tag: Tag) -> Option<f64> {
    floats(ds, tag)?.first().copied()
}

pub(crate) fn float_array<const N: usize>(ds: &InMemDicomObject, tag: Tag) -> Option<[f64; N]> {
    floats(ds, tag)?.get(..N)?.try_into().ok()
}

pub(crate) fn integer<T: TryFrom<i64>>(ds: &InMemDicomObject, tag: Tag) -> Option<T> {
    let element = element(ds, tag)?;
    let value = element.to_int::<i64>().ok().or_else(|| string(ds, tag).parse().ok())?;
    T::try_from(value).ok()
}

/// The items of a sequence, none when it is absent.
pub(crate) fn items(ds: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    ds.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

pub(crate) fn item(ds: &InMemDicomObject, tag: Tag) -> Option<&InMemDicomObject> {
    items(ds, tag).first()
}

fn trimmed(value: &str) -> String {
    value.trim_matches(|letter: char| letter == '\0' || letter.is_whitespace()).replace('\0', " ")
}
