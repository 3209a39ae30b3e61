//! Brings what Orthanc holds into spool and ledger.
//!
//! Only what the ledger lacks is downloaded, over a few kept-alive connections; a download
//! that was cut off is taken up where it stopped, instance by instance. Nothing is judged
//! here: whether a study is ready is for the pipeline.

use std::{io, sync::Arc};

use admission::{AdmissionError, Admitted, Arrival};
use futures_util::{StreamExt, stream};
use imaging::{SeriesUid, SopInstanceUid, StudyUid};
use ledger::{AssociationId, BootId, Door, Ending, Ledger, Millis, NewAssociation, NodeId};
use spool::{PutError, Spool};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::{
    connection::CONNECTIONS_MAX,
    orthanc::{Instance, Orthanc, OrthancId, Study},
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
    #[error("the disk did not take it")]
    Disk(#[source] io::Error),
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error("a thread of the intake ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl IntakeError {
    /// Whether Orthanc answered, and could not give what it was asked for; other things it may give.
    pub(crate) fn is_about_what_was_asked(&self) -> bool {
        matches!(
            self,
            Self::Rest(RestError::Busy { .. } | RestError::Answer { .. } | RestError::Refused { .. })
        )
    }
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

/// An instance that Orthanc offers, and the series that it offers it in.
type Offered = (SeriesUid, Instance);

impl Intake {
    /// Fetches what is new of a study and, when Orthanc calls it stable, says so to the
    /// ledger. True when nothing is left to wait for.
    pub(crate) async fn study(&self, id: &OrthancId) -> Result<bool, IntakeError> {
        let Some(study) = self.orthanc.study(id).await? else { return Ok(true) };
        let parts = self.parts(&study.uid).await?;
        if parts.is_empty() {
            return Ok(true);
        }
        if !parts.iter().all(|part| part.is_stable) {
            return Ok(false);
        }
        let mut stable = Vec::new();
        for part in &parts {
            let mut offered = Vec::new();
            for series_id in &part.series {
                let Some(one) = self.orthanc.series(series_id).await? else { continue };
                let instances = self.orthanc.instances_of_series(series_id).await?;
                offered.extend(instances.into_iter().map(|instance| (one.uid.clone(), instance)));
                stable.push(one.uid);
            }
            self.fetch(part, offered).await?;
        }
        // What came while we fetched makes Orthanc unsettled again.
        let still = self.parts(&study.uid).await?;
        let series_now: usize = still.iter().map(|part| part.series.len()).sum();
        if !still.iter().all(|part| part.is_stable) || series_now != stable.len() {
            return Ok(false);
        }
        for series in &stable {
            self.say_series_stable(&study.uid, series).await?;
        }
        match self.ledger.study_is_stable(&study.uid, Millis::now()).await {
            // A study of our own results alone has no row.
            Ok(()) | Err(ledger::Error::NoSuchStudy(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// All that Orthanc holds under one Study Instance UID: for it, two patients are two studies.
    pub(crate) async fn parts(&self, uid: &StudyUid) -> Result<Vec<Study>, IntakeError> {
        let mut parts = Vec::new();
        for id in self.orthanc.find_study(uid).await? {
            parts.extend(self.orthanc.study(&id).await?);
        }
        Ok(parts)
    }

    /// The same for one series: its study may still grow.
    pub(crate) async fn series(&self, id: &OrthancId) -> Result<(), IntakeError> {
        let Some(series) = self.orthanc.series(id).await? else { return Ok(()) };
        let Some(study) = self.orthanc.study(&series.study).await? else { return Ok(()) };
        // A study of two patients is looked at as a whole.
        if !series.is_stable || self.parts(&study.uid).await?.len() > 1 {
            return Ok(());
        }
        let offered = self.orthanc.instances_of_series(id).await?;
        let offered = offered.into_iter().map(|instance| (series.uid.clone(), instance));
        self.fetch(&study, offered.collect()).await?;
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

    /// Downloads those of `offered` that the ledger lacks.
    async fn fetch(&self, study: &Study, offered: Vec<Offered>) -> Result<(), IntakeError> {
        let wanted = self.wanted(study, offered).await?;
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
        info!(study.uid = %study.uid, source = %self.source, instances = count, "fetched {count} instances of study {}", study.uid);
        Ok(())
    }

    /// What the ledger does not know in the same place. All of it where Orthanc names another patient: one UID
    /// stands for two instances then, and somebody has to see it. What was set aside before is not fetched again.
    async fn wanted(&self, study: &Study, offered: Vec<Offered>) -> Result<Vec<Instance>, IntakeError> {
        let uids: Vec<SopInstanceUid> = offered.iter().map(|(_, instance)| instance.uid.clone()).collect();
        let places = self.ledger.places_of(&uids).await?;
        let set_aside = self.ledger.set_aside_of(&study.uid, &uids).await?;
        let own = self.ledger.own_objects(&study.uid).await?;
        let in_doubt = self.is_of_another_patient(study).await?;
        let is_here = |series: &SeriesUid, uid: &SopInstanceUid| {
            places.get(uid).is_some_and(|(known, place)| known == &study.uid && place == series)
        };
        let wanted = offered.into_iter().filter(|(series, instance)| {
            let is_settled = own.contains(&instance.uid) || set_aside.contains(&instance.uid);
            !is_settled && (in_doubt || !is_here(series, &instance.uid))
        });
        Ok(wanted.map(|(_, instance)| instance).collect())
    }

    async fn is_of_another_patient(&self, study: &Study) -> Result<bool, IntakeError> {
        let known = self.ledger.study(&study.uid).await?;
        let id = study.patient_id.trim();
        Ok(known.is_some_and(|known| known.forgotten_at.is_none() && known.patient.identity().id != id))
    }

    pub(crate) async fn open_association(&self) -> Result<AssociationId, ledger::Error> {
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

    pub(crate) async fn download_all(
        &self,
        association: AssociationId,
        wanted: Vec<Instance>,
    ) -> Result<(), IntakeError> {
        let memory = Arc::new(Semaphore::new(IN_MEMORY_MIB_MAX as usize));
        let downloads = stream::iter(wanted).map(|instance| {
            let memory = memory.clone();
            async move { self.download(instance, &memory).await }
        });
        let mut arriving = downloads.buffer_unordered(CONNECTIONS_MAX).ready_chunks(BATCH);
        let mut failure = None;
        while let Some(batch) = arriving.next().await {
            let mut arrivals = Vec::new();
            for arrival in batch {
                match arrival {
                    Ok(arrival) => arrivals.extend(arrival),
                    Err(error) => failure = Some(error),
                }
            }
            self.record(association, arrivals).await?;
            // One instance that Orthanc cannot give does not keep the others out.
            if failure.as_ref().is_some_and(|error| !error.is_about_what_was_asked()) {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn record(&self, association: AssociationId, arrivals: Vec<Arrival>) -> Result<(), IntakeError> {
        let admitted =
            admission::record(&self.spool, &self.ledger, association, arrivals, Millis::now()).await?;
        let new = admitted.iter().filter(|one| matches!(one, Admitted::Stored(_) | Admitted::Replaced(_)));
        metrics::counter!("overread_orthanc_instances_fetched_total", "source" => self.source.clone())
            .increment(new.count() as u64);
        Ok(())
    }

    /// Downloads one instance into the spool; nothing when it is gone meanwhile, or no DICOM file.
    async fn download(&self, instance: Instance, memory: &Semaphore) -> Result<Option<Arrival>, IntakeError> {
        let mib = u32::try_from(instance.size_bytes >> 20).unwrap_or(u32::MAX).saturating_add(1);
        let permits = mib.min(IN_MEMORY_MIB_MAX);
        let _held = memory.acquire_many(permits).await.expect("the semaphore is never closed");
        let Some(file) = self.read_file(&instance).await? else {
            self.must_be_gone(&instance).await?;
            return Ok(None);
        };
        let spool = self.spool.clone();
        let put = tokio::task::spawn_blocking(move || {
            spool.put(&file).map(|outcome| admission::settle(&spool, outcome))
        });
        match put.await? {
            Ok(settled) => Ok(Some(settled.map_err(IntakeError::Disk)?.named(&instance.uid))),
            Err(PutError::Keep(error)) => Err(IntakeError::Spool(PutError::Keep(error))),
            Err(error) => {
                // Orthanc would give the same bytes again: nothing to wait for.
                warn!(source = %self.source, sop.uid = %instance.uid, %error, "instance {} from Orthanc is not usable", instance.uid);
                metrics::counter!("overread_orthanc_instances_unusable_total", "source" => self.source.clone())
                    .increment(1);
                Ok(None)
            }
        }
    }

    /// An instance without a file is no instance that went away: its series would seem whole without it.
    async fn must_be_gone(&self, instance: &Instance) -> Result<(), RestError> {
        match self.orthanc.holds_instance(&instance.id).await? {
            true => Err(self.orthanc.odd(format!("instance {} has no file", instance.id))),
            false => Ok(()),
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
}
