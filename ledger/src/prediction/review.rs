//! What people said about a prediction.

use serde_json::json;

use crate::db::{Record, Row, sql};
use crate::{Error, Ledger, Millis, NewEvent, Prediction, PredictionId, Topic, event};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictionReview {
    pub at: Millis,
    pub actor: String,
    /// The account, when a doctor said it.
    pub doctor: Option<String>,
    pub request_id: Option<String>,
    pub correct: bool,
    pub actual_class: Option<String>,
    pub feedback: Option<String>,
}

/// A prediction with the last word of a doctor.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewedPrediction {
    pub prediction: Prediction,
    pub correct: bool,
    pub actual_class: Option<String>,
}

impl Ledger {
    /// Predictions of a model that a doctor has spoken about, in their order, behind `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reviewed_predictions(
        &self,
        model_id: &str,
        after: PredictionId,
        limit: u32,
    ) -> Result<Vec<ReviewedPrediction>, Error> {
        let statement = sql("select prediction.*, said.correct, said.actual_class
              from prediction
              join prediction_review said on said.review_id =
                  (select max(review_id) from prediction_review last
                   where last.prediction_id = prediction.prediction_id and last.doctor is not null)
              where prediction.model_id = $1 and prediction.prediction_id > $2
              order by prediction.prediction_id limit $3");
        self.db.records(statement.bind(model_id).bind(after).bind(limit)).await
    }

    /// Adds a review. False when there is no such prediction.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn review_prediction(
        &self,
        prediction: PredictionId,
        review: &PredictionReview,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let known = sql("select prediction_id from prediction where prediction_id = $1").bind(prediction);
        if tx.row(known).await?.is_none() {
            return Ok(false);
        }
        let statement = sql("insert into prediction_review
              (prediction_id, at, actor, doctor, request_id, correct, actual_class, feedback)
              values ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(prediction)
        .bind(review.at)
        .bind(&review.actor)
        .bind(review.doctor.as_ref())
        .bind(review.request_id.as_ref())
        .bind(i64::from(review.correct))
        .bind(review.actual_class.as_ref())
        .bind(review.feedback.as_ref());
        tx.execute(statement).await?;
        let event = NewEvent::new("prediction.reviewed", review.at)
            .by(&review.actor)
            .request(review.request_id.as_deref())
            .detail(json!({ "prediction": prediction, "correct": review.correct }));
        event::append(&mut tx, event).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(true)
    }

    /// All that was said about a prediction, the newest last.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn prediction_reviews(&self, prediction: PredictionId) -> Result<Vec<PredictionReview>, Error> {
        let statement = sql("select * from prediction_review where prediction_id = $1 order by review_id");
        self.db.records(statement.bind(prediction)).await
    }
}

impl Record for ReviewedPrediction {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            prediction: Prediction::read(row)?,
            correct: row.int("correct")? == 1,
            actual_class: row.text_or_null("actual_class")?,
        })
    }
}

impl Record for PredictionReview {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            at: row.millis("at")?,
            actor: row.text("actor")?,
            doctor: row.text_or_null("doctor")?,
            request_id: row.text_or_null("request_id")?,
            correct: row.int("correct")? == 1,
            actual_class: row.text_or_null("actual_class")?,
            feedback: row.text_or_null("feedback")?,
        })
    }
}
