//! Which transfer syntax is taken: the first that was offered and that the dictionary knows.
//!
//! Instances are kept as they come, so every syntax will do. One that nobody knows is taken
//! when nothing else was offered: its data set is then read as Explicit VR Little Endian,
//! which PS3.5 §A.4 prescribes for all encapsulated ones.

use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use imaging::Uid;

pub(crate) const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

fn is_known(uid: &Uid) -> bool {
    TransferSyntaxRegistry.get(uid.as_str()).is_some()
}

/// UID and name of each syntax that the registry knows, by UID.
pub(crate) fn all() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = TransferSyntaxRegistry.iter().map(|syntax| (syntax.uid(), syntax.name())).collect();
    all.sort_unstable();
    all
}

/// For instances.
pub(crate) fn choose_for_storage(offered: &[String]) -> Option<Uid> {
    let mut valid = offered.iter().filter_map(|uid| Uid::parse(uid).ok());
    valid.clone().find(is_known).or_else(|| valid.next())
}

/// For services whose data sets are ours to read and write.
pub(crate) fn choose_for_services(offered: &[String]) -> Option<Uid> {
    offered
        .iter()
        .find(|uid| [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN].contains(&uid.as_str()))
        .and_then(|uid| Uid::parse(uid).ok())
}
