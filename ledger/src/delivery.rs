//! The outbox: what has to reach which destination, in order for each lane.
//!
//! ```text
//! waiting → sending → sent → proved
//!    ↑         ├──→ waiting (backoff)     any but proved → dropped
//!    └─ parked ┘
//! ```
//!
//! The lane of an object is its study. While one delivery of a lane waits, is being sent or
//! is parked, none behind it leaves for the same destination; other lanes go on.

mod list;
mod send;

use imaging::StudyUid;
use serde_json::Value;

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{ArtifactId, DeliveryId, Error, Ledger, Millis, ResultId, Topic};

pub use list::{DeliveryFilter, OutboxCount};

text_enum! {
    pub enum DeliveryState {
        Waiting = "waiting",
        Sending = "sending",
        /// The destination took it.
        Sent = "sent",
        /// The destination was asked and has it.
        Proved = "proved",
        /// Refused: waits for a person, and its lane with it.
        Parked = "parked",
        /// A person gave it up.
        Dropped = "dropped",
    }
}

/// What is delivered.
#[derive(Debug, Clone, PartialEq)]
pub enum Parcel {
    /// A DICOM object; its lane is its study.
    Artifact(ArtifactId),
    /// A message, such as a notification.
    Message { lane: String, study: Option<StudyUid>, payload: Value },
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewDelivery {
    pub destination: String,
    pub parcel: Parcel,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub destination: String,
    pub lane: String,
    pub study: Option<StudyUid>,
    pub parcel: Parcel,
    pub state: DeliveryState,
    /// How often it was claimed.
    pub attempts: u32,
    pub not_before: Millis,
    pub failure: Option<String>,
    pub created_at: Millis,
    pub state_since: Millis,
}

/// The right to send a delivery, as long as nobody has a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryLease {
    pub delivery: DeliveryId,
    pub number: i64,
}

impl Ledger {
    /// Puts deliveries into the outbox; an object that was put there before for the same destination is not put again.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn enqueue_deliveries(
        &self,
        deliveries: &[NewDelivery],
        now: Millis,
    ) -> Result<Vec<DeliveryId>, Error> {
        let mut tx = self.db.begin().await?;
        let mut enqueued = Vec::new();
        for new in deliveries {
            enqueued.extend(insert(&mut tx, new, None, now).await?);
        }
        self.commit(tx, &[Topic::Deliveries]).await?;
        Ok(enqueued)
    }
}

/// Adds a delivery behind all others; nothing when the object is in the outbox for that destination.
pub(crate) async fn insert(
    tx: &mut Tx,
    new: &NewDelivery,
    result: Option<ResultId>,
    now: Millis,
) -> Result<Option<DeliveryId>, Error> {
    let statement = match &new.parcel {
        Parcel::Artifact(artifact) => sql("insert into delivery
                     (destination, lane, study_uid, artifact_id, state, not_before, created_at, state_since)
              select $1, study_uid, study_uid, artifact_id, 'waiting', $3, $3, $3 from artifact where artifact_id = $2
              on conflict (destination, artifact_id) do nothing
              returning delivery_id, study_uid")
            .bind(&new.destination)
            .bind(*artifact)
            .bind(now),
        Parcel::Message { lane, study, payload } => sql("insert into delivery
                     (destination, lane, study_uid, payload, state, not_before, created_at, state_since)
              values ($1, $2, $3, $4, 'waiting', $5, $5, $5)
              returning delivery_id, study_uid")
            .bind(&new.destination)
            .bind(lane)
            .bind(study.as_ref())
            .bind_json(payload)?
            .bind(now),
    };
    let Some(row) = tx.row(statement).await? else { return Ok(None) };
    let delivery = DeliveryId(row.int("delivery_id")?);
    let mut event = NewEvent::new("delivery.waiting", now).delivery(delivery);
    event.study = row.parsed_or_null("study_uid")?;
    event.result = result;
    event::append(tx, event.detail(serde_json::json!({ "destination": new.destination }))).await?;
    Ok(Some(delivery))
}

impl Record for Delivery {
    fn read(row: &Row) -> Result<Self, Error> {
        let lane = row.text("lane")?;
        let study: Option<StudyUid> = row.parsed_or_null("study_uid")?;
        Ok(Self {
            id: DeliveryId(row.int("delivery_id")?),
            destination: row.text("destination")?,
            parcel: match row.parsed_or_null("artifact_id")? {
                Some(artifact) => Parcel::Artifact(artifact),
                None => Parcel::Message {
                    lane: lane.clone(),
                    study: study.clone(),
                    payload: row.json("payload")?,
                },
            },
            lane,
            study,
            state: row.parsed("state")?,
            attempts: row.count("attempts")?,
            not_before: row.millis("not_before")?,
            failure: row.text_or_null("failure")?,
            created_at: row.millis("created_at")?,
            state_since: row.millis("state_since")?,
        })
    }
}
