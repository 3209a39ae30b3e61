//! Tells archives which of the objects that they hold are superseded.
//!
//! Only once the newer objects were seen at the same destination: an archive that hides what a
//! note names must not be left with nothing. A note names what the destination itself was sent; it is
//! written once for each form of a result, lies in the spool before the ledger knows it, and travels through the outbox behind what it speaks of.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ledger::{Artifact, DeliveryState, Ledger, ResultId, ResultRow, SupersededAt, Topic};
use results::{Encoded, Identity, Reference, Superseded};
use spool::{InstanceKey, Spool};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::PipelineConfig,
    destination::chain,
    encode::Object,
    keep::{self, KeepObjectsError},
    kill_point::{self, KillPoint},
};

/// The net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(2);
/// Destinations that are told in one round.
const TOLD_MAX: u32 = 50;
/// Objects that a note names; what a person wrote about them stays.
const NAMED: [&str; 5] = ["seg", "map", "sr", "heatmap", "summary"];
const NOTE: &str = "superseding-note";

/// Tells until it is told to stop.
#[derive(Debug)]
pub(crate) struct Retirer {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) config: Arc<PipelineConfig>,
}

/// Why a note is not there.
#[derive(Debug, thiserror::Error)]
enum NoteError {
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error(transparent)]
    Keep(#[from] KeepObjectsError),
    #[error("cannot read an object of the superseded result")]
    Read(#[from] spool::ReadError),
    #[error("cannot write the note")]
    Write(#[from] results::EncodeError),
    #[error("the ledger has no {0} for it")]
    Lacks(&'static str),
    #[error("a thread ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl NoteError {
    /// Whether the next round may do better; otherwise a person must look.
    fn may_pass(&self) -> bool {
        match self {
            Self::Ledger(error) => error.may_pass(),
            Self::Keep(KeepObjectsError::Taken(_) | KeepObjectsError::Unusable(_)) => false,
            Self::Keep(_) | Self::Thread(_) => true,
            Self::Read(_) | Self::Write(_) | Self::Lacks(_) => false,
        }
    }
}

impl Retirer {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.ledger.changed(Topic::Deliveries);
        let mut given_up = BTreeSet::new();
        while !shutdown.is_cancelled() {
            if let Err(error) = self.tell_all(&mut given_up).await {
                warn!(error = %chain(&error), "cannot tell archives what is superseded, trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = changes.next() => {}
                () = tokio::time::sleep(SLOW_TICK) => {}
            }
        }
    }

    async fn tell_all(&self, given_up: &mut BTreeSet<ResultId>) -> Result<(), NoteError> {
        let limit = TOLD_MAX.saturating_add(u32::try_from(given_up.len()).unwrap_or(u32::MAX));
        let mut told: Option<SupersededAt> = None;
        for next in self.ledger.superseded_to_tell(limit).await? {
            // Several successors have arrived: the first of them was told.
            let again = told
                .as_ref()
                .is_some_and(|last| (last.result, &last.destination) == (next.result, &next.destination));
            if again || given_up.contains(&next.result) {
                continue;
            }
            match self.tell(&next).await {
                Ok(()) => told = Some(next),
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => {
                    error!(result.id = %next.result, error = %chain(&error), "no archive can be told that result {} is superseded", next.result);
                    given_up.insert(next.result);
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, due: &SupersededAt) -> Result<(), NoteError> {
        let now = self.config.clock.now();
        let objects = self.sent(due.result, &due.destination).await?;
        let profile = &head(&objects).ok_or(NoteError::Lacks("object"))?.profile;
        if self.ledger.superseding_note(due.result, profile).await?.is_some() {
            self.ledger.tell_superseded(due, profile, None, now).await?;
        } else {
            let object = self.write_note(due, &objects).await?;
            let kept = keep::keep(&self.ledger, &self.spool, vec![object]).await?;
            self.ledger.tell_superseded(due, profile, kept.artifacts.first(), now).await?;
            for receipt in kept.receipts {
                self.spool.recorded(receipt);
            }
        }
        kill_point::pass(KillPoint::Superseded);
        info!(result.id = %due.result, destination = %due.destination, "{} is told that result {} is superseded", due.destination, due.result);
        Ok(())
    }

    async fn write_note(&self, due: &SupersededAt, objects: &[Artifact]) -> Result<Object, NoteError> {
        let (old, new) = (self.result(due.result).await?, self.result(due.successor).await?);
        let successors = self.sent(due.successor, &due.destination).await?;
        let head = head(objects).ok_or(NoteError::Lacks("object"))?;
        let successor = head_reference(&successors).ok_or(NoteError::Lacks("successor"))?;
        let identity = self.identity(&old).await?;
        let asked_at = self.ledger.job(new.job).await?.ok_or(NoteError::Lacks("job"))?.created_at;
        let at = self.config.local_time(asked_at).ok_or(NoteError::Lacks("date"))?;
        let profile = head.profile.clone();
        let named: Vec<Reference> =
            objects.iter().filter(|object| NAMED.contains(&object.role.as_str())).map(reference).collect();
        let (spool, key) = (self.spool.clone(), key(head));
        let note = tokio::task::spawn_blocking(move || -> Result<Encoded, NoteError> {
            let report = spool.read(&key)?;
            Ok(results::superseding_note(&Superseded {
                identity: &identity,
                profile: &profile,
                report: &report,
                objects: &named,
                successor: &successor,
                at,
            })?)
        });
        Ok(Object { encoded: note.await??, role: NOTE, profile: head.profile.clone(), part: 0 })
    }

    async fn result(&self, id: ResultId) -> Result<ResultRow, NoteError> {
        self.ledger.result(id).await?.ok_or(NoteError::Lacks("result"))
    }

    /// The objects of a result that a destination has, or will have.
    async fn sent(&self, result: ResultId, destination: &str) -> Result<Vec<Artifact>, NoteError> {
        let mut sent = Vec::new();
        for artifact in self.ledger.artifacts(result).await? {
            let deliveries = self.ledger.deliveries_of(artifact.id).await?;
            let is_sent = deliveries.iter().any(|delivery| {
                delivery.destination == destination && delivery.state != DeliveryState::Dropped
            });
            if is_sent {
                sent.push(artifact);
            }
        }
        Ok(sent)
    }

    async fn identity(&self, result: &ResultRow) -> Result<Identity, NoteError> {
        let job = self.ledger.job(result.job).await?.ok_or(NoteError::Lacks("job"))?;
        Ok(Identity { installation: self.config.installation, job_key: job.key })
    }
}

/// The report; where a package writes none, any object of the result.
fn head(objects: &[Artifact]) -> Option<&Artifact> {
    objects
        .iter()
        .find(|object| object.role == "sr")
        .or_else(|| objects.iter().find(|object| NAMED.contains(&object.role.as_str())))
}

fn head_reference(objects: &[Artifact]) -> Option<Reference> {
    head(objects).map(reference)
}

fn reference(object: &Artifact) -> Reference {
    Reference {
        study: object.study.clone(),
        series: object.series.clone(),
        sop_class: object.sop_class.clone(),
        sop_instance: object.sop_instance.clone(),
    }
}

fn key(object: &Artifact) -> InstanceKey {
    InstanceKey {
        study: object.study.clone(),
        series: object.series.clone(),
        sop_instance: object.sop_instance.clone(),
    }
}
