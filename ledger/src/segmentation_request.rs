//! Series that a program outside is to segment: asked for, handed out, answered.
//!
//! Each is handed to one program at a time. One that is not heard of for the length of its lease
//! loses it to the next; then it cannot let it fail or take it back, but what it hands in is taken all the
//! same, if nobody was faster.

use std::time::Duration;

use serde_json::{Value, json};

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{Error, Ledger, Millis, Page, PageRequest, SegmentationRequestId, Topic};

/// So often a request is handed out before it counts as one that nobody can carry out.
const ATTEMPTS_MAX: u32 = 5;

text_enum! {
    pub enum RequestState {
        Pending = "pending",
        Processing = "processing",
        Completed = "completed",
        Failed = "failed",
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct SegmentationRequest {
    pub id: SegmentationRequestId,
    /// The asker's word for the series.
    pub series: String,
    pub state: RequestState,
    /// In per cent.
    pub progress: u32,
    /// Who has it, or had it last.
    pub worker: Option<String>,
    pub requested_by: String,
    pub created_at: Millis,
    pub changed_at: Millis,
    /// What was handed in.
    pub outcome: Option<Value>,
    pub failure: Option<String>,
}

/// What a worker says about a request that it has.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerReport {
    /// It goes on, so far in per cent.
    Progress(u32),
    Completed(Value),
    Failed(String),
}

impl Ledger {
    /// Asks for a series; the request that is open for it already, where there is one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn request_segmentation(
        &self,
        series: &str,
        by: &str,
        request_id: Option<&str>,
        now: Millis,
    ) -> Result<SegmentationRequest, Error> {
        let mut tx = self.db.begin().await?;
        let insert =
            sql("insert into segmentation_request (series_id, state, requested_by, created_at, changed_at)
              values ($1, 'pending', $2, $3, $3)
              on conflict (series_id) where state in ('pending', 'processing') do nothing returning *")
            .bind(series)
            .bind(by)
            .bind(now);
        let added: Option<SegmentationRequest> = tx.record(insert).await?;
        let Some(added) = added else {
            let open = sql("select * from segmentation_request
                  where series_id = $1 and state in ('pending', 'processing')");
            // Between the two somebody may have closed it: then the caller asks again.
            return tx.record(open.bind(series)).await?.ok_or(Error::Interrupted);
        };
        note(&mut tx, &added, "segmentation.requested", by, request_id, now).await?;
        tx.is_about(added.id);
        self.commit(tx, &[Topic::Events]).await?;
        Ok(added)
    }

    /// Hands the oldest request that nobody has to `worker`; nothing when there is none.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_segmentation(
        &self,
        worker: &str,
        lease: Duration,
        now: Millis,
    ) -> Result<Option<SegmentationRequest>, Error> {
        let mut tx = self.db.begin().await?;
        let given_up = sql("update segmentation_request
              set state = 'failed', lease_until = null, changed_at = $1, failure = 'no worker finished it'
              where state = 'processing' and lease_until < $1 and attempts >= $2 returning *");
        for failed in tx.records(given_up.bind(now).bind(ATTEMPTS_MAX)).await? {
            note(&mut tx, &failed, "segmentation.failed", "overread", None, now).await?;
        }
        // The condition stands twice: PostgreSQL asks it again of a row that another claim changed
        // meanwhile, and the loser of the two gets nothing.
        let claim = sql("update segmentation_request
              set state = 'processing', worker = $2, lease_until = $3, attempts = attempts + 1, progress = 0,
                  changed_at = $1
              where request_id = (select request_id from segmentation_request
                                  where state = 'pending' or (state = 'processing' and lease_until < $1)
                                  order by request_id limit 1)
                and (state = 'pending' or (state = 'processing' and lease_until < $1))
              returning *")
        .bind(now)
        .bind(worker)
        .bind(now.plus(lease));
        let claimed: Option<SegmentationRequest> = tx.record(claim).await?;
        if let Some(claimed) = &claimed {
            note(&mut tx, claimed, "segmentation.leased", worker, None, now).await?;
        }
        self.commit(tx, &[Topic::Events]).await?;
        Ok(claimed)
    }

    /// Takes down what a worker says. `None` when there is no such request; the request as it is,
    /// unchanged, when it is over, or when another worker has it and nothing is handed in.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn report_segmentation(
        &self,
        id: SegmentationRequestId,
        worker: &str,
        report: &WorkerReport,
        lease: Duration,
        now: Millis,
    ) -> Result<Option<SegmentationRequest>, Error> {
        let (state, progress, outcome, failure, kind) = match report {
            WorkerReport::Progress(so_far) => {
                (RequestState::Processing, Some(*so_far), None, None, "segmentation.progress")
            }
            WorkerReport::Completed(outcome) => {
                (RequestState::Completed, Some(100), Some(outcome), None, "segmentation.completed")
            }
            WorkerReport::Failed(reason) => {
                (RequestState::Failed, None, None, Some(reason), "segmentation.failed")
            }
        };
        let until = matches!(report, WorkerReport::Progress(_)).then(|| now.plus(lease));
        let mut tx = self.db.begin().await?;
        let update = sql("update segmentation_request
              set state = $2, worker = $3, lease_until = $4, changed_at = $5, progress = coalesce($6, progress),
                  outcome = $7, failure = $8
              where request_id = $1 and state in ('pending', 'processing')
                and ($2 = 'completed' or worker is null or worker = $3 or lease_until < $5)
              returning *")
        .bind(id)
        .bind(state)
        .bind(worker)
        .bind(until)
        .bind(now)
        .bind(progress)
        .bind(outcome.map(Value::to_string))
        .bind(failure);
        let updated: Option<SegmentationRequest> = tx.record(update).await?;
        let Some(updated) = updated else {
            return tx.record(sql("select * from segmentation_request where request_id = $1").bind(id)).await;
        };
        note(&mut tx, &updated, kind, worker, None, now).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some(updated))
    }

    /// A page of all requests, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn segmentation_requests(
        &self,
        page: &PageRequest,
    ) -> Result<Page<SegmentationRequest>, Error> {
        let (_, before) = page.before();
        let statement =
            sql("select * from segmentation_request where request_id < $1 order by request_id desc limit $2")
                .bind(before.parse().unwrap_or(i64::MAX))
                .bind(page.limit() + 1);
        let rows = self.db.records(statement).await?;
        Ok(Page::cut(rows, page, |row: &SegmentationRequest| (row.created_at, row.id.to_string())))
    }
}

async fn note(
    tx: &mut Tx,
    request: &SegmentationRequest,
    kind: &'static str,
    actor: &str,
    request_id: Option<&str>,
    now: Millis,
) -> Result<(), Error> {
    let detail = json!({ "request": request.id, "progress": request.progress });
    event::append(tx, NewEvent::new(kind, now).by(actor).request(request_id).detail(detail)).await
}

impl Record for SegmentationRequest {
    fn read(row: &Row) -> Result<Self, Error> {
        let outcome = row.text_or_null("outcome")?;
        Ok(Self {
            id: SegmentationRequestId(row.int("request_id")?),
            series: row.text("series_id")?,
            state: row.parsed("state")?,
            progress: row.count("progress")?,
            worker: row.text_or_null("worker")?,
            requested_by: row.text("requested_by")?,
            created_at: row.millis("created_at")?,
            changed_at: row.millis("changed_at")?,
            outcome: outcome.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::Json)?,
            failure: row.text_or_null("failure")?,
        })
    }
}
