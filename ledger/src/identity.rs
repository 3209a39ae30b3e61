//! When two instances of one study belong to two patients.

use std::fmt::Write;

use imaging::{Patient, SeriesUid};
use sha2::{Digest, Sha256};

/// Whether the two say different patients: ID, issuer, name or birth date.
pub(crate) fn disagree(one: &Patient, other: &Patient) -> bool {
    one.identity() != other.identity()
}

/// Names the matter of a conflict without naming the patient: the series, and eight hex
/// digits that differ when a third patient turns up in the same series.
pub(crate) fn conflict_subject(series: &SeriesUid, patient: &Patient) -> String {
    let identity = patient.identity();
    let fields = [identity.id, identity.issuer, identity.name, identity.birth_date].join("\0");
    let digest = Sha256::digest(fields.as_bytes());
    let mut subject = format!("{series} ");
    for byte in &digest[..4] {
        write!(subject, "{byte:02x}").expect("writing to a String cannot fail");
    }
    subject
}
