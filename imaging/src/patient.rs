//! Whose image it is, in readable text.

use std::fmt;

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::{attribute, charset::Charset, sparse::sparse};

sparse! {
/// The patient of an instance as it says so itself; empty where it says nothing.
///
/// Equality of [`Patient::identity`] decides whether two instances belong to one person.
/// `Debug` shows no value, so that a log line cannot carry one.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Patient {
    /// Patient ID (0010,0020).
    pub id: String,
    /// Issuer of Patient ID (0010,0021).
    pub issuer: String,
    /// Patient's Name (0010,0010) with all its groups, `alphabetic=ideographic=phonetic`.
    pub name: String,
    /// Patient's Birth Date (0010,0030), `YYYYMMDD`.
    pub birth_date: String,
    /// Patient's Sex (0010,0040).
    pub sex: String,
    /// Patient's Age (0010,1010) in years, from the age string.
    pub age_years: Option<f64>,
    /// Patient's Weight (0010,1030) in kilograms.
    pub weight_kg: Option<f64>,
}
}

/// What must agree within a study before anything is written for it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatientIdentity {
    pub id: String,
    pub issuer: String,
    pub name: String,
    pub birth_date: String,
}

impl Patient {
    pub(crate) fn from_dataset(ds: &InMemDicomObject, charset: &Charset) -> Self {
        let text = |tag| charset.text(ds, tag).unwrap_or_default();
        Self {
            id: text(tags::PATIENT_ID),
            issuer: text(tags::ISSUER_OF_PATIENT_ID),
            name: text(tags::PATIENT_NAME),
            birth_date: attribute::string(ds, tags::PATIENT_BIRTH_DATE),
            sex: attribute::string(ds, tags::PATIENT_SEX),
            age_years: age_years(&attribute::string(ds, tags::PATIENT_AGE)),
            weight_kg: attribute::float(ds, tags::PATIENT_WEIGHT),
        }
    }

    /// The identity with what carries no meaning taken out: letter case, padding and empty
    /// trailing components of the name.
    pub fn identity(&self) -> PatientIdentity {
        PatientIdentity {
            id: self.id.trim().to_owned(),
            issuer: self.issuer.trim().to_owned(),
            name: self.name.trim_end_matches(['^', '=', ' ']).to_uppercase(),
            birth_date: self.birth_date.trim().to_owned(),
        }
    }
}

/// PS3.5 §6.2, AS: three digits and one of D, W, M, Y.
fn age_years(text: &str) -> Option<f64> {
    let unit = text.chars().next_back()?;
    let count: f64 = text.strip_suffix(unit)?.trim().parse::<u32>().ok()?.into();
    match unit {
        'Y' => Some(count),
        'M' => Some(count / 12.0),
        'W' => Some(count * 7.0 / 365.25),
        'D' => Some(count / 365.25),
        _ => None,
    }
}

impl fmt::Debug for Patient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Patient(redacted)")
    }
}

impl fmt::Debug for PatientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PatientIdentity(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_years_whatever_their_unit() {
        assert_eq!(age_years("064Y"), Some(64.0));
        assert_eq!(age_years("018M"), Some(1.5));
        assert_eq!(age_years("000D"), Some(0.0));
        assert_eq!(age_years(""), None);
        assert_eq!(age_years("64"), None);
        assert_eq!(age_years("é"), None);
    }

    #[test]
    fn padding_and_empty_name_parts_do_not_make_another_person() {
        let written = |name: &str| Patient { name: name.into(), ..Patient::default() }.identity();
        assert!(written("Doe^Jane^^") == written("DOE^JANE"));
        assert!(written("Doe^Jane") != written("Doe^John"));
    }

    #[test]
    fn debug_shows_no_patient_data() {
        let patient = Patient { id: "4711".into(), name: "Doe^Jane".into(), ..Patient::default() };
        let shown = format!("{patient:?} {:?}", patient.identity());
        assert!(!shown.contains("4711") && !shown.contains("Doe"), "{shown}");
    }
}
