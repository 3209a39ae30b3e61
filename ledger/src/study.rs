//! Studies: what is known of each, its revision, and which ones want to be looked at.

use std::time::Duration;

use imaging::{Patient, StudyUid};
use serde_json::{Value, json};

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::evidence::Stable;
use crate::{Error, Ledger, Millis, Page, PageRequest, Topic};

/// A study. `Debug` shows nothing of the patient: [`Patient`] sees to it.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyRow {
    pub study: StudyUid,
    /// Grows whenever something arrives or becomes known; "nothing came since I looked"
    /// means that it is still the same.
    pub revision: i64,
    /// The revision that readiness last looked at.
    pub looked_revision: i64,
    /// What readiness found that the study waits for.
    pub waits_for: Option<Value>,
    /// The patient of the instance that came first; age and weight are not kept here.
    pub patient: Patient,
    pub accession_number: String,
    pub study_date: String,
    pub study_time: String,
    pub study_description: String,
    pub first_arrival_at: Millis,
    pub last_arrival_at: Millis,
    pub stable: Option<Stable>,
    pub forced: Option<Forced>,
    /// When patient and instances were forgotten.
    pub forgotten_at: Option<Millis>,
    /// Modalities of its series, each once, in alphabetical order.
    pub modalities: Vec<String>,
    pub series_count: u32,
    pub instance_count: u64,
    /// Whether a hold is open.
    pub is_held: bool,
}

/// A person said that the study is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    pub at: Millis,
    pub by: String,
    /// In which request.
    pub request_id: Option<String>,
    /// The study's revision that the person spoke of.
    pub revision: i64,
}

/// Which studies are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct StudyFilter {
    pub patient_id: Option<String>,
    pub accession_number: Option<String>,
    pub modality: Option<String>,
    /// `YYYYMMDD`, the first day.
    pub study_date_from: Option<String>,
    /// `YYYYMMDD`, the last day.
    pub study_date_to: Option<String>,
}

/// How soon readiness should look at a study that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    AtOnce,
    WhenQuiet,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn study(&self, study: &StudyUid) -> Result<Option<StudyRow>, Error> {
        self.db.record(sql(include_str!("sql/study.sql")).bind(study)).await
    }

    /// A page of studies, the one that received something last first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn studies(&self, filter: &StudyFilter, page: &PageRequest) -> Result<Page<StudyRow>, Error> {
        let (at, id) = page.before();
        let statement = sql(include_str!("sql/studies.sql"))
            .bind(filter.patient_id.as_ref())
            .bind(filter.accession_number.as_ref())
            .bind(filter.modality.as_ref())
            .bind(filter.study_date_from.as_ref())
            .bind(filter.study_date_to.as_ref())
            .bind(at)
            .bind(id)
            .bind(page.limit() + 1);
        let studies = self.db.records(statement).await?;
        Ok(Page::cut(studies, page, |row: &StudyRow| (row.first_arrival_at, row.study.to_string())))
    }

    /// Studies that readiness has to look at: something asks for it at once (an association ended,
    /// Orthanc said stable, a person decided), or something arrived and has been quiet for `quiet`,
    /// or the time has come that [`Ledger::study_looked_at`] was given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn studies_to_look_at(
        &self,
        now: Millis,
        quiet: Duration,
        limit: u32,
    ) -> Result<Vec<StudyUid>, Error> {
        let statement =
            sql(include_str!("sql/studies_to_look_at.sql")).bind(now.minus(quiet)).bind(now).bind(limit);
        self.db.rows(statement).await?.iter().map(|row| row.parsed("study_uid")).collect()
    }

    /// When the next study will have been quiet for `quiet`, or has asked to be looked at;
    /// nothing when none waits.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_look_at(&self, quiet: Duration) -> Result<Option<Millis>, Error> {
        let quiet_millis = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX / 2);
        let statement = sql("select min(due) as due from (
                  select min(last_arrival_at) + $1 as due from study where revision > looked_revision
                  union all
                  select min(look_again_at) as due from study where look_again_at is not null) as waiting")
        .bind(quiet_millis);
        self.db.row(statement).await?.map_or(Ok(None), |row| row.millis_or_null("due"))
    }

    /// Notes that readiness has looked at the study as it was at `seen_revision`, and what it waits for.
    /// What came meanwhile keeps the study on the list.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn study_looked_at(
        &self,
        study: &StudyUid,
        seen_revision: i64,
        waits_for: &Value,
        look_again_at: Option<Millis>,
    ) -> Result<(), Error> {
        let statement = sql("update study
              set looked_revision = case when looked_revision < $2 then $2 else looked_revision end,
                  waits_for = $3, look_again_at = $4
              where study_uid = $1 and revision >= $2")
        .bind(study)
        .bind(seen_revision)
        .bind_json(waits_for)?
        .bind(look_again_at);
        let mut tx = self.db.begin_unflushed().await?;
        tx.execute(statement).await?;
        tx.commit().await
    }

    /// Orthanc says that the whole study is stable.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn study_is_stable(&self, study: &StudyUid, now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        touch(&mut tx, study, Look::AtOnce).await?;
        let statement =
            sql("update study set stable_at = $2, stable_revision = revision where study_uid = $1");
        tx.execute(statement.bind(study).bind(now)).await?;
        event::append(&mut tx, NewEvent::new("study.stable", now).study(study)).await?;
        self.commit(tx, &[Topic::Intake]).await
    }

    /// A person says that the study is whole as it is now.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn force_study(
        &self,
        study: &StudyUid,
        by: &str,
        request_id: Option<&str>,
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        touch(&mut tx, study, Look::AtOnce).await?;
        let statement = sql(
            "update study set forced_at = $2, forced_by = $3, forced_request_id = $4, forced_revision = revision
              where study_uid = $1",
        );
        tx.execute(statement.bind(study).bind(now).bind(by).bind(request_id)).await?;
        event::append(&mut tx, NewEvent::new("study.forced", now).study(study).by(by).request(request_id))
            .await?;
        self.commit(tx, &[Topic::Intake]).await
    }
}

/// Moves the study's revision on and asks for a look; the study stays locked until the commit.
pub(crate) async fn touch(tx: &mut Tx, study: &StudyUid, look: Look) -> Result<(), Error> {
    let statement = match look {
        Look::AtOnce => {
            "update study set revision = revision + 1, prompted_revision = revision + 1 where study_uid = $1"
        }
        Look::WhenQuiet => "update study set revision = revision + 1 where study_uid = $1",
    };
    match tx.execute(sql(statement).bind(study)).await? {
        0 => Err(Error::NoSuchStudy(study.clone())),
        _ => Ok(()),
    }
}

/// Keeps the study as it is until the commit, and gives its revision.
pub(crate) async fn lock(tx: &mut Tx, study: &StudyUid) -> Result<i64, Error> {
    let statement = sql(tx.dialect().lock_study).bind(study);
    match tx.row(statement).await? {
        Some(row) => row.int("revision"),
        None => Err(Error::NoSuchStudy(study.clone())),
    }
}

/// Makes the study known or notes that something arrived; gives the patient it was first seen with.
pub(crate) async fn arrive(
    tx: &mut Tx,
    header: &imaging::Header,
    now: Millis,
    look: Look,
) -> Result<Patient, Error> {
    let prompted = match look {
        Look::AtOnce => 1,
        Look::WhenQuiet => 0_i64,
    };
    let statement = sql(include_str!("sql/study_arrives.sql"))
        .bind(&header.study)
        .bind(prompted)
        .bind(&header.facts.patient.id)
        .bind(&header.facts.patient.issuer)
        .bind(&header.facts.patient.name)
        .bind(&header.facts.patient.birth_date)
        .bind(&header.facts.patient.sex)
        .bind(&header.facts.accession)
        .bind(&header.facts.study_date)
        .bind(&header.facts.study_time)
        .bind(&header.facts.study_description)
        .bind(now);
    match tx.row(statement).await? {
        Some(row) => read_patient(&row),
        None => Err(Error::NoSuchStudy(header.study.clone())),
    }
}

/// The patient that the study was first seen with.
pub(crate) async fn patient(tx: &mut Tx, study: &StudyUid) -> Result<Patient, Error> {
    let statement = sql("select patient_id, patient_issuer, patient_name, patient_birth_date, patient_sex
          from study where study_uid = $1");
    match tx.row(statement.bind(study)).await? {
        Some(row) => read_patient(&row),
        None => Err(Error::NoSuchStudy(study.clone())),
    }
}

pub(crate) fn received_event(study: &StudyUid, new: i64, now: Millis) -> NewEvent {
    NewEvent::new("study.received", now).study(study).detail(json!({ "instances": new }))
}

fn read_patient(row: &Row) -> Result<Patient, Error> {
    Ok(Patient {
        id: row.text("patient_id")?,
        issuer: row.text("patient_issuer")?,
        name: row.text("patient_name")?,
        birth_date: row.text("patient_birth_date")?,
        sex: row.text("patient_sex")?,
        ..Patient::default()
    })
}

impl Record for StudyRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            study: row.parsed("study_uid")?,
            revision: row.int("revision")?,
            looked_revision: row.int("looked_revision")?,
            waits_for: row.json_or_null("waits_for")?,
            patient: read_patient(row)?,
            accession_number: row.text("accession_number")?,
            study_date: row.text("study_date")?,
            study_time: row.text("study_time")?,
            study_description: row.text("study_description")?,
            first_arrival_at: row.millis("first_arrival_at")?,
            last_arrival_at: row.millis("last_arrival_at")?,
            stable: Stable::read(row)?,
            forced: read_forced(row)?,
            forgotten_at: row.millis_or_null("forgotten_at")?,
            modalities: read_modalities(row)?,
            series_count: row.count("series_count")?,
            instance_count: row.count("instance_count")?,
            is_held: row.int("open_holds")? > 0,
        })
    }
}

fn read_forced(row: &Row) -> Result<Option<Forced>, Error> {
    let Some(at) = row.millis_or_null("forced_at")? else { return Ok(None) };
    Ok(Some(Forced {
        at,
        by: row.text("forced_by")?,
        request_id: row.text_or_null("forced_request_id")?,
        revision: row.int("forced_revision")?,
    }))
}

fn read_modalities(row: &Row) -> Result<Vec<String>, Error> {
    let listed = row.text_or_null("modalities")?.unwrap_or_default();
    let mut modalities: Vec<String> =
        listed.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    modalities.sort();
    modalities.dedup();
    Ok(modalities)
}
