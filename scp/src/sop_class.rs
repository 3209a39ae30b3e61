//! What can be asked of us: the storage SOP classes of the standard's dictionary, verification, commitment.

use dicom_core::dictionary::{UidDictionary, UidDictionaryEntry};
use dicom_dictionary_std::StandardSopClassDictionary;

/// PS3.4 §A.4.
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
/// PS3.4 §J.3.
pub(crate) const STORAGE_COMMITMENT_PUSH: &str = "1.2.840.10008.1.20.1";
/// PS3.4 §J.3.5: the well-known instance.
pub(crate) const STORAGE_COMMITMENT_PUSH_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// The arcs under which the standard registers classes of composite and non-patient instances (PS3.4 §B.5, §GG.3), the
/// retired ones of prints among them; and up to which numbers, below each other, it has done so.
const STORAGE_ARCS: &[(&str, &[u32])] = &[
    ("1.2.840.10008.5.1.1.", &[99]),
    ("1.2.840.10008.5.1.4.1.1.", &[699, 100, 9]),
    ("1.2.840.10008.5.1.4.1.1.77.1.", &[9, 9]),
    ("1.2.840.10008.5.1.4.34.", &[99]),
    ("1.2.840.10008.5.1.4.38.", &[99]),
    ("1.2.840.10008.5.1.4.39.", &[99]),
    ("1.2.840.10008.5.1.4.43.", &[99]),
    ("1.2.840.10008.5.1.4.44.", &[99]),
    ("1.2.840.10008.5.1.4.45.", &[99]),
];

/// The dictionary's name of a storage SOP class; `None` for every other UID.
pub(crate) fn storage_name(uid: &str) -> Option<&'static str> {
    if !STORAGE_ARCS.iter().any(|(arc, _)| uid.starts_with(arc)) {
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
    for (arc, numbers) in STORAGE_ARCS {
        try_below(&mut found, arc, numbers);
    }
    found.sort_by_cached_key(|(uid, _)| numbers(uid));
    found.dedup();
    found
}

fn numbers(uid: &str) -> Vec<u32> {
    uid.split('.').filter_map(|number| number.parse().ok()).collect()
}

fn try_below(found: &mut Vec<(String, &'static str)>, arc: &str, numbers: &[u32]) {
    let Some((most, deeper)) = numbers.split_first() else { return };
    for number in 1..=*most {
        let uid = format!("{arc}{number}");
        if let Some(name) = storage_name(&uid) {
            found.push((uid.clone(), name));
        }
        try_below(found, &format!("{uid}."), deeper);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every SOP class that the dictionary has, from the one place where it shows all of them.
    fn dictionary() -> Vec<String> {
        let shown = format!("{:?}", dicom_dictionary_std::sop_class::registry());
        shown.split("uid: \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    }

    #[test]
    fn every_storage_class_of_the_dictionary_is_taken_and_listed() {
        // By their names alone; these three are services and a kind of file.
        let others = [STORAGE_COMMITMENT_PUSH, "1.2.840.10008.1.20.2", "1.2.840.10008.1.3.10"];
        let is_storage = |uid: &String| {
            let entry = StandardSopClassDictionary.by_uid(uid).unwrap();
            entry.alias().contains("Storage") && !others.contains(&uid.as_str())
        };
        let known: BTreeSet<String> = dictionary().into_iter().filter(is_storage).collect();
        assert_eq!(known.len(), 214, "another dictionary: write the conformance statement again");
        for uid in &known {
            assert!(storage_name(uid).is_some(), "{uid} is not taken");
        }
        let listed: BTreeSet<String> = all_storage().into_iter().map(|(uid, _)| uid).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn new_and_old_storage_classes_are_known_and_services_are_not() {
        for uid in [
            "1.2.840.10008.5.1.4.1.1.4",        // MR Image
            "1.2.840.10008.5.1.4.1.1.66.7",     // Label Map Segmentation
            "1.2.840.10008.5.1.4.1.1.88.34",    // Comprehensive 3D SR
            "1.2.840.10008.5.1.4.1.1.77.1.5.1", // Ophthalmic Photography 8 Bit
            "1.2.840.10008.5.1.4.34.7",         // RT Beams Delivery Instruction
            "1.2.840.10008.5.1.1.29",           // Hardcopy Grayscale Image, retired
        ] {
            assert!(storage_name(uid).is_some(), "{uid}");
        }
        for uid in [
            VERIFICATION,
            STORAGE_COMMITMENT_PUSH,
            "1.2.840.10008.5.1.4.1.2.2.1",
            "1.2.840.10008.5.1.1.1",
            "1.2.3",
        ] {
            assert!(storage_name(uid).is_none(), "{uid}");
        }
    }
}
