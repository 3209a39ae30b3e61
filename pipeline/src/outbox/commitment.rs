//! Proof by storage commitment: an archive says that it keeps what it was sent, whatever happens.
//!
//! The question is a row before it is asked, for the report may come at any time: on the association that asked,
//! or to our listener, which notes it in the ledger and wakes the prover. A question that nobody answers is asked
//! again under a new transaction.

use std::time::Duration;

use imaging::{SopClassUid, SopInstanceUid, Uid};
use ledger::{Artifact, Commitment, CommitmentOutcome, Delivery, Parcel};
use scp::CommitmentRequest;
use tracing::warn;
use uuid::Uuid;

use super::Outbox;
use crate::destination::{Asked, StorePeer, StoreProof, chain};

/// How long an archive may take to report, and how long after a refusal it is asked again.
const REPORT_WITHIN: Duration = Duration::from_secs(10 * 60);
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl Outbox {
    pub(super) async fn prove_by_commitment(
        &self,
        archive: &StorePeer,
        due: Vec<Delivery>,
    ) -> Result<(), ledger::Error> {
        let mut to_ask = Vec::new();
        for delivery in due {
            if self.wants_asking(&delivery).await? {
                to_ask.push(delivery);
            }
        }
        let Some(request) = self.request(&to_ask).await? else { return Ok(()) };
        let now = self.config.clock.now();
        let of: Vec<_> = to_ask
            .iter()
            .zip(&request.instances)
            .map(|(delivery, (_, sop_instance))| (delivery.id, sop_instance.clone()))
            .collect();
        self.ledger.ask_commitment(&request.transaction, &of, now).await?;
        match archive.ask(request).await {
            Ok(Asked::Reported(report)) => {
                let verdicts = scp::verdicts(&report);
                self.ledger.commitment_reported(&report.transaction, &verdicts, now).await.map(drop)
            }
            Ok(Asked::Taken) => self.all_later(&to_ask, "asked for storage commitment, no report yet").await,
            Ok(Asked::NotOffered) if archive.proof == StoreProof::CommitmentIfOffered => {
                for delivery in &to_ask {
                    self.proved(delivery).await?;
                }
                Ok(())
            }
            Ok(Asked::NotOffered) => {
                let reason =
                    "the archive does not offer storage commitment: set proof to commitment-if-offered";
                self.all_later(&to_ask, reason).await
            }
            Err(error) => self.all_later(&to_ask, &chain(&error)).await,
        }
    }

    /// Acts on what the archive has said of a delivery since it was sent; true when it has to be asked (again).
    async fn wants_asking(&self, delivery: &Delivery) -> Result<bool, ledger::Error> {
        let asked = self.ledger.commitment_of(delivery.id).await?;
        let Some(asked) = asked.filter(|asked| asked.asked_at >= delivery.state_since) else {
            return Ok(true);
        };
        let waited = self.config.clock.now().since(asked.asked_at);
        match asked {
            Commitment { outcome: Some(CommitmentOutcome::Committed), .. } => {
                self.proved(delivery).await.map(|()| false)
            }
            Commitment { outcome: Some(CommitmentOutcome::Failed), reason, .. } => {
                let reason = reason.unwrap_or_default();
                warn!(destination = %self.name, delivery.id = %delivery.id, %reason, "{} does not commit itself to delivery {}", self.name, delivery.id);
                self.absent(delivery).await?;
                Ok(waited > ASK_AGAIN)
            }
            Commitment { outcome: None, .. } if waited > REPORT_WITHIN => Ok(true),
            Commitment { outcome: None, .. } => {
                self.ask_later(delivery, "asked for storage commitment, no report yet").await?;
                Ok(false)
            }
        }
    }

    async fn request(&self, of: &[Delivery]) -> Result<Option<CommitmentRequest>, ledger::Error> {
        let mut instances: Vec<(SopClassUid, SopInstanceUid)> = Vec::with_capacity(of.len());
        for delivery in of {
            let Parcel::Artifact(id) = delivery.parcel else { continue };
            if let Some(Artifact { sop_class, sop_instance, .. }) = self.ledger.artifact(id).await? {
                instances.push((sop_class, sop_instance));
            }
        }
        // One for each delivery, or something is amiss in the ledger that asking cannot mend.
        if instances.is_empty() || instances.len() != of.len() {
            return Ok(None);
        }
        // PS3.5 §B.2: a UUID as an integer.
        let transaction = format!("2.25.{}", Uuid::new_v4().as_u128());
        let transaction = Uid::parse(&transaction).expect("digits behind an arc are a UID");
        Ok(Some(CommitmentRequest { transaction, instances }))
    }

    async fn all_later(&self, deliveries: &[Delivery], reason: &str) -> Result<(), ledger::Error> {
        for delivery in deliveries {
            self.ask_later(delivery, reason).await?;
        }
        Ok(())
    }
}
