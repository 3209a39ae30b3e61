//! The history of predictions, newest first.

use super::Prediction;
use crate::db::sql;
use crate::{CallId, Error, Ledger, Millis, Page, PageRequest};

/// Which predictions are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct PredictionFilter {
    pub patient_id: Option<String>,
    pub model_id: Option<String>,
    pub doctor: Option<String>,
    pub actor: Option<String>,
    pub call: Option<CallId>,
    pub label: Option<u8>,
    pub from: Option<Millis>,
    /// Up to and without this moment.
    pub before: Option<Millis>,
}

impl Ledger {
    /// A page of predictions, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn predictions(
        &self,
        filter: &PredictionFilter,
        page: &PageRequest,
    ) -> Result<Page<Prediction>, Error> {
        let (_, before) = page.before();
        let statement = sql(include_str!("../sql/predictions.sql"))
            .bind(filter.patient_id.as_ref())
            .bind(filter.model_id.as_ref())
            .bind(filter.doctor.as_ref())
            .bind(filter.actor.as_ref())
            .bind(filter.call)
            .bind(filter.label.map(i64::from))
            .bind(filter.from)
            .bind(filter.before)
            .bind(before.parse().unwrap_or(i64::MAX))
            .bind(page.limit() + 1);
        let rows = self.db.records(statement).await?;
        Ok(Page::cut(rows, page, |row: &Prediction| (row.at, row.id.to_string())))
    }
}
