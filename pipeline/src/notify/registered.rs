//! Which of those who registered a telephone are told of what: doctors that a diagnosis is ready, and the
//! patient that a doctor has confirmed it.

use inference::{Registry, package::Task};
use ledger::{Event, Ledger, PageRequest, PredictionFilter, PredictionId, RecipientId};

use super::NoticeKind;

/// What an event about a prediction means to them, if it is one.
pub(super) fn kind_of_prediction(event: &Event) -> Option<NoticeKind> {
    match event.kind.as_str() {
        "prediction.stored" => Some(NoticeKind::DiagnosisReady),
        "prediction.reviewed" if event.detail["correct"] == true => Some(NoticeKind::DiagnosisConfirmed),
        _ => None,
    }
}

pub(super) async fn of_event(
    ledger: &Ledger,
    registry: &Registry,
    kind: NoticeKind,
    event: &Event,
) -> Result<Vec<RecipientId>, ledger::Error> {
    match (kind, event.kind.as_str(), &event.study) {
        (NoticeKind::DiagnosisReady, "prediction.stored", _) => of_prediction(ledger, registry, event).await,
        (NoticeKind::DiagnosisReady, ..) => ledger.devices_of_doctors(None).await,
        (NoticeKind::DiagnosisConfirmed, "prediction.reviewed", _) => of_reviewed(ledger, event).await,
        (NoticeKind::DiagnosisConfirmed, _, Some(study)) => ledger.apps_of_study(study).await,
        _ => Ok(Vec::new()),
    }
}

/// The doctor who asked about an image; all of them where none did. Rows of numbers are nobody's diagnosis yet.
async fn of_prediction(
    ledger: &Ledger,
    registry: &Registry,
    event: &Event,
) -> Result<Vec<RecipientId>, ledger::Error> {
    let model = event.detail["model"].as_str().and_then(|id| registry.get(id));
    let is_of_image = model.is_some_and(|model| matches!(model.package().task, Task::Classification(_)));
    let call = event.detail["call"].as_str().and_then(|call| call.parse().ok());
    let (true, Some(call)) = (is_of_image, call) else { return Ok(Vec::new()) };
    let filter = PredictionFilter { call: Some(call), ..PredictionFilter::default() };
    let rows = ledger.predictions(&filter, &PageRequest::first(1)).await?.rows;
    ledger.devices_of_doctors(rows.first().and_then(|row| row.doctor.as_deref())).await
}

/// The patient, if it was a doctor who said so.
async fn of_reviewed(ledger: &Ledger, event: &Event) -> Result<Vec<RecipientId>, ledger::Error> {
    let Some(id) = event.detail["prediction"].as_i64().map(PredictionId) else { return Ok(Vec::new()) };
    let reviews = ledger.prediction_reviews(id).await?;
    let is_a_doctors = reviews.iter().any(|review| review.at == event.at && review.doctor.is_some());
    match ledger.prediction(id).await?.filter(|_| is_a_doctors) {
        Some(row) => ledger.apps_of_patient(&row.patient_id).await,
        None => Ok(Vec::new()),
    }
}
