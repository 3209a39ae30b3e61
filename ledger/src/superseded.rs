//! What is still owed for results that a newer one has replaced: a note to each archive that
//! holds their objects, once the newer ones are proved to be there too.

use crate::db::{Record, Row, sql};
use crate::event::{self, NewEvent};
use crate::{
    ArtifactId, Error, Ledger, Millis, NewArtifact, NewDelivery, Parcel, ResultId, Topic, artifact, delivery,
};

/// The role of the object that says so; a result has one at most for each of its profiles.
const NOTE: &str = "superseding-note";
const NOTE_OF_PROFILE: &str =
    "select artifact_id from artifact where result_id = $1 and role = $2 and profile = $3";

/// A destination that holds a superseded result and all of its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupersededAt {
    pub result: ResultId,
    pub destination: String,
    pub successor: ResultId,
}

impl Ledger {
    /// Destinations that are to be told now, oldest result first; where several successors have
    /// arrived the first of them comes first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn superseded_to_tell(&self, limit: u32) -> Result<Vec<SupersededAt>, Error> {
        self.db.records(sql(include_str!("sql/superseded_at.sql")).bind(limit)).await
    }

    /// The note of a superseded result for one profile, where one was written.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn superseding_note(
        &self,
        result: ResultId,
        profile: &str,
    ) -> Result<Option<ArtifactId>, Error> {
        let row = self.db.row(sql(NOTE_OF_PROFILE).bind(result).bind(NOTE).bind(profile)).await?;
        row.map(|row| row.parsed("artifact_id")).transpose()
    }

    /// Keeps the note of a superseded result for a profile (unless it has one) and puts it into the outbox of a
    /// destination, both once, however often this is said.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn tell_superseded(
        &self,
        told: &SupersededAt,
        profile: &str,
        note: Option<&NewArtifact>,
        now: Millis,
    ) -> Result<(), Error> {
        let Some(old) = self.result(told.result).await? else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        crate::study::lock(&mut tx, &old.study).await?;
        let known = tx.row(sql(NOTE_OF_PROFILE).bind(told.result).bind(NOTE).bind(profile)).await?;
        let known: Option<ArtifactId> = known.map(|row| row.parsed("artifact_id")).transpose()?;
        let id = match (known, note) {
            (Some(id), _) => id,
            (None, Some(note)) => {
                artifact::insert(&mut tx, told.result, &old.study, note).await?;
                note.id
            }
            (None, None) => return Ok(()),
        };
        let new = NewDelivery { destination: told.destination.clone(), parcel: Parcel::Artifact(id) };
        delivery::insert(&mut tx, &new, Some(told.result), now).await?;
        let retired = sql(include_str!("sql/retire.sql")).bind(told.result).bind(now);
        if tx.execute(retired).await? == 1 {
            let event = NewEvent::new("result.retired", now).study(&old.study).job(old.job).result(old.id);
            let detail = serde_json::json!({ "successor": told.successor });
            event::append(&mut tx, event.detail(detail)).await?;
        }
        self.commit(tx, &[Topic::Deliveries]).await
    }
}

impl Record for SupersededAt {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            result: row.parsed("result_id")?,
            destination: row.text("destination")?,
            successor: row.parsed("successor_id")?,
        })
    }
}
