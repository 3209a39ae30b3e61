//! Instances whose files are gone or damaged, and which their source is asked for again.

use imaging::{SeriesUid, SopInstanceUid, StudyUid};

use crate::db::{Record, Row, Tx, sql};
use crate::{Error, Ledger, Millis, Topic};

/// An instance that is known, and has no file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAgain {
    pub study: StudyUid,
    pub series: SeriesUid,
    pub sop_instance: SopInstanceUid,
    /// That of the data set that is known; another one is none of it.
    pub digest: String,
    pub since: Millis,
}

impl Ledger {
    /// Wants instances again; those that are unknown by now are left out.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn want_again(&self, sop_instances: &[SopInstanceUid], now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for sop_instance in sop_instances {
            let statement = sql("insert into wanted_again (sop_instance_uid, since)
                  select sop_instance_uid, $2 from instance where sop_instance_uid = $1
                  on conflict (sop_instance_uid) do nothing");
            tx.execute(statement.bind(sop_instance).bind(now)).await?;
        }
        self.commit(tx, &[Topic::Intake]).await
    }

    /// Those that were wanted the longest.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn wanted_again(&self, limit: u32) -> Result<Vec<WantedAgain>, Error> {
        let statement = sql("select i.study_uid, i.series_uid, i.sop_instance_uid, i.digest, w.since
              from wanted_again w join instance i on i.sop_instance_uid = w.sop_instance_uid
              order by w.since, w.sop_instance_uid limit $1");
        self.db.records(statement.bind(limit)).await
    }

    /// Says that they need not be asked for any more.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn no_longer_wanted(&self, sop_instances: &[SopInstanceUid]) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for sop_instance in sop_instances {
            let statement = sql("delete from wanted_again where sop_instance_uid = $1");
            tx.execute(statement.bind(sop_instance)).await?;
        }
        tx.commit().await
    }
}

/// The study is forgotten, and with it what is wanted of it.
pub(crate) async fn forget(tx: &mut Tx, study: &StudyUid) -> Result<(), Error> {
    let statement = sql("delete from wanted_again
          where sop_instance_uid in (select sop_instance_uid from instance where study_uid = $1)");
    tx.execute(statement.bind(study)).await.map(drop)
}

impl Record for WantedAgain {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            study: row.parsed("study_uid")?,
            series: row.parsed("series_uid")?,
            sop_instance: row.parsed("sop_instance_uid")?,
            digest: row.text("digest")?,
            since: row.millis("since")?,
        })
    }
}
