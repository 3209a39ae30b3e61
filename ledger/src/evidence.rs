//! The facts that readiness judges by, read in one go. Judging is not done here.

use std::collections::BTreeMap;

use imaging::{SeriesUid, StudyUid};

use crate::db::{Row, sql};
use crate::{AssociationId, Door, Ending, Error, Hold, Ledger, Millis, SeriesRow, StudyRow, association};

/// Everything that is known about a study's arrival.
///
/// The study is read first: what comes between the reads makes the evidence look
/// newer than [`StudyRow::revision`] says, never older, and the study is looked at again.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyEvidence {
    pub study: StudyRow,
    pub series: Vec<SeriesEvidence>,
    /// Holds that are open.
    pub holds: Vec<Hold>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesEvidence {
    pub series: SeriesRow,
    /// The associations that carried something of the series, the first one first.
    pub carriers: Vec<Carrier>,
}

/// An association's part in a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    pub association: AssociationId,
    pub door: Door,
    pub calling_ae: String,
    /// The AE title of ours that was called.
    pub called_ae: String,
    /// How many instances it carried, repeats included.
    pub instance_count: u64,
    pub last_at: Millis,
    pub ended: Option<(Millis, Ending)>,
}

/// Orthanc said that nothing came for a while; it holds only for that revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stable {
    pub at: Millis,
    /// The revision of the study or the series that it was said of.
    pub revision: i64,
}

impl SeriesEvidence {
    /// Whether every association that carried instances of the series was released in order.
    pub fn all_released(&self) -> bool {
        !self.carriers.is_empty()
            && self.carriers.iter().all(|carrier| matches!(carrier.ended, Some((_, Ending::Released))))
    }

    /// Whether Orthanc called the series stable and nothing has come since.
    pub fn is_stable(&self) -> bool {
        self.series.stable.is_some_and(|stable| stable.revision == self.series.revision)
    }
}

impl Stable {
    pub(crate) fn read(row: &Row) -> Result<Option<Self>, Error> {
        let at = row.millis_or_null("stable_at")?;
        let revision = row.int_or_null("stable_revision")?;
        Ok(at.zip(revision).map(|(at, revision)| Self { at, revision }))
    }
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn evidence(&self, study: &StudyUid) -> Result<Option<StudyEvidence>, Error> {
        let Some(row) = self.study(study).await? else { return Ok(None) };
        let series = self.series_of(study).await?;
        let mut carriers = self.carriers(study).await?;
        let series = series
            .into_iter()
            .map(|series| SeriesEvidence {
                carriers: carriers.remove(&series.series).unwrap_or_default(),
                series,
            })
            .collect();
        let holds = self.open_holds(study).await?;
        Ok(Some(StudyEvidence { study: row, series, holds }))
    }

    async fn carriers(&self, study: &StudyUid) -> Result<BTreeMap<SeriesUid, Vec<Carrier>>, Error> {
        let statement = sql("select carried.series_uid, carried.instance_count, carried.last_at,
                     association.association_id, association.door, association.calling_ae, association.called_ae,
                     association.ended_at, association.ending
              from association_series carried join association on association.association_id = carried.association_id
              where carried.study_uid = $1
              order by association.opened_at, association.association_id")
            .bind(study);
        let mut carriers: BTreeMap<SeriesUid, Vec<Carrier>> = BTreeMap::new();
        for row in self.db.rows(statement).await? {
            carriers.entry(row.parsed("series_uid")?).or_default().push(read_carrier(&row)?);
        }
        Ok(carriers)
    }
}

fn read_carrier(row: &Row) -> Result<Carrier, Error> {
    Ok(Carrier {
        association: row.parsed("association_id")?,
        door: row.parsed("door")?,
        calling_ae: row.text("calling_ae")?,
        called_ae: row.text("called_ae")?,
        instance_count: row.count("instance_count")?,
        last_at: row.millis("last_at")?,
        ended: association::read_ended(row)?,
    })
}
