//! Studies as clients see them.

use imaging::Patient;
use ledger::{Hold, SeriesEvidence, StudyEvidence, StudyRow};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::timestamp;
use crate::auth::Caller;

/// One study.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StudyView {
    study_uid: String,
    #[serde(flatten)]
    identified: Identified,
    /// `YYYYMMDD`.
    study_date: String,
    study_time: String,
    modalities: Vec<String>,
    series_count: u32,
    instance_count: u64,
    first_arrival_at: String,
    last_arrival_at: String,
    /// No result may leave until a person has decided; see `holds` of the single study.
    held: bool,
    /// What the service has found that the study still waits for; nothing: it is complete,
    /// or has not been looked at since something arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<Value>,
    /// Nothing arrived since the service last looked.
    looked_at: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced: Option<ForcedView>,
    /// When patient and images were deleted, as the retention rule says.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_at: Option<String>,
}

/// What names the patient, and free text that might: only for roles that may see it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Identified {
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<PatientView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accession_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    study_description: Option<String>,
}

/// Whose study it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct PatientView {
    id: String,
    issuer: String,
    /// `alphabetic=ideographic=phonetic`, as DICOM writes it.
    name: String,
    /// `YYYYMMDD`.
    birth_date: String,
    sex: String,
}

impl std::fmt::Debug for PatientView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PatientView(***)")
    }
}

/// Somebody said that the study is whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForcedView {
    at: String,
    by: String,
    /// Nothing has come since.
    holds_still: bool,
}

impl StudyView {
    pub(crate) fn new(row: StudyRow, caller: &Caller) -> Self {
        let looked_at = row.looked_revision == row.revision;
        let forced = row.forced.as_ref().map(|forced| ForcedView {
            at: timestamp(forced.at),
            by: forced.by.clone(),
            holds_still: forced.revision == row.revision,
        });
        Self {
            study_uid: row.study.to_string(),
            study_date: row.study_date.clone(),
            study_time: row.study_time.clone(),
            modalities: row.modalities.clone(),
            series_count: row.series_count,
            instance_count: row.instance_count,
            first_arrival_at: timestamp(row.first_arrival_at),
            last_arrival_at: timestamp(row.last_arrival_at),
            held: row.is_held,
            looked_at,
            forced,
            forgotten_at: row.forgotten_at.map(timestamp),
            waits_for: row.waits_for.clone(),
            identified: if caller.sees_patients() { Identified::of(row) } else { Identified::default() },
        }
    }
}

impl Identified {
    fn of(row: StudyRow) -> Self {
        Self {
            patient: row.forgotten_at.is_none().then(|| row.patient.into()),
            accession_number: Some(row.accession_number),
            study_description: Some(row.study_description),
        }
    }
}

impl From<Patient> for PatientView {
    fn from(patient: Patient) -> Self {
        Self {
            id: patient.id,
            issuer: patient.issuer,
            name: patient.name,
            birth_date: patient.birth_date,
            sex: patient.sex,
        }
    }
}

/// A series, and what speaks for its being whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesView {
    series_uid: String,
    modality: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_description: Option<String>,
    body_part: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series_number: Option<i64>,
    instance_count: u64,
    first_arrival_at: String,
    last_arrival_at: String,
    /// Every association that carried something of it was released in order.
    all_released: bool,
    /// Orthanc calls it stable, and nothing has come since.
    stable: bool,
    carriers: Vec<CarrierView>,
}

/// An association (or upload, or download) that carried something of the series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CarrierView {
    /// `dimse`, `stow`, `orthanc`, `upload` or `recovery`.
    door: &'static str,
    calling_ae: String,
    /// Repeats included.
    instance_count: u64,
    last_at: String,
    /// `released`, `aborted` or `lost`; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<&'static str>,
}

impl SeriesView {
    pub(crate) fn new(evidence: SeriesEvidence, caller: &Caller) -> Self {
        let (all_released, stable) = (evidence.all_released(), evidence.is_stable());
        let series = evidence.series;
        Self {
            series_uid: series.series.to_string(),
            modality: series.modality,
            series_description: caller.sees_patients().then_some(series.series_description),
            body_part: series.body_part,
            series_number: series.series_number,
            instance_count: series.instance_count,
            first_arrival_at: timestamp(series.first_arrival_at),
            last_arrival_at: timestamp(series.last_arrival_at),
            all_released,
            stable,
            carriers: evidence.carriers.into_iter().map(CarrierView::from).collect(),
        }
    }
}

impl From<ledger::Carrier> for CarrierView {
    fn from(carrier: ledger::Carrier) -> Self {
        Self {
            door: carrier.door.as_str(),
            calling_ae: carrier.calling_ae,
            instance_count: carrier.instance_count,
            last_at: timestamp(carrier.last_at),
            ending: carrier.ended.map(|(_, ending)| ending.as_str()),
        }
    }
}

/// Why no result of the study may leave.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldView {
    /// `identity-conflict`, `quarantined-twin` or `manual`.
    reason: &'static str,
    raised_at: String,
    raised_by: String,
}

impl From<Hold> for HoldView {
    fn from(hold: Hold) -> Self {
        Self { reason: hold.reason.as_str(), raised_at: timestamp(hold.raised_at), raised_by: hold.raised_by }
    }
}

/// A study with everything that hangs on it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StudyDetail {
    #[serde(flatten)]
    study: StudyView,
    series: Vec<SeriesView>,
    holds: Vec<HoldView>,
    jobs: Vec<super::JobView>,
    results: Vec<super::ResultView>,
}

impl StudyDetail {
    pub(crate) fn new(
        evidence: StudyEvidence,
        jobs: Vec<super::JobView>,
        results: Vec<super::ResultView>,
        caller: &Caller,
    ) -> Self {
        Self {
            study: StudyView::new(evidence.study, caller),
            series: evidence.series.into_iter().map(|series| SeriesView::new(series, caller)).collect(),
            holds: evidence.holds.into_iter().map(HoldView::from).collect(),
            jobs,
            results,
        }
    }
}
