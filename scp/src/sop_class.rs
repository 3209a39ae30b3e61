//! What can be asked of us: the storage SOP classes of the standard's dictionary, verification, commitment.

use dicom_core::dictionary::{UidDictionary, UidDictionaryEntry};
use dicom_dictionary_std::StandardSopClassDictionary;

/// PS3.4 §A.4.
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
/// PS3.4 §J.3.
pub(crate) const STORAGE_COMMITMENT_PUSH: &str = "1.2.840.10008.1.20.1";
/// PS3.4 §J.3.5: the well-known instance.
pub(crate) const STORAGE_COMMITMENT_PUSH_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// The arcs under which the standard registers classes of composite and non-patient instances (PS3.4 §B.5, §GG.3).
const STORAGE_ARCS: &[&str] = &[
    "1.2.840.10008.5.1.4.1.1.",
    "1.2.840.10008.5.1.4.34.",
    "1.2.840.10008.5.1.4.38.",
    "1.2.840.10008.5.1.4.39.",
    "1.2.840.10008.5.1.4.43.",
    "1.2.840.10008.5.1.4.44.",
    "1.2.840.10008.5.1.4.45.",
];

/// The dictionary's name of a storage SOP class; `None` for every other UID.
pub(crate) fn storage_name(uid: &str) -> Option<&'static str> {
    if !STORAGE_ARCS.iter().any(|arc| uid.starts_with(arc)) {
        return None;
    }
    let entry = StandardSopClassDictionary.by_uid(uid)?;
    let is_storage = entry.alias().contains("Storage");
    is_storage.then_some(entry.name)
}

/// All storage SOP classes of the dictionary, in the order of their numbers. The dictionary cannot be
/// listed, so the numbers under the arcs are tried.
pub(crate) fn all_storage() -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for arc in STORAGE_ARCS {
        for first in 1..=699_u32 {
            let prefix = format!("{arc}{first}");
            try_uid(&mut found, &prefix);
            for second in 1..=99_u32 {
                let longer = format!("{prefix}.{second}");
                try_uid(&mut found, &longer);
                if arc == &STORAGE_ARCS[0] && !(20..=90).contains(&second) {
                    for third in 1..=9_u32 {
                        try_uid(&mut found, &format!("{longer}.{third}"));
                    }
                }
            }
        }
    }
    found
}

fn try_uid(found: &mut Vec<(String, &'static str)>, uid: &str) {
    if let Some(name) = storage_name(uid) {
        found.push((uid.to_owned(), name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_old_storage_classes_are_known_and_services_are_not() {
        for uid in [
            "1.2.840.10008.5.1.4.1.1.4",        // MR Image
            "1.2.840.10008.5.1.4.1.1.66.7",     // Label Map Segmentation
            "1.2.840.10008.5.1.4.1.1.88.34",    // Comprehensive 3D SR
            "1.2.840.10008.5.1.4.1.1.77.1.5.1", // Ophthalmic Photography 8 Bit
            "1.2.840.10008.5.1.4.34.7",         // RT Beams Delivery Instruction
        ] {
            assert!(storage_name(uid).is_some(), "{uid}");
        }
        for uid in [VERIFICATION, STORAGE_COMMITMENT_PUSH, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.3"] {
            assert!(storage_name(uid).is_none(), "{uid}");
        }
    }
}
