//! Batches: studies that somebody asked for all at once, and what became of each.
//!
//! ```text
//! waiting → running → succeeded | failed
//! ```
//!
//! An item that was never possible is failed from the beginning. The last item that is settled
//! finishes its batch, in the same transaction.

use imaging::StudyUid;
use serde_json::json;

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{BatchId, Error, Ledger, Millis, Page, PageRequest, Topic};

text_enum! {
    pub enum BatchItemState {
        Waiting = "waiting",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
    }
}

#[derive(Debug, Clone)]
pub struct NewBatch {
    pub actor: String,
    pub request_id: Option<String>,
    pub items: Vec<NewBatchItem>,
}

#[derive(Debug, Clone)]
pub struct NewBatchItem {
    /// Which entry of the request it comes from, counted from 1.
    pub position: u32,
    /// The study, or why there is none.
    pub study: Result<StudyUid, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    pub actor: String,
    pub request_id: Option<String>,
    pub created_at: Millis,
    pub finished_at: Option<Millis>,
    pub tally: Tally,
}

/// How many items are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub waiting: u32,
    pub running: u32,
    pub succeeded: u32,
    pub failed: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    pub batch: BatchId,
    pub number: u32,
    pub position: u32,
    pub study: Option<StudyUid>,
    pub state: BatchItemState,
    pub reason: Option<String>,
    /// The study's revision that is to be analysed.
    pub revision: Option<i64>,
    /// Who asked for the batch.
    pub actor: String,
}

/// A batch with its counts; what else is wanted follows.
macro_rules! batches {
    ($rest:literal) => {
        concat!(
            "select batch.*,
                (select count(*) from batch_item i where i.batch_id = batch.batch_id and i.state = 'waiting') as waiting,
                (select count(*) from batch_item i where i.batch_id = batch.batch_id and i.state = 'running') as running,
                (select count(*) from batch_item i where i.batch_id = batch.batch_id and i.state = 'succeeded') as succeeded,
                (select count(*) from batch_item i where i.batch_id = batch.batch_id and i.state = 'failed') as failed
             from batch ",
            $rest
        )
    };
}

impl Ledger {
    /// Takes a batch down, with what of it is impossible already.
    ///
    /// # Errors
    /// [`Error::NoSuchStudy`], or when the database does not carry it out.
    pub async fn add_batch(&self, new: &NewBatch, now: Millis) -> Result<BatchId, Error> {
        let id = BatchId::generate();
        let mut tx = self.db.begin().await?;
        let insert =
            sql("insert into batch (batch_id, actor, request_id, created_at) values ($1, $2, $3, $4)");
        tx.execute(insert.bind(id).bind(&new.actor).bind(new.request_id.as_ref()).bind(now)).await?;
        for (item, number) in new.items.iter().zip(1_u32..) {
            let (study, reason) = match &item.study {
                Ok(study) => (Some(study), None),
                Err(reason) => (None, Some(reason)),
            };
            let state = if study.is_some() { BatchItemState::Waiting } else { BatchItemState::Failed };
            let insert = sql(
                "insert into batch_item (batch_id, number, position, study_uid, state, reason, changed_at)
                  values ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(id)
            .bind(number)
            .bind(item.position)
            .bind(study)
            .bind(state)
            .bind(reason)
            .bind(now);
            tx.execute(insert).await?;
        }
        let event = NewEvent::new("batch.added", now).by(&new.actor).request(new.request_id.as_deref());
        event::append(&mut tx, event.detail(json!({ "batch": id, "items": new.items.len() }))).await?;
        finish(&mut tx, id, now).await?;
        tx.is_about(id);
        self.commit(tx, &[Topic::Events]).await?;
        Ok(id)
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.db.record(sql(batches!("where batch_id = $1")).bind(id)).await
    }

    /// A page of batches, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn batches(&self, page: &PageRequest) -> Result<Page<Batch>, Error> {
        let (at, id) = page.before();
        let statement = sql(batches!(
            "where (created_at, batch_id) < ($1, $2) order by created_at desc, batch_id desc limit $3"
        ));
        let rows = self.db.records(statement.bind(at).bind(id).bind(page.limit() + 1)).await?;
        Ok(Page::cut(rows, page, |batch: &Batch| (batch.created_at, batch.id.to_string())))
    }

    /// The items of a batch that are in that state, in their order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn batch_items(&self, id: BatchId, state: BatchItemState) -> Result<Vec<BatchItem>, Error> {
        let statement = sql("select batch_item.*, batch.actor from batch_item
              join batch on batch.batch_id = batch_item.batch_id
              where batch_item.batch_id = $1 and state = $2 order by number");
        self.db.records(statement.bind(id).bind(state)).await
    }

    /// Items of all batches that are in that state, the oldest batch first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open_batch_items(&self, state: BatchItemState, limit: u32) -> Result<Vec<BatchItem>, Error> {
        let statement = sql("select batch_item.*, batch.actor from batch_item
              join batch on batch.batch_id = batch_item.batch_id
              where state = $1 order by batch.created_at, batch_item.batch_id, number limit $2");
        self.db.records(statement.bind(state).bind(limit)).await
    }

    /// Notes that the item's study has been asked for, as it is at `revision`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn start_batch_item(&self, item: &BatchItem, revision: i64, now: Millis) -> Result<(), Error> {
        let update = sql("update batch_item set state = 'running', revision = $3, changed_at = $4
              where batch_id = $1 and number = $2 and state = 'waiting'")
        .bind(item.batch)
        .bind(item.number)
        .bind(revision)
        .bind(now);
        let mut tx = self.db.begin().await?;
        tx.execute(update).await?;
        tx.commit().await
    }

    /// Notes what became of an item; the last one finishes its batch.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn settle_batch_item(
        &self,
        item: &BatchItem,
        outcome: Result<(), &str>,
        now: Millis,
    ) -> Result<(), Error> {
        let state = if outcome.is_ok() { BatchItemState::Succeeded } else { BatchItemState::Failed };
        let mut tx = self.db.begin().await?;
        // Two nodes that settle the last two items each have to see the other's.
        tx.rows(
            sql("update batch set created_at = created_at where batch_id = $1 returning batch_id")
                .bind(item.batch),
        )
        .await?;
        let update = sql("update batch_item set state = $3, reason = $4, changed_at = $5
              where batch_id = $1 and number = $2 and state in ('waiting', 'running')")
        .bind(item.batch)
        .bind(item.number)
        .bind(state)
        .bind(outcome.err())
        .bind(now);
        if tx.execute(update).await? == 0 {
            return Ok(());
        }
        let detail = json!({ "batch": item.batch, "position": item.position, "state": state });
        let event = NewEvent::new("batch.item", now).detail(detail);
        let event = match &item.study {
            Some(study) => event.study(study),
            None => event,
        };
        event::append(&mut tx, event).await?;
        finish(&mut tx, item.batch, now).await?;
        self.commit(tx, &[Topic::Events]).await
    }
}

/// Closes the batch when all of its items are settled.
async fn finish(tx: &mut Tx, id: BatchId, now: Millis) -> Result<(), Error> {
    let update = sql("update batch set finished_at = $2
          where batch_id = $1 and finished_at is null
            and not exists (select 1 from batch_item
                            where batch_item.batch_id = $1 and state in ('waiting', 'running'))
          returning batch_id");
    if tx.row(update.bind(id).bind(now)).await?.is_none() {
        return Ok(());
    }
    let batch: Option<Batch> = tx.record(sql(batches!("where batch_id = $1")).bind(id)).await?;
    let tally = batch.map(|batch| batch.tally).unwrap_or_default();
    let detail = json!({ "batch": id, "succeeded": tally.succeeded, "failed": tally.failed });
    event::append(tx, NewEvent::new("batch.finished", now).detail(detail)).await
}

impl Record for Batch {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("batch_id")?,
            actor: row.text("actor")?,
            request_id: row.text_or_null("request_id")?,
            created_at: row.millis("created_at")?,
            finished_at: row.millis_or_null("finished_at")?,
            tally: Tally {
                waiting: row.count("waiting")?,
                running: row.count("running")?,
                succeeded: row.count("succeeded")?,
                failed: row.count("failed")?,
            },
        })
    }
}

impl Record for BatchItem {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            batch: row.parsed("batch_id")?,
            number: row.count("number")?,
            position: row.count("position")?,
            study: row.parsed_or_null("study_uid")?,
            state: row.parsed("state")?,
            reason: row.text_or_null("reason")?,
            revision: row.int_or_null("revision")?,
            actor: row.text("actor")?,
        })
    }
}
