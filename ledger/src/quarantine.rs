//! What arrived whole but could not be used: named, kept aside, counted.

use std::collections::{BTreeSet, HashSet};

use imaging::{SopInstanceUid, StudyUid};
use serde_json::json;

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{
    AssociationId, Error, HoldReason, Ledger, Millis, Page, PageRequest, QuarantinedId, Topic, hold,
};

text_enum! {
    pub enum QuarantineReason {
        /// The data set cannot be read.
        Unparsable = "unparsable",
        /// The SOP Instance UID is known with other content.
        Twin = "twin",
        /// The SOP Instance UID is known in another study or series.
        Misplaced = "misplaced",
    }
}

#[derive(Debug, Clone)]
pub struct NewQuarantined {
    /// The file's name in the quarantine folder.
    pub kept_as: String,
    pub reason: QuarantineReason,
    /// A sentence for people, without patient data.
    pub detail: String,
    pub association: Option<AssociationId>,
    /// The study that it belongs to, when the ledger knows that study.
    pub study: Option<StudyUid>,
    pub sop_instance: Option<SopInstanceUid>,
    pub at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    pub id: QuarantinedId,
    pub kept_as: String,
    pub reason: QuarantineReason,
    pub detail: String,
    pub association: Option<AssociationId>,
    pub study: Option<StudyUid>,
    pub sop_instance: Option<SopInstanceUid>,
    pub at: Millis,
}

impl Ledger {
    /// Notes a file that was put into quarantine.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn quarantine(&self, new: &NewQuarantined) -> Result<QuarantinedId, Error> {
        let mut tx = self.db.begin().await?;
        let id = add(&mut tx, new).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(id)
    }

    /// The same for a twin that names another patient or another study: also holds the
    /// study whose instance stays in service.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn quarantine_and_hold(
        &self,
        new: &NewQuarantined,
        held: &StudyUid,
    ) -> Result<QuarantinedId, Error> {
        let mut tx = self.db.begin().await?;
        let id = add(&mut tx, new).await?;
        let subject = new.sop_instance.as_ref().map_or(new.kept_as.as_str(), SopInstanceUid::as_str);
        hold::raise(&mut tx, held, HoldReason::QuarantinedTwin, subject, "overread", new.at).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        Ok(id)
    }

    /// The names of all files that were put into quarantine.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn quarantined_files(&self) -> Result<HashSet<String>, Error> {
        let rows: Vec<KeptAs> = self.db.records(sql("select kept_as from quarantined")).await?;
        Ok(rows.into_iter().map(|KeptAs(name)| name).collect())
    }

    /// Those of `sop_instances` that came for `study` and were set aside because their UID is another instance's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn set_aside_of(
        &self,
        study: &StudyUid,
        sop_instances: &[SopInstanceUid],
    ) -> Result<BTreeSet<SopInstanceUid>, Error> {
        let statement = sql(self.db.dialect().set_aside_named).bind_json(&sop_instances)?.bind(study);
        self.db.rows(statement).await?.iter().map(|row| row.parsed("sop_instance_uid")).collect()
    }

    /// A page of what is in quarantine, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn quarantined(&self, page: &PageRequest) -> Result<Page<Quarantined>, Error> {
        let (at, id) = page.before();
        let statement = sql("select * from quarantined where (at, quarantined_id) < ($1, $2)
              order by at desc, quarantined_id desc limit $3")
        .bind(at)
        .bind(id)
        .bind(page.limit() + 1);
        let rows = self.db.records(statement).await?;
        Ok(Page::cut(rows, page, |row: &Quarantined| (row.at, row.id.to_string())))
    }
}

/// A study that the ledger does not know is left out: there is nothing to point at.
async fn add(tx: &mut Tx, new: &NewQuarantined) -> Result<QuarantinedId, Error> {
    let id = QuarantinedId::generate();
    let statement = sql("insert into quarantined
                 (quarantined_id, kept_as, reason, detail, association_id, study_uid, sop_instance_uid, at)
          values ($1, $2, $3, $4, $5, (select study_uid from study where study_uid = $6), $7, $8)")
    .bind(id)
    .bind(&new.kept_as)
    .bind(new.reason)
    .bind(&new.detail)
    .bind(new.association)
    .bind(new.study.as_ref())
    .bind(new.sop_instance.as_ref())
    .bind(new.at);
    tx.execute(statement).await?;
    let detail = json!({ "kept_as": new.kept_as, "reason": new.reason, "instance": new.sop_instance });
    event::append(tx, NewEvent::new("instance.quarantined", new.at).detail(detail)).await?;
    Ok(id)
}

struct KeptAs(String);

impl Record for KeptAs {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self(row.text("kept_as")?))
    }
}

impl Record for Quarantined {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("quarantined_id")?,
            kept_as: row.text("kept_as")?,
            reason: row.parsed("reason")?,
            detail: row.text("detail")?,
            association: row.parsed_or_null("association_id")?,
            study: row.parsed_or_null("study_uid")?,
            sop_instance: row.parsed_or_null("sop_instance_uid")?,
            at: row.millis("at")?,
        })
    }
}
