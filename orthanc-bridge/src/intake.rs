//! Brings what Orthanc holds into spool and ledger.
//!
//! Only what the ledger lacks is downloaded, over a few kept-alive connections; a download
//! that was cut off is taken up where it stopped, instance by instance. Nothing is judged
//! here: whether a study is ready is for the pipeline.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt, stream};
use imaging::{SeriesUid, SopInstanceUid, StudyUid};
use ledger::{
    AssociationId, BootId, Door, Ending, Ledger, Millis, NewAssociation, NewInstance, NewQuarantined, NodeId,
    QuarantineReason, Recorded,
};
use spool::{Outcome, PutError, Receipt, Spool};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::{
    connection::CONNECTIONS_MAX,
    orthanc::{Instance, Orthanc, OrthancId},
    rest::RestError,
};

/// Instances that one transaction of the ledger takes.
const BATCH: usize = 64;
/// Files that are in memory at once, together, in MiB.
const IN_MEMORY_MIB_MAX: u32 = 512;

/// What stopped an intake; what came before it is kept.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error("the ledger did not take it")]
    Ledger(#[from] ledger::Error),
    #[error("the spool did not take it")]
    Spool(#[source] PutError),
    #[error("a thread of the intake ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// Which process takes in; the ledger keeps it with each association.
#[derive(Debug, Clone)]
pub struct Process {
    pub node: NodeId,
    pub boot: BootId,
}

/// Takes in from one Orthanc.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    pub(crate) source: String,
    pub(crate) orthanc: Orthanc,
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) process: Process,
}

/// What became of one downloaded file.
enum Taken {
    Usable(Box<NewInstance>, Option<Receipt>),
    /// Kept aside, with the reason in the ledger; or gone from Orthanc meanwhile.
    Aside,
}

impl Intake {
    /// Fetches what is new of a study and, when Orthanc calls it stable, says so to the
    /// ledger. True when nothing is left to wait for.
    pub(crate) async fn study(&self, id: &OrthancId) -> Result<bool, IntakeError> {
        let Some(study) = self.orthanc.study(id).await? else { return Ok(true) };
        if !study.is_stable {
            return Ok(false);
        }
        let mut instances = Vec::new();
        let mut series = Vec::new();
        for series_id in &study.series {
            instances.extend(self.orthanc.instances_of_series(series_id).await?);
            series.extend(self.orthanc.series(series_id).await?.map(|series| series.uid));
        }
        self.fetch(&study.uid, instances).await?;
        // What came while we fetched makes Orthanc unsettled again.
        let still = self.orthanc.study(id).await?;
        if !still.is_some_and(|study| study.is_stable && study.series.len() == series.len()) {
            return Ok(false);
        }
        for series in &series {
            self.say_series_stable(&study.uid, series).await?;
        }
        match self.ledger.study_is_stable(&study.uid, Millis::now()).await {
            // A study of our own results alone has no row.
            Ok(()) | Err(ledger::Error::NoSuchStudy(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for one series: its study may still grow.
    pub(crate) async fn series(&self, id: &OrthancId) -> Result<(), IntakeError> {
        let Some(series) = self.orthanc.series(id).await? else { return Ok(()) };
        let Some(study) = self.orthanc.study(&series.study).await? else { return Ok(()) };
        if !series.is_stable {
            return Ok(());
        }
        self.fetch(&study.uid, self.orthanc.instances_of_series(id).await?).await?;
        if self.orthanc.series(id).await?.is_some_and(|series| series.is_stable) {
            self.say_series_stable(&study.uid, &series.uid).await?;
        }
        Ok(())
    }

    async fn say_series_stable(&self, study: &StudyUid, series: &SeriesUid) -> Result<(), IntakeError> {
        if let Some(known) = self.ledger.series(study, series).await? {
            let said = known.stable.is_some_and(|stable| stable.revision == known.revision);
            if !said {
                self.ledger.series_is_stable(study, series, Millis::now()).await?;
            }
        }
        Ok(())
    }

    /// Downloads those of `instances` that the ledger lacks.
    async fn fetch(&self, study: &StudyUid, instances: Vec<Instance>) -> Result<(), IntakeError> {
        let wanted = self.wanted(study, instances).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let count = wanted.len();
        let association = self.open_association().await?;
        let fetched = self.download_all(association, wanted).await;
        // What was fetched counts, also when the rest did not come.
        let ending = if fetched.is_ok() { Ending::Released } else { Ending::Aborted };
        self.ledger.end_association(association, ending, Millis::now()).await?;
        fetched?;
        info!(study.uid = %study, source = %self.source, instances = count, "fetched {count} instances of study {study}");
        Ok(())
    }

    async fn wanted(&self, study: &StudyUid, instances: Vec<Instance>) -> Result<Vec<Instance>, IntakeError> {
        let uids: Vec<SopInstanceUid> = instances.iter().map(|instance| instance.uid.clone()).collect();
        let unknown: BTreeSet<SopInstanceUid> =
            self.ledger.unknown_instances(&uids).await?.into_iter().collect();
        let own = self.ledger.own_objects(study).await?;
        Ok(instances
            .into_iter()
            .filter(|instance| unknown.contains(&instance.uid) && !own.contains(&instance.uid))
            .collect())
    }

    async fn open_association(&self) -> Result<AssociationId, ledger::Error> {
        let new = NewAssociation {
            door: Door::Orthanc,
            calling_ae: self.source.clone(),
            called_ae: String::new(),
            peer: self.orthanc.peer(),
            node: self.process.node.clone(),
            boot: self.process.boot.clone(),
            opened_at: Millis::now(),
        };
        self.ledger.open_association(&new).await
    }

    async fn download_all(
        &self,
        association: AssociationId,
        wanted: Vec<Instance>,
    ) -> Result<(), IntakeError> {
        let memory = Arc::new(Semaphore::new(IN_MEMORY_MIB_MAX as usize));
        let downloads = stream::iter(wanted).map(|instance| {
            let memory = memory.clone();
            async move { self.download(association, instance, &memory).await }
        });
        let mut arriving = downloads.buffer_unordered(CONNECTIONS_MAX).ready_chunks(BATCH);
        while let Some(batch) = arriving.next().await {
            let (mut usable, mut receipts, mut failure) = (Vec::new(), Vec::new(), None);
            for taken in batch {
                match taken {
                    Ok(Taken::Usable(instance, receipt)) => {
                        usable.push(*instance);
                        receipts.extend(receipt);
                    }
                    Ok(Taken::Aside) => {}
                    Err(error) => failure = Some(error),
                }
            }
            self.record(&usable, receipts).await?;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn record(&self, batch: &[NewInstance], receipts: Vec<Receipt>) -> Result<(), IntakeError> {
        let recorded = self.ledger.record_instances(batch).await?;
        for receipt in receipts {
            self.spool.recorded(receipt);
        }
        let new =
            recorded.iter().filter(|one| matches!(one, Recorded::New | Recorded::NewOfOtherPatient)).count();
        metrics::counter!("overread_orthanc_instances_fetched_total", "source" => self.source.clone())
            .increment(new as u64);
        Ok(())
    }

    async fn download(
        &self,
        association: AssociationId,
        instance: Instance,
        memory: &Semaphore,
    ) -> Result<Taken, IntakeError> {
        let mib = u32::try_from(instance.size_bytes >> 20).unwrap_or(u32::MAX).saturating_add(1);
        let permits = mib.min(IN_MEMORY_MIB_MAX);
        let _held = memory.acquire_many(permits).await.expect("the semaphore is never closed");
        let Some(file) = self.read_file(&instance).await? else { return Ok(Taken::Aside) };
        let spool = self.spool.clone();
        match tokio::task::spawn_blocking(move || spool.put(&file)).await? {
            Ok(outcome) => self.taken(association, &instance, outcome).await,
            Err(PutError::Keep(error)) => Err(IntakeError::Spool(PutError::Keep(error))),
            Err(error) => {
                // Orthanc would give the same bytes again: nothing to wait for.
                warn!(source = %self.source, sop.uid = %instance.uid, %error, "instance {} from Orthanc is not usable", instance.uid);
                metrics::counter!("overread_orthanc_instances_unusable_total", "source" => self.source.clone())
                    .increment(1);
                Ok(Taken::Aside)
            }
        }
    }

    async fn read_file(&self, instance: &Instance) -> Result<Option<Vec<u8>>, RestError> {
        let Some(mut download) = self.orthanc.open_file(&instance.id).await? else { return Ok(None) };
        let expected = usize::try_from(instance.size_bytes).unwrap_or(usize::MAX);
        let mut file = Vec::with_capacity(expected.min((IN_MEMORY_MIB_MAX as usize) << 20));
        while let Some(chunk) = download.chunk().await? {
            if file.len() + chunk.len() > expected {
                return Err(download.odd(format!("instance {} is longer than {expected} bytes", instance.id)));
            }
            file.extend_from_slice(&chunk);
        }
        Ok(Some(file))
    }

    async fn taken(
        &self,
        association: AssociationId,
        instance: &Instance,
        outcome: Outcome,
    ) -> Result<Taken, IntakeError> {
        let new = |header, digest: spool::Digest, size_bytes| {
            Box::new(NewInstance {
                header,
                digest: digest.to_string(),
                size_bytes,
                association,
                arrived_at: Millis::now(),
            })
        };
        match outcome {
            Outcome::Kept(kept) => {
                Ok(Taken::Usable(new(kept.header, kept.digest, kept.size_bytes), Some(kept.receipt)))
            }
            Outcome::Same(same) => Ok(Taken::Usable(new(same.header, same.digest, same.size_bytes), None)),
            Outcome::Conflict(conflict) => {
                let aside = NewQuarantined {
                    kept_as: conflict.quarantined.display().to_string(),
                    reason: QuarantineReason::Twin,
                    detail: "Orthanc holds another data set under this UID".to_owned(),
                    association: Some(association),
                    study: Some(conflict.key.study.clone()),
                    sop_instance: Some(conflict.key.sop_instance.clone()),
                    at: Millis::now(),
                };
                if conflict.identity_differs() {
                    self.ledger.quarantine_and_hold(&aside, &conflict.key.study).await?;
                } else {
                    self.ledger.quarantine(&aside).await?;
                }
                Ok(Taken::Aside)
            }
            Outcome::Unusable(unusable) => {
                let aside = NewQuarantined {
                    kept_as: unusable.quarantined.display().to_string(),
                    reason: QuarantineReason::Unparsable,
                    detail: unusable.fault.to_string(),
                    association: Some(association),
                    study: None,
                    sop_instance: Some(instance.uid.clone()),
                    at: Millis::now(),
                };
                self.ledger.quarantine(&aside).await?;
                Ok(Taken::Aside)
            }
        }
    }
}
