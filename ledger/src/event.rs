//! The event log: every change of state, in the transaction that made it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use imaging::StudyUid;
use serde_json::Value;

use crate::db::{Record, Row, Tx, sql};
use crate::{DeliveryId, Error, EventSeq, JobId, Ledger, Millis, Page, PageRequest, ResultId, Topic};

/// How long a number may be missing from the log before it counts as never used.
/// PostgreSQL gives numbers out before the commit, so that 8 may be seen before 7.
const GAP_PATIENCE: Duration = Duration::from_secs(5);

/// A row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub seq: EventSeq,
    pub at: Millis,
    /// What happened, such as `job.leased`.
    pub kind: String,
    pub study: Option<StudyUid>,
    pub job: Option<JobId>,
    pub result: Option<ResultId>,
    pub delivery: Option<DeliveryId>,
    /// Who did it: an account, a worker, a calling AE title, `overread`.
    pub actor: String,
    pub request_id: Option<String>,
    pub detail: Value,
}

/// A row to be added. What it is about is in its fields; `detail` holds no patient data.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub at: Millis,
    pub kind: &'static str,
    pub study: Option<StudyUid>,
    pub job: Option<JobId>,
    pub result: Option<ResultId>,
    pub delivery: Option<DeliveryId>,
    pub actor: String,
    pub request_id: Option<String>,
    pub detail: Value,
}

/// Which events are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub study: Option<StudyUid>,
    pub job: Option<JobId>,
}

impl NewEvent {
    /// An event about nothing yet, done by Overread itself.
    pub fn new(kind: &'static str, at: Millis) -> Self {
        Self {
            at,
            kind,
            study: None,
            job: None,
            result: None,
            delivery: None,
            actor: "overread".to_owned(),
            request_id: None,
            detail: Value::Null,
        }
    }

    #[must_use]
    pub fn study(mut self, study: &StudyUid) -> Self {
        self.study = Some(study.clone());
        self
    }

    #[must_use]
    pub fn job(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self
    }

    #[must_use]
    pub fn result(mut self, result: ResultId) -> Self {
        self.result = Some(result);
        self
    }

    #[must_use]
    pub fn delivery(mut self, delivery: DeliveryId) -> Self {
        self.delivery = Some(delivery);
        self
    }

    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    #[must_use]
    pub fn request(mut self, request_id: Option<&str>) -> Self {
        self.request_id = request_id.map(str::to_owned);
        self
    }

    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

impl Ledger {
    /// Adds one event that belongs to no other change.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_event(&self, event: NewEvent) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        append(&mut tx, event).await?;
        self.commit(tx, &[Topic::Events]).await
    }

    /// The events behind `seq`, oldest first, for a reader that must not miss any:
    /// it stops before a number whose transaction may still be under way.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events_after(&self, seq: EventSeq, limit: u32) -> Result<Vec<Event>, Error> {
        let statement = sql("select * from event where seq > $1 order by seq limit $2").bind(seq).bind(limit);
        let mut events: Vec<Event> = self.db.records(statement).await?;
        let settled =
            self.watermark.settled_below(events.last().map_or(0, |event| event.seq.0), Instant::now());
        let length = gapless_length(seq.0, &events, settled);
        events.truncate(length);
        Ok(events)
    }

    /// The newest event's place; a reader that wants only what comes begins behind it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_event(&self) -> Result<EventSeq, Error> {
        let row = self.db.row(sql("select coalesce(max(seq), 0) as seq from event")).await?;
        row.map_or(Ok(EventSeq(0)), |row| row.int("seq").map(EventSeq))
    }

    /// A page of the log, newest first, for people.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn events(&self, filter: &EventFilter, page: &PageRequest) -> Result<Page<Event>, Error> {
        let (_, before) = page.before();
        let statement = sql("select * from event
              where ($1 is null or study_uid = $1) and ($2 is null or job_id = $2) and seq < $3
              order by seq desc limit $4")
        .bind(filter.study.as_ref())
        .bind(filter.job)
        .bind(before.parse().unwrap_or(i64::MAX))
        .bind(page.limit() + 1);
        let events = self.db.records(statement).await?;
        Ok(Page::cut(events, page, |event: &Event| (event.at, event.seq.to_string())))
    }
}

/// Adds a row to the log, in the transaction of the change that it tells of.
pub(crate) async fn append(tx: &mut Tx, event: NewEvent) -> Result<(), Error> {
    let statement = sql(
        "insert into event (at, kind, study_uid, job_id, result_id, delivery_id, actor, request_id, detail)
              values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(event.at)
    .bind(event.kind)
    .bind(event.study.as_ref())
    .bind(event.job)
    .bind(event.result)
    .bind(event.delivery)
    .bind(event.actor)
    .bind(event.request_id)
    .bind_json(&event.detail)?;
    tx.execute(statement).await.map(drop)
}

/// Below which number every gap in the log is final: what this process saw long enough ago.
#[derive(Debug, Default)]
pub(crate) struct Watermark(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    settled: i64,
    newest: i64,
    /// What was the newest number at the beginning of the current wait.
    waiting: Option<(i64, Instant)>,
}

impl Watermark {
    fn settled_below(&self, newest: i64, now: Instant) -> i64 {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.newest = seen.newest.max(newest);
        match seen.waiting {
            Some((_, since)) if now.duration_since(since) < GAP_PATIENCE => {}
            Some((seq, _)) => {
                seen.settled = seq;
                seen.waiting = Some((seen.newest, now));
            }
            None => seen.waiting = Some((seen.newest, now)),
        }
        seen.settled
    }
}

/// How many of `events`, which follow `seq`, come before the first gap that may still be filled.
fn gapless_length(seq: i64, events: &[Event], settled: i64) -> usize {
    let mut expected = seq + 1;
    for (index, event) in events.iter().enumerate() {
        if event.seq.0 > expected && event.seq.0 > settled {
            return index;
        }
        expected = event.seq.0 + 1;
    }
    events.len()
}

impl Record for Event {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            seq: EventSeq(row.int("seq")?),
            at: row.millis("at")?,
            kind: row.text("kind")?,
            study: row.parsed_or_null("study_uid")?,
            job: row.parsed_or_null("job_id")?,
            result: row.parsed_or_null("result_id")?,
            delivery: row.int_or_null("delivery_id")?.map(DeliveryId),
            actor: row.text("actor")?,
            request_id: row.text_or_null("request_id")?,
            detail: row.json("detail")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(seqs: &[i64]) -> Vec<Event> {
        seqs.iter()
            .map(|seq| Event {
                seq: EventSeq(*seq),
                at: Millis(0),
                kind: String::new(),
                study: None,
                job: None,
                result: None,
                delivery: None,
                actor: String::new(),
                request_id: None,
                detail: Value::Null,
            })
            .collect()
    }

    #[test]
    fn a_reader_stops_before_a_number_that_may_still_come() {
        assert_eq!(gapless_length(4, &events(&[5, 6, 8, 9]), 0), 2);
        assert_eq!(gapless_length(4, &events(&[6]), 0), 0);
    }

    #[test]
    fn a_number_that_is_long_missing_is_passed_over() {
        assert_eq!(gapless_length(4, &events(&[5, 6, 8, 9]), 8), 4);
        assert_eq!(gapless_length(0, &events(&[500, 501, 503]), 501), 2);
    }

    #[test]
    fn what_was_seen_settles_after_the_patience() {
        let watermark = Watermark::default();
        let start = Instant::now();
        assert_eq!(watermark.settled_below(7, start), 0);
        assert_eq!(watermark.settled_below(9, start + GAP_PATIENCE / 2), 0);
        assert_eq!(watermark.settled_below(9, start + GAP_PATIENCE), 7);
        assert_eq!(watermark.settled_below(12, start + GAP_PATIENCE * 2), 9);
    }
}
