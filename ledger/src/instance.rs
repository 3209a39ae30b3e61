//! Instances: one row for each that is kept. Their bytes are in the spool.

use std::collections::{BTreeMap, BTreeSet};

use imaging::{Header, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid};

use crate::db::{Record, Row, Tx, sql};
use crate::intake::NewInstance;
use crate::{AssociationId, Error, Ledger, Millis};

/// An instance that is kept. `Debug` shows no text about the patient: [`Header`] sees to it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRow {
    pub header: Header,
    /// BLAKE3 of the data set, in hex, as the spool computed it.
    pub digest: String,
    pub size_bytes: u64,
    pub association: AssociationId,
    pub arrived_at: Millis,
}

/// What is known of an instance that comes again.
pub(crate) struct Known {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) digest: String,
}

impl Ledger {
    /// The instances of a series, by UID.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn instances_of_series(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
    ) -> Result<Vec<InstanceRow>, Error> {
        let statement =
            sql("select * from instance where study_uid = $1 and series_uid = $2 order by sop_instance_uid");
        self.db.records(statement.bind(study).bind(series)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn instance(&self, sop_instance: &SopInstanceUid) -> Result<Option<InstanceRow>, Error> {
        self.db.record(sql("select * from instance where sop_instance_uid = $1").bind(sop_instance)).await
    }

    /// Study and series of those of `sop_instances` that the ledger has a row for.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn places_of(
        &self,
        sop_instances: &[SopInstanceUid],
    ) -> Result<BTreeMap<SopInstanceUid, (StudyUid, SeriesUid)>, Error> {
        let statement = sql(self.db.dialect().instances_named).bind_json(&sop_instances)?;
        let place = |row: &Row| {
            let (uid, known) = read_known(row)?;
            Ok((uid, (known.study, known.series)))
        };
        self.db.rows(statement).await?.iter().map(place).collect()
    }
}

pub(crate) async fn known(
    tx: &mut Tx,
    uids: &[&SopInstanceUid],
) -> Result<Vec<(SopInstanceUid, Known)>, Error> {
    let statement = sql(tx.dialect().instances_named).bind_json(&uids)?;
    tx.rows(statement).await?.iter().map(read_known).collect()
}

/// Adds a batch; gives the UIDs of those that were not there before.
pub(crate) async fn insert(tx: &mut Tx, batch: &[&NewInstance]) -> Result<BTreeSet<SopInstanceUid>, Error> {
    let rows: Vec<Columns<'_>> = batch.iter().map(|new| columns(new)).collect();
    let statement = sql(tx.dialect().insert_instances).bind_json(&rows)?;
    tx.rows(statement).await?.iter().map(|row| row.parsed("sop_instance_uid")).collect()
}

/// Puts what an instance is now in the place of what it was.
pub(crate) async fn replace(tx: &mut Tx, new: &NewInstance) -> Result<(), Error> {
    let statement = sql("update instance
          set sop_class_uid = $2, transfer_syntax_uid = $3, digest = $4, size_bytes = $5, header = $6,
              association_id = $7, arrived_at = $8
          where sop_instance_uid = $1")
    .bind(&new.header.sop_instance)
    .bind(&new.header.sop_class)
    .bind(&new.header.transfer_syntax)
    .bind(&new.digest)
    .bind(i64::try_from(new.size_bytes).unwrap_or(i64::MAX))
    .bind_json(&new.header)?
    .bind(new.association)
    .bind(new.arrived_at);
    tx.execute(statement).await.map(drop)
}

/// The columns in the order that `Dialect::insert_instances` reads them.
type Columns<'a> = (
    &'a SopInstanceUid,
    &'a StudyUid,
    &'a SeriesUid,
    &'a SopClassUid,
    &'a Uid,
    &'a str,
    u64,
    &'a Header,
    AssociationId,
    Millis,
);

fn columns(new: &NewInstance) -> Columns<'_> {
    let header = &new.header;
    (
        &header.sop_instance,
        &header.study,
        &header.series,
        &header.sop_class,
        &header.transfer_syntax,
        &new.digest,
        new.size_bytes,
        header,
        new.association,
        new.arrived_at,
    )
}

fn read_known(row: &Row) -> Result<(SopInstanceUid, Known), Error> {
    let known = Known {
        study: row.parsed("study_uid")?,
        series: row.parsed("series_uid")?,
        digest: row.text("digest")?,
    };
    Ok((row.parsed("sop_instance_uid")?, known))
}

impl Record for InstanceRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            header: row.json("header")?,
            digest: row.text("digest")?,
            size_bytes: row.count("size_bytes")?,
            association: row.parsed("association_id")?,
            arrived_at: row.millis("arrived_at")?,
        })
    }
}
