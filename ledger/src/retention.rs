//! Forgetting: which studies nobody needs any more, and emptying their rows.
//! When a study is old enough is decided above; the bytes are deleted above, too.

use imaging::{SeriesUid, SopInstanceUid, StudyUid};

use crate::db::{Tx, sql};
use crate::event::{self, NewEvent};
use crate::{Error, Ledger, Millis, Topic, study, wanted_again};

/// A study that no job and no delivery needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgettable {
    pub study: StudyUid,
    pub last_arrival_at: Millis,
}

impl Ledger {
    /// Studies in which nothing has come since `before` and that no unfinished job and no
    /// unproved delivery needs, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forgettable_studies(&self, before: Millis, limit: u32) -> Result<Vec<Forgettable>, Error> {
        let statement = sql(include_str!("sql/forgettable_studies.sql")).bind(before).bind(limit);
        let rows = self.db.rows(statement).await?;
        rows.iter()
            .map(|row| {
                Ok(Forgettable {
                    study: row.parsed("study_uid")?,
                    last_arrival_at: row.millis("last_arrival_at")?,
                })
            })
            .collect()
    }

    /// Removes a study's instances and what names its patient; jobs, results and events stay.
    /// Gives the instances whose bytes are to be deleted now; nothing, and changes nothing,
    /// when something came since `before` or somebody needs the study again.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn forget_study(
        &self,
        study: &StudyUid,
        before: Millis,
        now: Millis,
    ) -> Result<Vec<(SeriesUid, SopInstanceUid)>, Error> {
        let mut tx = self.db.begin().await?;
        study::lock(&mut tx, study).await?;
        if !is_forgettable(&mut tx, study, before).await? {
            return Ok(Vec::new());
        }
        wanted_again::forget(&mut tx, study).await?;
        let deleted = sql("delete from instance where study_uid = $1 returning series_uid, sop_instance_uid");
        let rows = tx.rows(deleted.bind(study)).await?;
        tx.execute(sql(include_str!("sql/forget_study.sql")).bind(study).bind(now)).await?;
        // What doctors wrote may name the patient; what they decided stays.
        tx.execute(sql("update review set comment = null where study_uid = $1").bind(study)).await?;
        tx.execute(sql("update series set instance_count = 0 where study_uid = $1").bind(study)).await?;
        let detail = serde_json::json!({ "instances": rows.len() });
        event::append(&mut tx, NewEvent::new("study.forgotten", now).study(study).detail(detail)).await?;
        self.commit(tx, &[Topic::Intake]).await?;
        rows.iter().map(|row| Ok((row.parsed("series_uid")?, row.parsed("sop_instance_uid")?))).collect()
    }
}

async fn is_forgettable(tx: &mut Tx, study: &StudyUid, before: Millis) -> Result<bool, Error> {
    let statement = sql(include_str!("sql/is_forgettable.sql")).bind(study).bind(before);
    Ok(tx.row(statement).await?.is_some())
}
