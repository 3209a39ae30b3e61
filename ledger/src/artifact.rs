//! Objects that a result consists of. Encoded once; their bytes are in the spool.

use std::collections::BTreeSet;

use imaging::{SeriesUid, SopClassUid, SopInstanceUid, StudyUid};

use crate::db::{Record, Row, Tx, sql};
use crate::{ArtifactId, Error, Ledger, Priority, ResultId, Review, ReviewId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Made by the caller ([`ArtifactId::generate`]), so that deliveries can name it.
    pub id: ArtifactId,
    /// What it is for: `seg`, `sr`, `heatmap`, …
    pub role: String,
    /// The destination profile that it was encoded for.
    pub profile: String,
    /// Which of several objects of one role and profile.
    pub part: u32,
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
    pub series: SeriesUid,
    /// BLAKE3 of the data set, in hex.
    pub digest: String,
    pub size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub id: ArtifactId,
    pub result: ResultId,
    pub study: StudyUid,
    pub series: SeriesUid,
    pub sop_instance: SopInstanceUid,
    pub sop_class: SopClassUid,
    pub role: String,
    pub profile: String,
    pub part: u32,
    pub digest: String,
    pub size_bytes: u64,
    /// The review that made it; none: it belongs to the result itself.
    pub review: Option<ReviewId>,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn artifact(&self, artifact: ArtifactId) -> Result<Option<Artifact>, Error> {
        self.db.record(sql("select * from artifact where artifact_id = $1").bind(artifact)).await
    }

    /// How urgent the job was that an object comes from.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn urgency_of(&self, artifact: ArtifactId) -> Result<Priority, Error> {
        let statement = sql("select job.priority from artifact
              join result on result.result_id = artifact.result_id join job on job.job_id = result.job_id
              where artifact_id = $1")
        .bind(artifact);
        let row = self.db.row(statement).await?;
        let is_stat = row.map_or(Ok(0), |row| row.int("priority"))? > 0;
        Ok(if is_stat { Priority::Stat } else { Priority::Routine })
    }

    /// The objects of a result and of its reviews, by role, profile and part.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn artifacts(&self, result: ResultId) -> Result<Vec<Artifact>, Error> {
        let statement = sql("select * from artifact where result_id = $1 order by role, profile, part");
        self.db.records(statement.bind(result)).await
    }

    /// Those of a study's objects that Overread wrote itself; they never start a run.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn own_objects(&self, study: &StudyUid) -> Result<BTreeSet<SopInstanceUid>, Error> {
        let statement = sql("select sop_instance_uid from artifact where study_uid = $1");
        let rows = self.db.rows(statement.bind(study)).await?;
        rows.iter().map(|row| row.parsed("sop_instance_uid")).collect()
    }

    /// Whether Overread wrote this object itself.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_own_object(&self, sop_instance: &SopInstanceUid) -> Result<bool, Error> {
        let statement = sql("select artifact_id from artifact where sop_instance_uid = $1");
        Ok(self.db.row(statement.bind(sop_instance)).await?.is_some())
    }
}

/// Keeps an object of a result itself.
pub(crate) async fn insert(
    tx: &mut Tx,
    result: ResultId,
    study: &StudyUid,
    new: &NewArtifact,
) -> Result<(), Error> {
    insert_of(tx, (result, None), study, new).await
}

/// Keeps an object that a review made, or that its doctor brought.
///
/// # Errors
/// [`Error::ObjectTaken`] when the object belongs to another review or result.
pub(crate) async fn insert_of_review(tx: &mut Tx, review: &Review, new: &NewArtifact) -> Result<(), Error> {
    let inserted = insert_of(tx, (review.result, Some(review.id)), &review.study, new).await;
    inserted.map_err(|error| match error {
        error if error.is_taken() => Error::ObjectTaken(new.sop_instance.clone()),
        error => error,
    })
}

async fn insert_of(
    tx: &mut Tx,
    (result, review): (ResultId, Option<ReviewId>),
    study: &StudyUid,
    new: &NewArtifact,
) -> Result<(), Error> {
    let size_bytes = i64::try_from(new.size_bytes).unwrap_or(i64::MAX);
    let statement = sql("insert into artifact (artifact_id, result_id, study_uid, series_uid, sop_instance_uid, sop_class_uid,
                                role, profile, part, digest, size_bytes, review_id)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(new.id)
        .bind(result)
        .bind(study)
        .bind(&new.series)
        .bind(&new.sop_instance)
        .bind(&new.sop_class)
        .bind(&new.role)
        .bind(&new.profile)
        .bind(new.part)
        .bind(&new.digest)
        .bind(size_bytes)
        .bind(review);
    tx.execute(statement).await.map(drop)
}

impl Record for Artifact {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("artifact_id")?,
            result: row.parsed("result_id")?,
            study: row.parsed("study_uid")?,
            series: row.parsed("series_uid")?,
            sop_instance: row.parsed("sop_instance_uid")?,
            sop_class: row.parsed("sop_class_uid")?,
            role: row.text("role")?,
            profile: row.text("profile")?,
            part: row.count("part")?,
            digest: row.text("digest")?,
            size_bytes: row.count("size_bytes")?,
            review: row.parsed_or_null("review_id")?,
        })
    }
}
