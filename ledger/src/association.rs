//! Who brought instances in, through which door, and whether it said that it had finished.

use std::collections::BTreeSet;

use imaging::StudyUid;
use serde_json::json;

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{AssociationId, BootId, Error, Ledger, Millis, NodeId, Topic, study};

text_enum! {
    /// The way in. Every batch of instances belongs to an association, also those that
    /// came without DICOM's upper layer: one upload, one STOW request, one download.
    pub enum Door {
        Dimse = "dimse",
        Stow = "stow",
        Orthanc = "orthanc",
        Upload = "upload",
        Recovery = "recovery",
    }
}

text_enum! {
    /// How an association ended; only a release says that the sender had finished.
    pub enum Ending {
        Released = "released",
        Aborted = "aborted",
        /// The process that held it ended first.
        Lost = "lost",
    }
}

#[derive(Debug, Clone)]
pub struct NewAssociation {
    pub door: Door,
    /// The peer's AE title; for other doors the name of the source.
    pub calling_ae: String,
    /// Ours.
    pub called_ae: String,
    /// The peer's address.
    pub peer: String,
    pub node: NodeId,
    pub boot: BootId,
    pub opened_at: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub id: AssociationId,
    pub door: Door,
    pub calling_ae: String,
    pub called_ae: String,
    pub peer: String,
    pub opened_at: Millis,
    pub ended: Option<(Millis, Ending)>,
}

impl Ledger {
    /// # Errors
    /// When the database does not carry it out.
    pub async fn open_association(&self, new: &NewAssociation) -> Result<AssociationId, Error> {
        let id = AssociationId::generate();
        let statement = sql("insert into association
                     (association_id, door, calling_ae, called_ae, peer, node_id, boot_id, opened_at)
              values ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(id)
        .bind(new.door)
        .bind(&new.calling_ae)
        .bind(&new.called_ae)
        .bind(&new.peer)
        .bind(&new.node)
        .bind(&new.boot)
        .bind(new.opened_at);
        let mut tx = self.db.begin_unflushed().await?;
        tx.execute(statement).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Says how an association ended and asks for a look at every study that it carried.
    /// The instances that it brought must have been recorded before. A second call changes nothing.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn end_association(&self, id: AssociationId, ending: Ending, now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        end(&mut tx, id, ending, now).await?;
        self.commit(tx, &[Topic::Intake]).await
    }

    /// Ends as [`Ending::Lost`] what earlier runs of this node left open; for the start of a process.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn end_lost_associations(
        &self,
        node: &NodeId,
        boot: &BootId,
        now: Millis,
    ) -> Result<u64, Error> {
        let statement = sql("select association_id from association
              where node_id = $1 and boot_id <> $2 and ended_at is null
              order by association_id")
        .bind(node)
        .bind(boot);
        let rows = self.db.rows(statement).await?;
        for row in &rows {
            // Each on its own: the studies of one are locked in order, those of several would not be.
            self.end_association(row.parsed("association_id")?, Ending::Lost, now).await?;
        }
        Ok(rows.len() as u64)
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn association(&self, id: AssociationId) -> Result<Option<Association>, Error> {
        self.db.record(sql("select * from association where association_id = $1").bind(id)).await
    }
}

async fn end(tx: &mut Tx, id: AssociationId, ending: Ending, now: Millis) -> Result<(), Error> {
    let statement = sql("update association set ended_at = $2, ending = $3
          where association_id = $1 and ended_at is null")
    .bind(id)
    .bind(now)
    .bind(ending);
    if tx.execute(statement).await? == 0 {
        return Ok(());
    }
    for study in studies_carried_by(tx, id).await? {
        study::touch(tx, &study, study::Look::AtOnce).await?;
        let detail = json!({ "association": id, "ending": ending });
        event::append(tx, NewEvent::new("association.ended", now).study(&study).detail(detail)).await?;
    }
    Ok(())
}

/// In the order of their UIDs, in which everybody locks studies.
async fn studies_carried_by(tx: &mut Tx, id: AssociationId) -> Result<BTreeSet<StudyUid>, Error> {
    let statement =
        sql("select distinct study_uid from association_series where association_id = $1").bind(id);
    tx.rows(statement).await?.iter().map(|row| row.parsed("study_uid")).collect()
}

/// Whether the association's end is already in the ledger: what it brings now comes late.
pub(crate) async fn has_ended(tx: &mut Tx, id: AssociationId) -> Result<bool, Error> {
    let statement = sql("select ended_at from association where association_id = $1").bind(id);
    let row = tx.row(statement).await?;
    Ok(row.map(|row| row.int_or_null("ended_at")).transpose()?.flatten().is_some())
}

/// Counts `count` instances of a series, repeats included, for the association that carried them.
pub(crate) async fn carried(
    tx: &mut Tx,
    id: AssociationId,
    study: &StudyUid,
    series: &imaging::SeriesUid,
    count: i64,
    now: Millis,
) -> Result<(), Error> {
    let statement =
        sql("insert into association_series (association_id, study_uid, series_uid, instance_count, last_at)
              values ($1, $2, $3, $4, $5)
              on conflict (association_id, study_uid, series_uid) do update
              set instance_count = association_series.instance_count + excluded.instance_count,
                  last_at = excluded.last_at")
        .bind(id)
        .bind(study)
        .bind(series)
        .bind(count)
        .bind(now);
    tx.execute(statement).await.map(drop)
}

pub(crate) fn read_ended(row: &Row) -> Result<Option<(Millis, Ending)>, Error> {
    Ok(row.millis_or_null("ended_at")?.zip(row.parsed_or_null("ending")?))
}

impl Record for Association {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("association_id")?,
            door: row.parsed("door")?,
            calling_ae: row.text("calling_ae")?,
            called_ae: row.text("called_ae")?,
            peer: row.text("peer")?,
            opened_at: row.millis("opened_at")?,
            ended: read_ended(row)?,
        })
    }
}
