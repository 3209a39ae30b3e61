//! Carries results to one destination until they have arrived.
//!
//! A destination that does not answer is left alone as a whole, with growing pauses, for
//! days if need be. One that answers but fails over a single object has only that object
//! (and what is behind it of the same study) tried again. A refused object is parked with
//! the reason, and a person decides. Nothing counts as arrived before the destination was
//! asked anew and had it.

mod commitment;

use std::{sync::Arc, time::Duration};

use imaging::StudyUid;
use ledger::{ArtifactId, Changes, Delivery, DeliveryLease, Ledger, Millis, Parcel, RecipientId, Topic};
use serde::Deserialize;
use serde_json::Value;
use spool::{InstanceKey, Spool};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    config::PipelineConfig,
    destination::{Destination, Freight, Proof, SendError, Shipment, chain},
    kill_point::{self, KillPoint},
    notify::Notice,
};

/// The net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(2);
/// An object that its destination has failed over so often, while answering otherwise, is parked.
const ATTEMPTS_MAX: u32 = 15;
/// How long a destination may take to show what it has taken, before it is sent again.
const SHOWS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// A destination that takes an object and never shows it is not sent it more often.
const UNSEEN_SENDS_MAX: u32 = 4;
/// Proofs that are asked for in one round.
const PROOFS_MAX: u32 = 50;

/// The outbox of one destination.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) name: String,
    pub(crate) destination: Destination,
    /// Whether messages to it name the patient.
    pub(crate) names_patients: bool,
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) config: Arc<PipelineConfig>,
}

/// Why an object cannot even be tried.
enum NotShippable {
    /// For good; a person must look.
    Broken(String),
    Ledger(ledger::Error),
}

impl From<ledger::Error> for NotShippable {
    fn from(error: ledger::Error) -> Self {
        Self::Ledger(error)
    }
}

fn recipient_of(parcel: &Parcel) -> Option<RecipientId> {
    let Parcel::Message { payload, .. } = parcel else { return None };
    payload["to"].as_i64().map(RecipientId)
}

impl Outbox {
    /// Sends what is due, until `shutdown`; an object that is being sent then is finished.
    pub(crate) async fn run_sender(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.ledger.changed(Topic::Deliveries);
        while !shutdown.is_cancelled() {
            if let Err(error) = self.send_due(&shutdown).await {
                self.note_ledger_error(&error);
            }
            self.wait(&mut changes, &shutdown).await;
        }
    }

    /// Asks for proof of what was sent, until `shutdown`.
    pub(crate) async fn run_prover(self: Arc<Self>, shutdown: CancellationToken) {
        let mut changes = self.ledger.changed(Topic::Deliveries);
        while !shutdown.is_cancelled() {
            if let Err(error) = self.prove_due().await {
                self.note_ledger_error(&error);
            }
            self.wait(&mut changes, &shutdown).await;
        }
    }

    async fn wait(&self, changes: &mut Changes, shutdown: &CancellationToken) {
        let now = self.config.clock.now();
        let due = self.ledger.next_delivery_due(&self.name, now).await.ok().flatten();
        let pause = due.map_or(SLOW_TICK, |due| due.since(now).min(SLOW_TICK));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = changes.next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn note_ledger_error(&self, error: &ledger::Error) {
        warn!(destination = %self.name, error = %chain(error), "the outbox of {} cannot use the ledger", self.name);
    }

    async fn send_due(&self, shutdown: &CancellationToken) -> Result<(), ledger::Error> {
        while !shutdown.is_cancelled() {
            let lease = self.config.leases.delivery;
            let (node, boot) = (&self.config.node, &self.config.boot);
            let claimed =
                self.ledger.claim_delivery(&self.name, node, boot, lease, self.config.clock.now()).await?;
            let Some((delivery, lease)) = claimed else { return Ok(()) };
            kill_point::pass(KillPoint::DeliveryClaimed);
            self.send_one(&delivery, lease).await?;
        }
        Ok(())
    }

    async fn send_one(&self, delivery: &Delivery, lease: DeliveryLease) -> Result<(), ledger::Error> {
        let recipient = recipient_of(&delivery.parcel);
        let freight = match self.freight(delivery).await {
            Ok(freight) => freight,
            Err(NotShippable::Ledger(error)) => return Err(error),
            Err(NotShippable::Broken(reason)) => return self.park(delivery, lease, &reason).await,
        };
        let sent = self.renewing(lease, self.destination.send(freight)).await;
        let now = self.config.clock.now();
        if let (Err(SendError::Gone), Some(recipient)) = (&sent, recipient) {
            self.ledger.forget_recipient(recipient).await?;
        }
        match sent {
            Ok(()) | Err(SendError::Gone) => {
                kill_point::pass(KillPoint::Sent);
                self.ledger.delivered(lease, now).await?;
                kill_point::pass(KillPoint::Delivered);
                self.ledger.destination_reached(&self.name, now).await?;
                metrics::counter!("overread_deliveries_total", "destination" => self.name.clone(), "outcome" => "sent")
                    .increment(1);
                metrics::gauge!("overread_destination_up", "destination" => self.name.clone()).set(1.0);
                Ok(())
            }
            Err(SendError::Refused(reason)) => {
                self.ledger.destination_reached(&self.name, now).await?;
                self.park(delivery, lease, &reason).await
            }
            Err(SendError::Unavailable(reason)) => self.unavailable(delivery, lease, &reason).await,
        }
    }

    /// Does `work` while the lease is renewed: a large object over a slow line may take long.
    async fn renewing<T>(&self, lease: DeliveryLease, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let period = self.config.leases.delivery / 3;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(period) => {
                    let until = self.config.clock.now().plus(self.config.leases.delivery);
                    if let Err(error) = self.ledger.renew_delivery(lease, until).await {
                        self.note_ledger_error(&error);
                    }
                }
            }
        }
    }

    /// The destination, or only this object? A destination that answers a simple question is well.
    async fn unavailable(
        &self,
        delivery: &Delivery,
        lease: DeliveryLease,
        reason: &str,
    ) -> Result<(), ledger::Error> {
        let spread = delivery.id.0.unsigned_abs();
        match self.destination.check().await {
            Ok(()) if delivery.attempts >= ATTEMPTS_MAX => {
                self.park(delivery, lease, &format!("tried {} times: {reason}", delivery.attempts)).await
            }
            Ok(()) => {
                let now = self.config.clock.now();
                let retry_at = now.plus(self.config.retries.delivery.after(delivery.attempts, spread));
                warn!(destination = %self.name, delivery.id = %delivery.id, %reason, "delivery {} to {} failed, it is tried again", delivery.id, self.name);
                self.ledger.postpone_delivery(lease, reason, retry_at, now).await?;
                Ok(())
            }
            Err(_) => self.destination_is_down(lease, reason, spread).await,
        }
    }

    async fn destination_is_down(
        &self,
        lease: DeliveryLease,
        reason: &str,
        spread: u64,
    ) -> Result<(), ledger::Error> {
        let now = self.config.clock.now();
        let before = self.ledger.destination(&self.name).await?.map_or(0, |known| known.failures);
        let retry_at = now.plus(self.config.retries.destination.after(before + 1, spread));
        // The destination first: else the other sender would run into the same wall.
        let failures = self.ledger.destination_failed(&self.name, reason, retry_at, now).await?;
        self.ledger.postpone_delivery(lease, reason, now, now).await?;
        metrics::gauge!("overread_destination_up", "destination" => self.name.clone()).set(0.0);
        if failures == 1 {
            error!(destination = %self.name, %reason, "destination {} cannot be used; results wait", self.name);
        } else {
            debug!(destination = %self.name, %reason, failures, "destination {} still cannot be used", self.name);
        }
        Ok(())
    }

    async fn park(
        &self,
        delivery: &Delivery,
        lease: DeliveryLease,
        reason: &str,
    ) -> Result<(), ledger::Error> {
        error!(destination = %self.name, delivery.id = %delivery.id, %reason, "delivery {} to {} is parked, its study waits for a person", delivery.id, self.name);
        metrics::counter!("overread_deliveries_total", "destination" => self.name.clone(), "outcome" => "parked")
            .increment(1);
        self.ledger.park_delivery(lease, reason, self.config.clock.now()).await?;
        Ok(())
    }

    async fn freight(&self, delivery: &Delivery) -> Result<Freight, NotShippable> {
        match &delivery.parcel {
            Parcel::Artifact(id) => self.shipment(*id).await.map(Freight::Object),
            Parcel::Message { study, payload, .. } => {
                self.notice(study.as_ref(), payload).await.map(Freight::Message)
            }
        }
    }

    async fn notice(&self, study: Option<&StudyUid>, payload: &Value) -> Result<Notice, NotShippable> {
        let mut notice = Notice::deserialize(payload)
            .map_err(|error| NotShippable::Broken(format!("it is no message: {error}")))?;
        if let Some(study) = study.filter(|_| self.names_patients)
            && let Some(row) = self.ledger.study(study).await?
        {
            notice.name_patient(&row);
        }
        if let Some(recipient) = notice.to {
            notice.token = self.ledger.push_token(recipient).await?;
        }
        Ok(notice)
    }

    async fn shipment(&self, id: ArtifactId) -> Result<Shipment, NotShippable> {
        let artifact = self.ledger.artifact(id).await?;
        let artifact = artifact.ok_or_else(|| NotShippable::Broken(format!("there is no object {id}")))?;
        let key = InstanceKey {
            study: artifact.study.clone(),
            series: artifact.series.clone(),
            sop_instance: artifact.sop_instance.clone(),
        };
        let path = self.spool.path_of(&key);
        let spool = self.spool.clone();
        let read = tokio::task::spawn_blocking(move || spool.read(&key)).await;
        let file = match read {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return Err(NotShippable::Broken(chain(&error))),
            Err(error) => return Err(NotShippable::Broken(error.to_string())),
        };
        Ok(Shipment {
            study: artifact.study,
            series: artifact.series,
            sop_instance: artifact.sop_instance,
            urgency: self.ledger.urgency_of(id).await?,
            file: file.into(),
            path,
        })
    }

    async fn prove_due(&self) -> Result<(), ledger::Error> {
        let now = self.config.clock.now();
        let due = self.ledger.deliveries_to_prove(&self.name, now, PROOFS_MAX).await?;
        if let Some(archive) = self.destination.commits() {
            return self.prove_by_commitment(archive, due).await;
        }
        for delivery in due {
            let freight = match self.freight(&delivery).await {
                Ok(freight) => freight,
                Err(NotShippable::Ledger(error)) => return Err(error),
                Err(NotShippable::Broken(reason)) => {
                    self.ask_later(&delivery, &reason).await?;
                    continue;
                }
            };
            match self.destination.prove(&freight).await {
                Ok(Proof::Arrived) => self.proved(&delivery).await?,
                Ok(Proof::Absent) => self.absent(&delivery).await?,
                // The destination is down: the next proof would only wait as long.
                Err(error) => return self.ask_later(&delivery, &chain(&error)).await,
            }
        }
        Ok(())
    }

    async fn proved(&self, delivery: &Delivery) -> Result<(), ledger::Error> {
        kill_point::pass(KillPoint::Seen);
        let now = self.config.clock.now();
        match self.ledger.prove_delivery(delivery.id, now).await {
            // Another node was first.
            Ok(()) | Err(ledger::Error::DeliveryState { .. }) => {}
            Err(error) => return Err(error),
        }
        kill_point::pass(KillPoint::Proved);
        metrics::counter!("overread_deliveries_total", "destination" => self.name.clone(), "outcome" => "proved")
            .increment(1);
        metrics::histogram!("overread_delivery_seconds", "destination" => self.name.clone())
            .record(now.since(delivery.created_at).as_secs_f64());
        info!(destination = %self.name, delivery.id = %delivery.id, "delivery {} has arrived at {}", delivery.id, self.name);
        Ok(())
    }

    async fn absent(&self, delivery: &Delivery) -> Result<(), ledger::Error> {
        let now = self.config.clock.now();
        let missing_for = now.since(delivery.state_since);
        if missing_for > SHOWS_WITHIN && delivery.attempts < UNSEEN_SENDS_MAX {
            warn!(destination = %self.name, delivery.id = %delivery.id, "{} took delivery {} and does not show it: it is sent again", self.name, delivery.id);
            return match self.ledger.resend_delivery(delivery.id, "overread", now).await {
                Ok(()) | Err(ledger::Error::DeliveryState { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        }
        self.ask_later(delivery, "the destination does not show the object yet").await
    }

    /// The longer the proof is missing, the rarer it is asked for.
    async fn ask_later(&self, delivery: &Delivery, reason: &str) -> Result<(), ledger::Error> {
        let now = self.config.clock.now();
        let pause =
            (now.since(delivery.state_since) / 4).clamp(Duration::from_secs(1), Duration::from_secs(3600));
        let retry_at: Millis = now.plus(pause);
        self.ledger.prove_delivery_later(delivery.id, reason, retry_at).await
    }
}
