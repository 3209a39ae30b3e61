//! Recognises what this product wrote, so that a result never starts a run of its own.

use crate::header::Header;

/// Manufacturer (0008,0070) of everything that is written here.
pub const MANUFACTURER: &str = "Overread";

/// Whether an instance says that it was written, or contributed to, by this product.
///
/// An archive may have changed the instance on its way, so the pipeline asks two more
/// questions: is its UID one of ours, and is it a kind of document that is never an input.
pub fn is_own_result(header: &Header) -> bool {
    let is_ours = |name: &String| name.trim().eq_ignore_ascii_case(MANUFACTURER);
    is_ours(&header.manufacturer) || header.contributing_manufacturers.iter().any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uid::Uid;

    fn header(manufacturer: &str, contributing: &[&str]) -> Header {
        let uid = |text| Uid::parse(text).unwrap();
        let mut header = Header::new(
            uid("1.2.840.10008.5.1.4.1.1.66.4").into(),
            uid("1.1").into(),
            uid("1.2").into(),
            uid("1.3").into(),
            uid("1.2.840.10008.1.2.1"),
        );
        header.manufacturer = manufacturer.into();
        header.contributing_manufacturers = contributing.iter().map(ToString::to_string).collect();
        header
    }

    #[test]
    fn own_results_are_known_by_manufacturer_or_contributing_equipment() {
        assert!(is_own_result(&header("Overread", &[])));
        assert!(is_own_result(&header("Overread ", &[])));
        assert!(is_own_result(&header("An archive", &["Scanner", "OVERREAD"])));
        assert!(!is_own_result(&header("A scanner", &["An archive"])));
        assert!(!is_own_result(&header("", &[])));
    }
}
