//! Why no result of a study may leave, until a person has decided.

use imaging::StudyUid;
use serde_json::json;

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{Error, HoldId, Ledger, Millis, Topic, study};

text_enum! {
    pub enum HoldReason {
        /// Instances of the study disagree on the patient.
        IdentityConflict = "identity-conflict",
        /// The same SOP Instance UID came with other content, or for another study or series.
        QuarantinedTwin = "quarantined-twin",
        /// A person wants it.
        Manual = "manual",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub study: StudyUid,
    pub reason: HoldReason,
    /// What it is about; the same matter is raised once, also after it was released.
    pub subject: String,
    pub raised_at: Millis,
    pub raised_by: String,
    /// When and by whom it was released.
    pub released: Option<(Millis, String)>,
}

impl Ledger {
    /// Holds a study; false when the same matter was raised before.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn hold_study(
        &self,
        study: &StudyUid,
        reason: HoldReason,
        subject: &str,
        by: &str,
        now: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let raised = raise(&mut tx, study, reason, subject, by, now).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(raised)
    }

    /// A person decides that results may leave after all; gives the number of holds that were open.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn release_holds(
        &self,
        study: &StudyUid,
        by: &str,
        request_id: Option<&str>,
        now: Millis,
    ) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        study::touch(&mut tx, study, study::Look::AtOnce).await?;
        let statement = sql("update hold set released_at = $2, released_by = $3
              where study_uid = $1 and released_at is null")
        .bind(study)
        .bind(now)
        .bind(by);
        let released = tx.execute(statement).await?;
        let event = NewEvent::new("study.released", now).study(study).by(by).request(request_id);
        event::append(&mut tx, event.detail(json!({ "holds": released }))).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(released)
    }

    /// All holds of a study, the last one first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn holds(&self, study: &StudyUid) -> Result<Vec<Hold>, Error> {
        let statement = sql("select * from hold where study_uid = $1 order by raised_at desc, hold_id desc");
        self.db.records(statement.bind(study)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn open_holds(&self, study: &StudyUid) -> Result<Vec<Hold>, Error> {
        let statement = sql(
            "select * from hold where study_uid = $1 and released_at is null order by raised_at, hold_id",
        );
        self.db.records(statement.bind(study)).await
    }
}

/// Holds the study unless the same matter was raised before.
pub(crate) async fn raise(
    tx: &mut Tx,
    study: &StudyUid,
    reason: HoldReason,
    subject: &str,
    by: &str,
    now: Millis,
) -> Result<bool, Error> {
    study::lock(tx, study).await?;
    let statement = sql("insert into hold (hold_id, study_uid, reason, subject, raised_at, raised_by)
              values ($1, $2, $3, $4, $5, $6)
              on conflict (study_uid, reason, subject) do nothing")
    .bind(HoldId::generate())
    .bind(study)
    .bind(reason)
    .bind(subject)
    .bind(now)
    .bind(by);
    if tx.execute(statement).await? == 0 {
        return Ok(false);
    }
    study::touch(tx, study, study::Look::AtOnce).await?;
    let detail = json!({ "reason": reason, "subject": subject });
    event::append(tx, NewEvent::new("study.held", now).study(study).by(by).detail(detail)).await?;
    Ok(true)
}

/// Whether results of the study may not leave.
pub(crate) async fn is_held(tx: &mut Tx, study: &StudyUid) -> Result<bool, Error> {
    let statement = sql("select hold_id from hold where study_uid = $1 and released_at is null limit 1");
    Ok(tx.row(statement.bind(study)).await?.is_some())
}

impl Record for Hold {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("hold_id")?,
            study: row.parsed("study_uid")?,
            reason: row.parsed("reason")?,
            subject: row.text("subject")?,
            raised_at: row.millis("raised_at")?,
            raised_by: row.text("raised_by")?,
            released: row.millis_or_null("released_at")?.zip(row.text_or_null("released_by")?),
        })
    }
}
