//! Series: what is known of each, and a revision that only arrivals move.

use imaging::{Header, SeriesUid, StudyUid};

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::evidence::Stable;
use crate::{Error, Ledger, Millis, Topic, study};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    pub study: StudyUid,
    pub series: SeriesUid,
    /// Grows with every arrival of something new for the series, and with nothing else.
    pub revision: i64,
    pub instance_count: u64,
    pub modality: String,
    pub series_description: String,
    pub body_part: String,
    pub series_number: Option<i64>,
    pub first_arrival_at: Millis,
    pub last_arrival_at: Millis,
    pub stable: Option<Stable>,
}

impl Ledger {
    /// The studies that a series is of: one, unless somebody gave a UID out twice.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn studies_with_series(&self, series: &SeriesUid) -> Result<Vec<StudyUid>, Error> {
        let statement = sql("select study_uid from series where series_uid = $1 order by study_uid");
        let rows = self.db.rows(statement.bind(series)).await?;
        rows.iter().map(|row| row.parsed("study_uid")).collect()
    }

    /// The series of a study, by number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn series_of(&self, study: &StudyUid) -> Result<Vec<SeriesRow>, Error> {
        let statement =
            sql("select * from series where study_uid = $1 order by coalesce(series_number, 0), series_uid");
        self.db.records(statement.bind(study)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn series(&self, study: &StudyUid, series: &SeriesUid) -> Result<Option<SeriesRow>, Error> {
        let statement = sql("select * from series where study_uid = $1 and series_uid = $2");
        self.db.record(statement.bind(study).bind(series)).await
    }

    /// Orthanc says that the series is stable.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], [`Error::NoSuchSeries`], or when the database does not carry it out.
    pub async fn series_is_stable(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        study::touch(&mut tx, study, study::Look::AtOnce).await?;
        let statement = sql("update series set stable_at = $3, stable_revision = revision
              where study_uid = $1 and series_uid = $2")
        .bind(study)
        .bind(series)
        .bind(now);
        if tx.execute(statement).await? == 0 {
            return Err(Error::NoSuchSeries(series.clone()));
        }
        let detail = serde_json::json!({ "series": series });
        event::append(&mut tx, NewEvent::new("series.stable", now).study(study).detail(detail)).await?;
        self.commit(tx, &[Topic::Intake]).await
    }
}

/// Makes the series known, still empty.
pub(crate) async fn make_known(tx: &mut Tx, header: &Header, now: Millis) -> Result<(), Error> {
    let statement = sql(
        "insert into series (study_uid, series_uid, revision, instance_count, modality, series_description,
                      body_part, series_number, first_arrival_at, last_arrival_at)
              values ($1, $2, 1, 0, $3, $4, $5, $6, $7, $7)
              on conflict (study_uid, series_uid) do nothing",
    )
    .bind(&header.study)
    .bind(&header.series)
    .bind(&header.facts.modality)
    .bind(&header.facts.series_description)
    .bind(&header.facts.body_part)
    .bind(header.facts.series_number.map(i64::from))
    .bind(now);
    tx.execute(statement).await.map(drop)
}

/// Notes that `count` new instances came.
pub(crate) async fn grow(
    tx: &mut Tx,
    study: &StudyUid,
    series: &SeriesUid,
    count: i64,
    now: Millis,
) -> Result<(), Error> {
    let statement = sql("update series
          set revision = revision + 1, instance_count = instance_count + $3,
              last_arrival_at = case when last_arrival_at > $4 then last_arrival_at else $4 end
          where study_uid = $1 and series_uid = $2")
    .bind(study)
    .bind(series)
    .bind(count)
    .bind(now);
    tx.execute(statement).await.map(drop)
}

/// The revision of a series, within the transaction.
pub(crate) async fn revision(
    tx: &mut Tx,
    study: &StudyUid,
    series: &SeriesUid,
) -> Result<Option<i64>, Error> {
    let statement = sql("select revision from series where study_uid = $1 and series_uid = $2");
    let row = tx.row(statement.bind(study).bind(series)).await?;
    row.map(|row| row.int("revision")).transpose()
}

impl Record for SeriesRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            study: row.parsed("study_uid")?,
            series: row.parsed("series_uid")?,
            revision: row.int("revision")?,
            instance_count: row.count("instance_count")?,
            modality: row.text("modality")?,
            series_description: row.text("series_description")?,
            body_part: row.text("body_part")?,
            series_number: row.int_or_null("series_number")?,
            first_arrival_at: row.millis("first_arrival_at")?,
            last_arrival_at: row.millis("last_arrival_at")?,
            stable: Stable::read(row)?,
        })
    }
}
