//! Puts the loops together: looking at studies, working on jobs, sending results, tidying up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use imaging::StudyUid;
use inference::Registry;
use ledger::{AuditKey, Ledger, ResultRow, Reviewed, WorkerId};
use orthanc_bridge::ConnectionError;
use spool::Spool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::PipelineConfig,
    destination::{Destination, chain},
    explain::{self, Explanation},
    fusion::{self, FusionError, FusionOrder},
    look::Looker,
    notify::{DiskWatch, Teller},
    outbox::Outbox,
    picture,
    retire::Retirer,
    review::{Desk, ReviewError, ReviewOrder},
    tidy,
    worker::Worker,
};

/// Objects that are sent to one destination at the same time, of different studies.
const SENDERS: usize = 2;
/// How often destinations are asked whether they answer.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    tasks: JoinSet<()>,
    handle: PipelineHandle,
    stop_within: Duration,
    shutdown: CancellationToken,
}

/// What others may ask of a pipeline, running here or elsewhere. Clones are handles of one.
#[derive(Debug, Clone)]
pub struct PipelineHandle {
    looker: Arc<Looker>,
    destinations: Arc<BTreeMap<String, Destination>>,
}

impl Pipeline {
    /// Starts what `config` says this node does, until `shutdown`.
    ///
    /// # Errors
    /// A destination's settings cannot be used. A destination that is down is no error.
    pub fn start(
        config: PipelineConfig,
        ledger: &Ledger,
        spool: &Spool,
        registry: Arc<Registry>,
        shutdown: &CancellationToken,
    ) -> Result<Self, ConnectionError> {
        let handle = PipelineHandle::detached(config, ledger, registry)?;
        let config = handle.looker.config.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(tidy::tidy(ledger.clone(), config.clone(), shutdown.clone()));
        if config.decides() {
            tasks.spawn(handle.looker.clone().run(shutdown.clone()));
            tasks.spawn(tidy::ask_again(handle.looker.clone(), shutdown.clone()));
            tasks.spawn(watch_destinations(handle.clone(), shutdown.clone()));
            let retirer = Retirer { ledger: ledger.clone(), spool: spool.clone(), config: config.clone() };
            tasks.spawn(retirer.run(shutdown.clone()));
            let watch =
                DiskWatch { ledger: ledger.clone(), spool: spool.clone(), clock: config.clock.clone() };
            tasks.spawn(watch.run(shutdown.clone()));
            for subscriber in &config.subscribers {
                let teller = Teller {
                    subscriber: subscriber.clone(),
                    ledger: ledger.clone(),
                    registry: handle.looker.registry.clone(),
                    config: config.clone(),
                };
                tasks.spawn(teller.run(shutdown.clone()));
            }
            for target in targets(&config)? {
                let outbox = Arc::new(Outbox {
                    name: target.name,
                    destination: target.destination,
                    names_patients: target.names_patients,
                    ledger: ledger.clone(),
                    spool: spool.clone(),
                    config: config.clone(),
                });
                for _ in 0..SENDERS {
                    tasks.spawn(outbox.clone().run_sender(shutdown.clone()));
                }
                tasks.spawn(outbox.run_prover(shutdown.clone()));
            }
        }
        if config.works() {
            for number in 1..=config.workers {
                let worker = Worker {
                    id: WorkerId::new(format!("{}/{number}", config.node)),
                    ledger: ledger.clone(),
                    spool: spool.clone(),
                    registry: handle.looker.registry.clone(),
                    config: config.clone(),
                    looker: handle.looker.clone(),
                };
                tasks.spawn(worker.run(shutdown.clone()));
            }
        }
        Ok(Self { tasks, handle, stop_within: config.stop_within, shutdown: shutdown.clone() })
    }

    #[must_use]
    pub fn handle(&self) -> PipelineHandle {
        self.handle.clone()
    }

    /// Waits for the shutdown, then for every loop to finish or hand back what it holds. What
    /// takes longer than the bound is cut off; its leases run out, and nothing is lost.
    pub async fn stopped(mut self) {
        self.shutdown.cancelled().await;
        let ended = tokio::time::timeout(self.stop_within, async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    warn!(%error, "a loop of the pipeline ended badly");
                }
            }
        });
        if ended.await.is_err() {
            warn!("the pipeline did not stop in time: what it holds is left to its leases");
            self.tasks.abort_all();
        }
    }
}

impl PipelineHandle {
    /// A handle without loops, for a node that only answers questions.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub fn detached(
        config: PipelineConfig,
        ledger: &Ledger,
        registry: Arc<Registry>,
    ) -> Result<Self, ConnectionError> {
        let destinations = config
            .destinations
            .iter()
            .map(|destination| Ok((destination.name.clone(), Destination::open(&destination.kind)?)))
            .collect::<Result<BTreeMap<_, _>, ConnectionError>>()?;
        let looker = Arc::new(Looker { ledger: ledger.clone(), registry, config: Arc::new(config) });
        Ok(Self { looker, destinations: Arc::new(destinations) })
    }

    /// What the pipeline would say about a study now; nothing when there is no such study.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn explain(&self, study: &StudyUid) -> Result<Option<Explanation>, ledger::Error> {
        let Some(picture) = picture::of_study(&self.looker.ledger, study).await? else { return Ok(None) };
        let plan = self.looker.plan(&picture, &self.looker.models());
        Ok(Some(explain::explain(&picture, plan)))
    }

    /// Asks for a fusion over what was found in a study and what is stated; the same again gives the same job.
    ///
    /// # Errors
    /// When there is no such study or fusion, or the ledger does not answer. A part that is missing is no error: the
    /// result says so, and once the part is there it is asked again.
    pub async fn fuse(&self, order: &FusionOrder) -> Result<ledger::JobId, FusionError> {
        self.fuse_through(&self.looker.ledger, order).await
    }

    /// The same, where `ledger` is a handle that notes who asks with the question.
    ///
    /// # Errors
    /// As above.
    pub async fn fuse_through(
        &self,
        ledger: &Ledger,
        order: &FusionOrder,
    ) -> Result<ledger::JobId, FusionError> {
        self.looker.asking().ask(ledger, order).await
    }

    /// The result of a model that is in force in a study, refused by a doctor or not; none that a model found that is
    /// only tried out.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn in_force(
        &self,
        study: &StudyUid,
        model_id: &str,
    ) -> Result<Option<ResultRow>, ledger::Error> {
        let found = fusion::in_force(&self.looker.ledger, study, model_id).await?;
        Ok(found.map(|(result, _)| result))
    }

    /// A doctor decides about a result: the documents that say so are kept and on their way
    /// when this returns, and what was held back for him leaves with them.
    ///
    /// # Errors
    /// When nothing of it happened; a refusal of the ledger is no error.
    pub async fn review(
        &self,
        spool: &Spool,
        key: &AuditKey,
        order: &ReviewOrder,
    ) -> Result<Reviewed, ReviewError> {
        let desk = Desk { ledger: &self.looker.ledger, spool, looker: &self.looker, key };
        desk.review(order).await
    }

    /// Asks every subscriber whether somebody answers there; nothing is told.
    ///
    /// # Errors
    /// As [`Pipeline::start`].
    pub async fn check_subscribers(&self) -> Result<BTreeMap<String, Result<(), String>>, ConnectionError> {
        let mut answers = BTreeMap::new();
        for subscriber in &self.looker.config.subscribers {
            let answer = Destination::open_subscriber(&subscriber.kind)?.check().await;
            answers.insert(subscriber.name.clone(), answer.map_err(|error| chain(&error)));
        }
        Ok(answers)
    }

    /// Asks every destination whether it can be reached as it is configured.
    pub async fn check_destinations(&self) -> BTreeMap<String, Result<(), String>> {
        let mut answers = BTreeMap::new();
        for (name, destination) in self.destinations.iter() {
            let answer = destination.check().await.map_err(|error| chain(&error));
            metrics::gauge!("overread_destination_up", "destination" => name.clone())
                .set(if answer.is_ok() { 1.0 } else { 0.0 });
            answers.insert(name.clone(), answer);
        }
        answers
    }
}

/// Where deliveries go.
struct Target {
    name: String,
    destination: Destination,
    names_patients: bool,
}

/// Archives, which get objects, and subscribers, which get messages.
fn targets(config: &PipelineConfig) -> Result<Vec<Target>, ConnectionError> {
    let archives = config.destinations.iter().map(|archive| {
        let destination = Destination::open(&archive.kind)?;
        Ok(Target { name: archive.name.clone(), destination, names_patients: false })
    });
    let subscribers = config.subscribers.iter().map(|subscriber| {
        let destination = Destination::open_subscriber(&subscriber.kind)?;
        let names_patients = subscriber.names_patients;
        Ok(Target { name: subscriber.destination(), destination, names_patients })
    });
    archives.chain(subscribers).collect()
}

/// Keeps `overread_destination_up` true from the start on, also while nothing is to be sent: a wrong
/// address is seen before the first result needs it.
async fn watch_destinations(handle: PipelineHandle, shutdown: CancellationToken) {
    let mut down = BTreeSet::new();
    let watch = async {
        loop {
            for (name, answer) in handle.check_destinations().await {
                match answer {
                    Ok(()) if down.remove(&name) => info!(destination = %name, "destination {name} answers"),
                    Ok(()) => {}
                    Err(reason) if down.insert(name.clone()) => {
                        warn!(destination = %name, %reason, "destination {name} cannot be used");
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    };
    shutdown.run_until_cancelled(watch).await;
}
