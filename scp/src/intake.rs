//! From the associations to the ledger: rows in batches, off the answer's path.
//!
//! A bounded queue leads from all associations of a listener to one task that writes. When
//! the ledger lags, the queue fills and the associations wait: that is the back-pressure.
//! An association's end is written after its instances. Should the process die, the spool's
//! journal still names what the queue held.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use admission::{AdmissionError, Aside, Instance, compare_with_first, replace_known, set_other_aside};
use ledger::{AssociationId, Door, Ending, Ledger, Millis, NewAssociation, NewInstance, Recorded};
use spool::{Receipt, Spool};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    config::ScpConfig,
    negotiate::Agreed,
    promise::{Promise, Promises},
    store::peer_name,
};

/// Rows in one transaction.
const BATCH_MAX: usize = 256;
/// How long a row may wait for others to come.
const LINGER: Duration = Duration::from_millis(50);
/// Between attempts while the ledger does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// What associations tell the ledger.
#[derive(Debug)]
enum Note {
    Arrived {
        by: Arc<By>,
        instance: Box<Arrival>,
    },
    /// What stands alone, after all that came before it.
    Alone(Alone),
}

#[derive(Debug)]
enum Alone {
    /// It took the place of another one, which is set aside.
    Replaced {
        by: Arc<By>,
        instance: Box<Arrival>,
        aside: Aside,
    },
    /// Another one has its UID and stays in service; this one is set aside.
    Twin {
        by: Arc<By>,
        instance: Box<Arrival>,
        aside: Aside,
    },
    SetAside {
        by: Arc<By>,
        aside: Aside,
    },
    Ended {
        by: Arc<By>,
        ending: Ending,
        at: Millis,
    },
    /// Answered when all before it is written.
    Barrier(oneshot::Sender<()>),
}

impl Note {
    /// Whether it may wait for more to be written with it.
    fn may_linger(&self) -> bool {
        matches!(self, Self::Arrived { .. })
    }
}

#[derive(Debug)]
struct Arrival {
    instance: Instance,
    at: Millis,
}

impl Arrival {
    fn now(instance: Instance) -> Box<Self> {
        Box::new(Self { instance, at: Millis::now() })
    }

    fn split(self, association: AssociationId) -> (NewInstance, Option<Receipt>) {
        let Instance { header, digest, size_bytes, receipt } = self.instance;
        let digest = digest.to_string();
        (NewInstance { header, digest, size_bytes, association, arrived_at: self.at }, receipt)
    }
}

/// Who brought it; the ledger's row is made when the first note comes.
#[derive(Debug)]
struct By {
    new: NewAssociation,
    /// Set by the writer alone.
    id: Mutex<Option<AssociationId>>,
}

impl By {
    fn id(&self) -> MutexGuard<'_, Option<AssociationId>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way into the queue.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    notes: mpsc::Sender<Note>,
    /// Cuts the writer's wait for more rows short.
    urgent: Arc<Notify>,
    promises: Promises,
}

impl Intake {
    pub(crate) fn new(unrecorded_max: usize) -> (Self, Queue) {
        let (notes, receiver) = mpsc::channel(unrecorded_max.max(1));
        let urgent = Arc::new(Notify::new());
        (
            Self { notes, urgent: urgent.clone(), promises: Promises::default() },
            Queue { notes: receiver, urgent },
        )
    }

    pub(crate) fn carrier(&self, config: &ScpConfig, peer: SocketAddr, agreed: &Agreed) -> Carrier {
        let by = By {
            new: NewAssociation {
                door: Door::Dimse,
                calling_ae: agreed.calling_ae_title.clone(),
                called_ae: agreed.called.label.clone().unwrap_or_else(|| agreed.called.ae_title.to_string()),
                peer: peer_name(peer),
                node: config.node.clone(),
                boot: config.boot.clone(),
                opened_at: Millis::now(),
            },
            id: Mutex::default(),
        };
        Carrier { intake: self.clone(), by: Arc::new(by), has_news: false, ending: None }
    }

    /// Waits until the ledger has all that was acknowledged before. For threads outside the runtime.
    pub(crate) fn settle(&self) {
        self.promises.wait();
        let (sender, receiver) = oneshot::channel();
        self.send(Note::Alone(Alone::Barrier(sender)));
        if receiver.blocking_recv().is_err() {
            tracing::debug!("the intake queue was closed before it was empty");
        }
    }

    fn send(&self, note: Note) {
        let may_linger = note.may_linger();
        // The queue is closed only after all associations have ended; the journal has what comes later.
        if self.notes.blocking_send(note).is_err() {
            tracing::error!(
                "the intake queue is closed; the ledger learns of the instance at the next start"
            );
        }
        if !may_linger {
            self.urgent.notify_one();
        }
    }
}

/// One association's side of the queue. Tells the end exactly once.
#[derive(Debug)]
pub(crate) struct Carrier {
    intake: Intake,
    by: Arc<By>,
    has_news: bool,
    ending: Option<Ending>,
}

impl Carrier {
    /// To be taken before an instance is acknowledged that is not in the queue yet.
    pub(crate) fn promise(&self) -> Promise {
        self.intake.promises.make()
    }

    pub(crate) fn arrived(&mut self, instance: Instance) {
        self.has_news = true;
        self.intake.send(Note::Arrived { by: self.by.clone(), instance: Arrival::now(instance) });
    }

    pub(crate) fn replaced(&mut self, instance: Instance, aside: Aside) {
        self.has_news = true;
        let (by, instance) = (self.by.clone(), Arrival::now(instance));
        self.intake.send(Note::Alone(Alone::Replaced { by, instance, aside }));
    }

    pub(crate) fn twin(&mut self, instance: Instance, aside: Aside) {
        self.has_news = true;
        let (by, instance) = (self.by.clone(), Arrival::now(instance));
        self.intake.send(Note::Alone(Alone::Twin { by, instance, aside }));
    }

    pub(crate) fn set_aside(&mut self, aside: Aside) {
        self.has_news = true;
        self.intake.send(Note::Alone(Alone::SetAside { by: self.by.clone(), aside }));
    }

    /// The peer has asked for the release and got it.
    pub(crate) fn released(&mut self) {
        self.ended(Ending::Released);
    }

    /// The association is over; only the first call counts.
    pub(crate) fn ended(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            if self.has_news {
                let ended = Alone::Ended { by: self.by.clone(), ending, at: Millis::now() };
                self.intake.send(Note::Alone(ended));
            }
        }
    }
}

/// The way out of the queue.
#[derive(Debug)]
pub(crate) struct Queue {
    notes: mpsc::Receiver<Note>,
    urgent: Arc<Notify>,
}

impl Queue {
    /// Writes until all senders are gone. `wake` is called after each batch.
    pub(crate) async fn write_all(mut self, ledger: Ledger, spool: Spool, wake: Arc<dyn Fn() + Send + Sync>) {
        let mut notes = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut notes).await {
            let mut batch = Vec::new();
            for note in std::mem::take(&mut notes) {
                match note {
                    Note::Arrived { by, instance } => batch.push((by, instance)),
                    Note::Alone(alone) => {
                        record(&ledger, &spool, std::mem::take(&mut batch)).await;
                        note_alone(&ledger, &spool, alone).await;
                    }
                }
            }
            record(&ledger, &spool, batch).await;
            wake();
        }
    }

    /// Waits for notes and then a little for more: a row alone costs five times what it costs in a batch,
    /// on the cores that the associations need. Meanwhile the queue is not watched, so that handing in a row
    /// wakes nobody; an end or a barrier is not kept waiting. False at the end.
    async fn gather(&mut self, notes: &mut Vec<Note>) -> bool {
        if self.notes.recv_many(notes, BATCH_MAX).await == 0 {
            return false;
        }
        if notes.len() < BATCH_MAX && notes.iter().all(Note::may_linger) {
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                () = self.urgent.notified() => {}
            }
            while notes.len() < BATCH_MAX
                && let Ok(note) = self.notes.try_recv()
            {
                notes.push(note);
            }
        }
        true
    }
}

/// Calls until the ledger has done it, for as long as waiting may help.
async fn insist<T, E, F>(what: &str, call: impl Fn() -> F) -> Result<T, AdmissionError>
where
    E: Into<AdmissionError>,
    F: Future<Output = Result<T, E>>,
{
    let mut told = false;
    loop {
        match call().await.map_err(Into::into) {
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the ledger does not answer; {what} waits"
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
            answer => return answer,
        }
    }
}

/// The same in the name of an association. The row of that is not flushed by itself, so that a database which went
/// down may have lost it: then it is opened again. `None` for what is refused for good, which is logged.
async fn insist_for<T, E, F>(
    ledger: &Ledger,
    by: &By,
    what: &str,
    call: impl Fn(AssociationId) -> F,
) -> Option<T>
where
    E: Into<AdmissionError>,
    F: Future<Output = Result<T, E>>,
{
    let mut was_opened_again = false;
    loop {
        let id = association(ledger, by).await?;
        let error = match insist(what, || call(id)).await {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        if was_opened_again || !is_lost(ledger, id).await {
            log_refusal(what, &error);
            return None;
        }
        tracing::warn!("the ledger has lost an association, which is opened again");
        *by.id() = None;
        was_opened_again = true;
    }
}

async fn is_lost(ledger: &Ledger, id: AssociationId) -> bool {
    matches!(insist("an association", || ledger.association(id)).await, Ok(None))
}

fn log_refusal(what: &str, error: &AdmissionError) {
    tracing::error!(error = error as &dyn std::error::Error, "the ledger refuses {what}");
}

async fn association(ledger: &Ledger, by: &By) -> Option<AssociationId> {
    let known = *by.id();
    if known.is_some() {
        return known;
    }
    let opened = insist("an association", || ledger.open_association(&by.new)).await;
    let id = opened.inspect_err(|error| log_refusal("an association", error)).ok()?;
    *by.id() = Some(id);
    Some(id)
}

async fn record(ledger: &Ledger, spool: &Spool, batch: Vec<(Arc<By>, Box<Arrival>)>) {
    let (mut rows, mut brought) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (by, arrival) in batch {
        let Some(association) = association(ledger, &by).await else {
            log_unrecorded(&arrival.instance.header);
            continue;
        };
        let (row, receipt) = arrival.split(association);
        rows.push(row);
        brought.push((by, receipt));
    }
    if rows.is_empty() {
        return;
    }
    let recorded = match insist("a batch of instances", || ledger.record_instances(&rows)).await {
        Ok(recorded) => recorded.into_iter().map(Some).collect(),
        Err(error) => {
            log_refusal("a batch of instances", &error);
            record_one_by_one(ledger, &rows, &brought).await
        }
    };
    metrics::counter!("overread_instances_recorded_total")
        .increment(recorded.iter().flatten().count() as u64);
    for ((row, (by, receipt)), recorded) in rows.iter().zip(brought).zip(recorded) {
        let Some(recorded) = recorded else {
            log_unrecorded(&row.header);
            continue;
        };
        // One whose receipt is not given back is in service without a row: the journal goes on naming it.
        if follow(ledger, spool, &by, row, recorded, receipt.is_some()).await {
            give_back(spool, receipt);
        }
    }
}

/// One row that the ledger refuses must not take the others with it. One answer for each, in order.
async fn record_one_by_one(
    ledger: &Ledger,
    rows: &[NewInstance],
    brought: &[(Arc<By>, Option<Receipt>)],
) -> Vec<Option<Recorded>> {
    let mut recorded = Vec::with_capacity(rows.len());
    for (row, (by, _)) in rows.iter().zip(brought) {
        let one = insist_for(ledger, by, "an instance", |id| async move {
            ledger.record_instances(&[of(row, id)]).await
        });
        recorded.push(one.await.and_then(|answers| answers.first().copied()));
    }
    recorded
}

fn of(row: &NewInstance, association: AssociationId) -> NewInstance {
    NewInstance { association, ..row.clone() }
}

fn give_back(spool: &Spool, receipt: Option<Receipt>) {
    if let Some(receipt) = receipt {
        spool.recorded(receipt);
    }
}

fn log_unrecorded(header: &imaging::Header) {
    tracing::error!(study.uid = %header.study, "an instance was kept and has no row; the journal goes on naming it");
}

async fn note_alone(ledger: &Ledger, spool: &Spool, alone: Alone) {
    match alone {
        Alone::Replaced { by, instance, aside } => replaced(ledger, spool, &by, *instance, &aside).await,
        Alone::Twin { by, instance, aside } => twin(ledger, spool, &by, *instance, &aside).await,
        Alone::SetAside { by, aside } => note_aside(ledger, &by, &aside).await,
        Alone::Ended { by, ending, at } => {
            let id = *by.id();
            if let Some(id) = id {
                let ended = insist("the end of an association", || ledger.end_association(id, ending, at));
                if let Err(error) = ended.await {
                    log_refusal("the end of an association", &error);
                }
            }
        }
        Alone::Barrier(sender) => {
            // Whoever waited may have gone.
            let _ = sender.send(());
        }
    }
}

async fn replaced(ledger: &Ledger, spool: &Spool, by: &By, arrival: Arrival, aside: &Aside) {
    let Some(association) = association(ledger, by).await else {
        return log_unrecorded(&arrival.instance.header);
    };
    let (row, receipt) = arrival.split(association);
    let done = insist_for(ledger, by, "an instance that replaces another", |id| {
        let row = of(&row, id);
        async move { replace_known(spool, ledger, &row).await }
    });
    match done.await {
        Some(()) => give_back(spool, receipt),
        None => log_unrecorded(&row.header),
    }
    note_aside(ledger, by, aside).await;
}

/// The first stays in service, and its row is there before this one is compared with it.
async fn twin(ledger: &Ledger, spool: &Spool, by: &By, arrival: Arrival, aside: &Aside) {
    let Some(association) = association(ledger, by).await else { return };
    let (row, _) = arrival.split(association);
    let compared = insist_for(ledger, by, "an instance with the UID of another", |id| {
        let row = of(&row, id);
        async move { compare_with_first(spool, ledger, &row).await }
    });
    if compared.await == Some(Recorded::Misplaced) {
        misplaced(ledger, spool, by, &row).await;
    }
    note_aside(ledger, by, aside).await;
}

/// Does what follows from the ledger's answer. False when an instance stays in service that has no row.
async fn follow(
    ledger: &Ledger,
    spool: &Spool,
    by: &By,
    row: &NewInstance,
    recorded: Recorded,
    is_in_service: bool,
) -> bool {
    match recorded {
        Recorded::Misplaced => misplaced(ledger, spool, by, row).await,
        // Its file is in service, where that of the known data set was lost.
        Recorded::Twin if is_in_service => other_than_known(ledger, spool, by, row).await,
        Recorded::New | Recorded::NewOfOtherPatient | Recorded::Same | Recorded::Twin => true,
    }
}

/// Its UID is another instance's: it goes out of service, and stays in quarantine.
async fn misplaced(ledger: &Ledger, spool: &Spool, by: &By, row: &NewInstance) -> bool {
    tracing::warn!(study.uid = %row.header.study, "an instance is known in another study or series");
    let moved = Aside::misplaced(spool, &row.header).await;
    note_moved(ledger, by, moved, "an instance of another study could not be put into quarantine").await
}

async fn other_than_known(ledger: &Ledger, spool: &Spool, by: &By, row: &NewInstance) -> bool {
    let moved = set_other_aside(spool, row).await;
    note_moved(ledger, by, moved, "another data set than the known one could not be put into quarantine")
        .await
}

/// False when it was not moved.
async fn note_moved(ledger: &Ledger, by: &By, moved: io::Result<Option<Aside>>, failure: &str) -> bool {
    match moved {
        Ok(Some(aside)) => note_aside(ledger, by, &aside).await,
        Ok(None) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "{failure}");
            return false;
        }
    }
    true
}

async fn note_aside(ledger: &Ledger, by: &By, aside: &Aside) {
    insist_for(ledger, by, "a file in quarantine", |id| aside.record(ledger, Some(id))).await;
}
