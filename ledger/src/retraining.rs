//! Retrainings: runs of a package's own training command over reviewed cases.
//!
//! ```text
//! queued → running → shadow → promoted | discarded
//!             └──────────────→ failed: reason
//! ```
//!
//! A run is claimed with a lease. A node that died while it ran leaves a lease that ends, and another claim
//! begins again; how often that may happen is the runner's to decide. What a run made is a version that only
//! watches, until an administrator who saw its report promotes it.

use serde_json::{Value, json};

use crate::db::{Record, Row, Tx, sql};
use crate::event::{self, NewEvent};
use crate::text_enum::text_enum;
use crate::{
    AuditKey, BootId, Error, Ledger, Millis, NewAudit, NodeId, Page, PageRequest, RetrainingId, Topic, audit,
};

text_enum! {
    pub enum RetrainingState {
        Queued = "queued",
        Running = "running",
        /// A new version is in service and only watches.
        Shadow = "shadow",
        Promoted = "promoted",
        Discarded = "discarded",
        Failed = "failed",
    }
}

#[derive(Debug, Clone)]
pub struct NewRetraining {
    pub model_id: String,
    pub base_version: String,
    /// The version that is to be made.
    pub new_version: String,
    pub actor: String,
    pub request_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Retraining {
    pub id: RetrainingId,
    pub model_id: String,
    pub base_version: String,
    pub new_version: String,
    pub actor: String,
    pub request_id: Option<String>,
    pub created_at: Millis,
    pub state: RetrainingState,
    pub state_since: Millis,
    /// Grows with every change of state.
    pub number: u32,
    /// How often it was claimed.
    pub attempts: u32,
    pub failure: Option<String>,
    pub report: Option<Value>,
}

/// What came of a run.
#[derive(Debug, Clone, Copy)]
pub struct RetrainingOutcome<'a> {
    pub report: &'a Value,
    /// None: a new version watches.
    pub failure: Option<&'a str>,
}

/// What became of a decision; all but the first changed nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum RetrainingDecided {
    Done(Box<Retraining>),
    /// Something changed meanwhile; this is its number now.
    Overtaken(u32),
    /// This cannot be done to a retraining that stands there.
    Impossible(RetrainingState),
}

impl Ledger {
    /// Queues a run, with its row of the audit trail. Nothing when one of the model is already on its way.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_retraining(
        &self,
        new: &NewRetraining,
        key: &AuditKey,
        now: Millis,
    ) -> Result<Option<RetrainingId>, Error> {
        let id = RetrainingId::generate();
        let mut tx = self.db.begin().await?;
        let insert = sql("insert into retraining
                 (retraining_id, model_id, base_version, new_version, actor, request_id, created_at, state, state_since)
              values ($1, $2, $3, $4, $5, $6, $7, 'queued', $7)
              on conflict do nothing")
        .bind(id)
        .bind(&new.model_id)
        .bind(&new.base_version)
        .bind(&new.new_version)
        .bind(&new.actor)
        .bind(new.request_id.as_ref())
        .bind(now);
        if tx.execute(insert).await? == 0 {
            return Ok(None);
        }
        let detail = json!({ "retraining": id, "model": new.model_id, "version": new.new_version });
        let event = NewEvent::new("retraining.queued", now).by(&new.actor).request(new.request_id.as_deref());
        event::append(&mut tx, event.detail(detail.clone())).await?;
        let row = NewAudit {
            at: now,
            actor: new.actor.clone(),
            action: "model.retrain".to_owned(),
            subject: new.model_id.clone(),
            request_id: new.request_id.clone(),
            detail,
        };
        audit::append(&mut tx, key, &row).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some(id))
    }

    /// Hands the oldest run that waits, or whose node died, to this node until `lease_until`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_retraining(
        &self,
        node: &NodeId,
        boot: &BootId,
        lease_until: Millis,
        now: Millis,
    ) -> Result<Option<Retraining>, Error> {
        let mut tx = self.db.begin().await?;
        let claim = sql("update retraining
              set state = 'running', node_id = $1, boot_id = $2, lease_until = $3, attempts = attempts + 1,
                  state_since = $4, number = number + 1
              where retraining_id = (select retraining_id from retraining
                                     where state = 'queued' or (state = 'running' and lease_until <= $4)
                                     order by created_at, retraining_id limit 1)
                and (state = 'queued' or lease_until <= $4)
              returning *")
        .bind(node)
        .bind(boot)
        .bind(lease_until)
        .bind(now);
        let Some(claimed) = tx.record::<Retraining>(claim).await? else { return Ok(None) };
        event::append(&mut tx, claimed.event("retraining.started", now)).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some(claimed))
    }

    /// Lengthens the lease; false when the run is somebody else's by now.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn renew_retraining(
        &self,
        id: RetrainingId,
        boot: &BootId,
        lease_until: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin_unflushed().await?;
        let renew = sql("update retraining set lease_until = $3
              where retraining_id = $1 and boot_id = $2 and state = 'running'");
        let renewed = tx.execute(renew.bind(id).bind(boot).bind(lease_until)).await? > 0;
        tx.commit().await?;
        Ok(renewed)
    }

    /// Ends the leases that earlier runs of this node's process left behind.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn take_back_retrainings(
        &self,
        node: &NodeId,
        boot: &BootId,
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let end = sql("update retraining set lease_until = $3
              where node_id = $1 and boot_id <> $2 and state = 'running'");
        tx.execute(end.bind(node).bind(boot).bind(now)).await?;
        tx.commit().await
    }

    /// Gives a run back that a stopping node did not finish; it does not count as an attempt.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn give_back_retraining(
        &self,
        id: RetrainingId,
        boot: &BootId,
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let give_back = sql("update retraining
              set state = 'queued', node_id = null, boot_id = null, lease_until = null,
                  attempts = attempts - 1, state_since = $3, number = number + 1
              where retraining_id = $1 and boot_id = $2 and state = 'running'");
        tx.execute(give_back.bind(id).bind(boot).bind(now)).await?;
        tx.commit().await
    }

    /// Notes what came of a run: a version that watches, with its report, or why there is none. False when the
    /// run is somebody else's by now.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn finish_retraining(
        &self,
        id: RetrainingId,
        boot: &BootId,
        outcome: &RetrainingOutcome<'_>,
        now: Millis,
    ) -> Result<bool, Error> {
        let (state, kind) = match outcome.failure {
            None => (RetrainingState::Shadow, "retraining.shadow"),
            Some(_) => (RetrainingState::Failed, "retraining.failed"),
        };
        let mut tx = self.db.begin().await?;
        let finish = sql("update retraining
              set state = $3, report = $4, failure = $5, node_id = null, boot_id = null, lease_until = null,
                  state_since = $6, number = number + 1
              where retraining_id = $1 and boot_id = $2 and state = 'running'
              returning *")
        .bind(id)
        .bind(boot)
        .bind(state)
        .bind(outcome.report.to_string())
        .bind(outcome.failure)
        .bind(now);
        let Some(finished) = tx.record::<Retraining>(finish).await? else { return Ok(false) };
        event::append(&mut tx, finished.event(kind, now)).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(true)
    }

    /// Carries out what a person decided about a version that watches, if he saw its last state; with its row of
    /// the audit trail.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn decide_retraining(
        &self,
        id: RetrainingId,
        seen: u32,
        to: RetrainingState,
        row: &NewAudit,
        key: &AuditKey,
    ) -> Result<Option<RetrainingDecided>, Error> {
        let mut tx = self.db.begin().await?;
        let locked = sql("update retraining set number = number where retraining_id = $1 returning *");
        let Some(found) = tx.record::<Retraining>(locked.bind(id)).await? else { return Ok(None) };
        if found.number != seen {
            return Ok(Some(RetrainingDecided::Overtaken(found.number)));
        }
        if found.state != RetrainingState::Shadow {
            return Ok(Some(RetrainingDecided::Impossible(found.state)));
        }
        let decided = set_state(&mut tx, id, to, row.at).await?;
        let kind =
            if to == RetrainingState::Promoted { "retraining.promoted" } else { "retraining.discarded" };
        let event = decided.event(kind, row.at).by(&row.actor).request(row.request_id.as_deref());
        event::append(&mut tx, event).await?;
        audit::append(&mut tx, key, row).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some(RetrainingDecided::Done(Box::new(decided))))
    }

    /// A promoted version could not be put in service after all: it watches again.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn take_promotion_back(&self, id: RetrainingId, why: &str, now: Millis) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let back = set_state(&mut tx, id, RetrainingState::Shadow, now).await?;
        let event = back.event("retraining.shadow", now);
        let detail =
            json!({ "retraining": id, "model": back.model_id, "version": back.new_version, "reason": why });
        event::append(&mut tx, event.detail(detail)).await?;
        self.commit(tx, &[Topic::Events]).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn retraining(&self, id: RetrainingId) -> Result<Option<Retraining>, Error> {
        self.db.record(sql("select * from retraining where retraining_id = $1").bind(id)).await
    }

    /// All in that state, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retrainings_in(&self, state: RetrainingState) -> Result<Vec<Retraining>, Error> {
        self.db
            .records(
                sql("select * from retraining where state = $1 order by created_at, retraining_id")
                    .bind(state),
            )
            .await
    }

    /// A page of retrainings, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retrainings(
        &self,
        model_id: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Retraining>, Error> {
        let (at, id) = page.before();
        let statement = sql("select * from retraining
              where ($4 is null or model_id = $4) and (created_at, retraining_id) < ($1, $2)
              order by created_at desc, retraining_id desc limit $3");
        let statement = statement.bind(at).bind(id).bind(page.limit() + 1).bind(model_id);
        let rows = self.db.records(statement).await?;
        Ok(Page::cut(rows, page, |one: &Retraining| (one.created_at, one.id.to_string())))
    }
}

async fn set_state(
    tx: &mut Tx,
    id: RetrainingId,
    to: RetrainingState,
    now: Millis,
) -> Result<Retraining, Error> {
    let update = sql("update retraining set state = $2, state_since = $3, number = number + 1
          where retraining_id = $1 returning *");
    let changed = tx.record(update.bind(id).bind(to).bind(now)).await?;
    changed.ok_or(Error::NoSuchRetraining(id))
}

impl Retraining {
    fn event(&self, kind: &'static str, now: Millis) -> NewEvent {
        let detail = json!({
            "retraining": self.id, "model": self.model_id, "version": self.new_version, "reason": self.failure,
        });
        NewEvent::new(kind, now).request(self.request_id.as_deref()).detail(detail)
    }
}

impl Record for Retraining {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.parsed("retraining_id")?,
            model_id: row.text("model_id")?,
            base_version: row.text("base_version")?,
            new_version: row.text("new_version")?,
            actor: row.text("actor")?,
            request_id: row.text_or_null("request_id")?,
            created_at: row.millis("created_at")?,
            state: row.parsed("state")?,
            state_since: row.millis("state_since")?,
            number: row.count("number")?,
            attempts: row.count("attempts")?,
            failure: row.text_or_null("failure")?,
            report: row.json_or_null("report")?,
        })
    }
}
