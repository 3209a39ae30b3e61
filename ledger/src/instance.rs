//! Instances: one row for each that is kept. Their bytes are in the spool.

use std::collections::{BTreeMap, BTreeSet};

use imaging::{Header, SeriesUid, SopInstanceUid, StudyUid};

use crate::db::{Arg, Insert, Record, Row, Tx, sql};
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
    let rows = batch.iter().map(|new| columns(new)).collect::<Result<_, _>>()?;
    let inserted = tx.insert(&INTO_INSTANCE, rows).await?;
    inserted.iter().map(|row| row.parsed("sop_instance_uid")).collect()
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

const INTO_INSTANCE: Insert<10> = Insert {
    into: "insert into instance (sop_instance_uid, study_uid, series_uid, sop_class_uid, transfer_syntax_uid,
                                 digest, size_bytes, header, association_id, arrived_at)",
    then: "on conflict (sop_instance_uid) do nothing returning sop_instance_uid",
};

fn columns(new: &NewInstance) -> Result<[Arg; 10], Error> {
    let header = &new.header;
    Ok([
        (&header.sop_instance).into(),
        (&header.study).into(),
        (&header.series).into(),
        (&header.sop_class).into(),
        (&header.transfer_syntax).into(),
        (&new.digest).into(),
        i64::try_from(new.size_bytes).unwrap_or(i64::MAX).into(),
        serde_json::to_string(header).map_err(Error::Json)?.into(),
        new.association.into(),
        new.arrived_at.into(),
    ])
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
