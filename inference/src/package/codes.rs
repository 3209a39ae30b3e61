//! Coded concepts in a manifest: `["10200004", "SCT", "Liver"]`.

use imaging::Code;

use super::{PackageError, manifest::Field};

/// PS3.3 Table 8.8-1: Code Value (SH) and Coding Scheme Designator (SH) have 16 characters, Code Meaning (LO) 64.
const VALUE_LENGTH_MAX: usize = 16;
const MEANING_LENGTH_MAX: usize = 64;

pub(super) fn read(field: &Field<'_>) -> Result<Code, PackageError> {
    let wanted = "[\"code\", \"scheme\", \"meaning\"]";
    let parts = field.texts()?;
    let [value, scheme, meaning] = parts.as_slice() else {
        return Err(field.error(format!("`{}` has {} parts: expected {wanted}", field.name(), parts.len())));
    };
    for (text, length_max) in
        [(value, VALUE_LENGTH_MAX), (scheme, VALUE_LENGTH_MAX), (meaning, MEANING_LENGTH_MAX)]
    {
        if text.is_empty() || text.chars().count() > length_max || text.contains('\\') {
            return Err(field.error(format!(
                "`{}` has the part \"{text}\": expected 1 to {length_max} characters without backslash",
                field.name()
            )));
        }
    }
    Ok(Code::new(value, scheme, meaning))
}
