//! What models were asked and what they answered, version by version, for those who watch whether it changes.

use serde_json::Value;

use crate::db::{Record, Row, sql};
use crate::{Error, Ledger, Millis};

/// A version that has answered something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweringVersion {
    pub model_id: String,
    pub model_version: String,
    /// Its first answer that is kept.
    pub first_at: Millis,
}

/// One kept answer, without anything of its patient.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// A row: what was asked, and the answer.
    Row { input: Value, answer: Value },
    /// What was found in a study.
    Findings(Value),
}

/// From when until when, and how many at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Millis,
    pub before: Millis,
    pub limit: u32,
}

impl Ledger {
    /// Every version that has answered since a moment, in the order of their names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn answering_versions(&self, since: Millis) -> Result<Vec<AnsweringVersion>, Error> {
        let statement = sql("select model_id, model_version, min(at) as first_at
              from (select model_id, model_version, at from prediction
                    union all
                    select model_id, model_version, computed_at as at from result where released_at is not null) answered
              group by model_id, model_version
              having max(at) >= $1
              order by model_id, model_version");
        self.db.records(statement.bind(since)).await
    }

    /// Kept answers of a version, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn answers_of(&self, version: &AnsweringVersion, span: Span) -> Result<Vec<Answered>, Error> {
        let rows = sql("select input, answer, null as findings from prediction
              where model_id = $1 and model_version = $2 and at >= $3 and at < $4
              order by prediction_id desc limit $5");
        let findings = sql("select null as input, null as answer, findings from result
              where model_id = $1 and model_version = $2 and computed_at >= $3 and computed_at < $4
                and released_at is not null and outcome = 'findings'
              order by computed_at desc, result_id desc limit $5");
        let mut answers = Vec::new();
        for statement in [rows, findings] {
            let bound = statement.bind(&version.model_id).bind(&version.model_version);
            let bound = bound.bind(span.from).bind(span.before).bind(span.limit);
            answers.extend(self.db.records::<Answered>(bound).await?);
        }
        Ok(answers)
    }
}

impl Record for AnsweringVersion {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            model_id: row.text("model_id")?,
            model_version: row.text("model_version")?,
            first_at: row.millis("first_at")?,
        })
    }
}

impl Record for Answered {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(match row.json_or_null("findings")? {
            Some(findings) => Self::Findings(findings),
            None => Self::Row { input: row.json("input")?, answer: row.json("answer")? },
        })
    }
}
