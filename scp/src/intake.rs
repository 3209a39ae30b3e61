//! From the associations to the ledger: rows in batches, off the answer's path.
//!
//! A bounded queue leads from all associations of a listener to one task that writes. When
//! the ledger lags, the queue fills and the associations wait: that is the back-pressure.
//! An association's end is written after its instances. Should the process die, the spool's
//! journal still names what the queue held.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use admission::{Aside, Instance};
use imaging::Header;
use ledger::{AssociationId, Door, Ending, Ledger, Millis, NewAssociation, NewInstance, Recorded};
use spool::{Digest, InstanceKey, Receipt, Spool};
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
    header: Header,
    digest: Digest,
    size_bytes: u64,
    at: Millis,
    receipt: Option<Receipt>,
}

impl Arrival {
    fn split(self, association: AssociationId) -> (NewInstance, Option<Receipt>) {
        let row = NewInstance {
            header: self.header,
            digest: self.digest.to_string(),
            size_bytes: self.size_bytes,
            association,
            arrived_at: self.at,
        };
        (row, self.receipt)
    }
}

/// Who brought it; the ledger's row is made when the first note comes.
#[derive(Debug)]
struct By {
    new: NewAssociation,
    id: tokio::sync::OnceCell<AssociationId>,
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
            id: tokio::sync::OnceCell::new(),
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

    pub(crate) fn arrived(
        &mut self,
        header: Header,
        digest: Digest,
        size_bytes: u64,
        receipt: Option<Receipt>,
    ) {
        self.has_news = true;
        let instance = Box::new(Arrival { header, digest, size_bytes, at: Millis::now(), receipt });
        self.intake.send(Note::Arrived { by: self.by.clone(), instance });
    }

    pub(crate) fn replaced(&mut self, instance: Instance, aside: Aside) {
        self.has_news = true;
        let Instance { header, digest, size_bytes, receipt } = instance;
        let instance = Box::new(Arrival { header, digest, size_bytes, at: Millis::now(), receipt });
        self.intake.send(Note::Alone(Alone::Replaced { by: self.by.clone(), instance, aside }));
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
async fn insist<T, F>(what: &str, call: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, ledger::Error>>,
{
    let mut told = false;
    loop {
        match call().await {
            Ok(done) => return Some(done),
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the ledger does not answer; {what} waits"
                    );
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the ledger refuses {what}");
                return None;
            }
        }
    }
}

async fn association(ledger: &Ledger, by: &By) -> Option<AssociationId> {
    if by.id.get().is_none() {
        let id = insist("an association", || ledger.open_association(&by.new)).await?;
        // The only writer is this task, so nobody else has set it.
        let _ = by.id.set(id);
    }
    by.id.get().copied()
}

async fn record(ledger: &Ledger, spool: &Spool, batch: Vec<(Arc<By>, Box<Arrival>)>) {
    let (mut rows, mut receipts) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (by, arrival) in batch {
        let Some(association) = association(ledger, &by).await else { continue };
        let (row, receipt) = arrival.split(association);
        rows.push(row);
        receipts.push(receipt);
    }
    if rows.is_empty() {
        return;
    }
    let recorded = match insist("a batch of instances", || ledger.record_instances(&rows)).await {
        Some(recorded) => recorded,
        None => record_one_by_one(ledger, &rows).await,
    };
    metrics::counter!("overread_instances_recorded_total").increment(recorded.len() as u64);
    for ((row, recorded), receipt) in rows.iter().zip(&recorded).zip(&receipts) {
        match recorded {
            Recorded::Misplaced => misplaced(ledger, spool, row).await,
            // Its file is in service, where that of the known data set was lost.
            Recorded::Twin if receipt.is_some() => other_than_known(ledger, spool, row).await,
            _ => {}
        }
    }
    for receipt in receipts.into_iter().flatten() {
        spool.recorded(receipt);
    }
}

/// One row that the ledger refuses must not take the others with it.
async fn record_one_by_one(ledger: &Ledger, rows: &[NewInstance]) -> Vec<Recorded> {
    let mut recorded = Vec::with_capacity(rows.len());
    for row in rows {
        let one = insist("an instance", || ledger.record_instances(std::slice::from_ref(row))).await;
        recorded.extend(one.into_iter().flatten());
    }
    recorded
}

async fn note_alone(ledger: &Ledger, spool: &Spool, alone: Alone) {
    match alone {
        Alone::Replaced { by, instance, aside } => replaced(ledger, spool, &by, *instance, &aside).await,
        Alone::SetAside { by, aside } => {
            let association = association(ledger, &by).await;
            note_aside(ledger, association, &aside).await;
        }
        Alone::Ended { by, ending, at } => {
            if let Some(id) = by.id.get() {
                insist("the end of an association", || ledger.end_association(*id, ending, at)).await;
            }
        }
        Alone::Barrier(sender) => {
            // Whoever waited may have gone.
            let _ = sender.send(());
        }
    }
}

async fn replaced(ledger: &Ledger, spool: &Spool, by: &By, arrival: Arrival, aside: &Aside) {
    let Some(association) = association(ledger, by).await else { return };
    let (row, receipt) = arrival.split(association);
    insist("an instance that replaces another", || ledger.replace_instance(&row)).await;
    note_aside(ledger, Some(association), aside).await;
    if let Some(receipt) = receipt {
        spool.recorded(receipt);
    }
}

/// Its UID is another instance's: it goes out of service, and stays in quarantine.
async fn misplaced(ledger: &Ledger, spool: &Spool, row: &NewInstance) {
    tracing::warn!(study.uid = %row.header.study, "an instance is known in another study or series");
    match Aside::misplaced(spool, &row.header).await {
        Ok(Some(aside)) => note_aside(ledger, Some(row.association), &aside).await,
        Ok(None) => {}
        // It has no row, so nothing uses it; the next start or recovery finds it again.
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "it could not be put into quarantine");
        }
    }
}

async fn other_than_known(ledger: &Ledger, spool: &Spool, row: &NewInstance) {
    match Aside::other_than_known(spool, InstanceKey::of(&row.header)).await {
        Ok(Some(aside)) => note_aside(ledger, Some(row.association), &aside).await,
        Ok(None) => {}
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "another data set than the known one could not be put into quarantine"
            );
        }
    }
}

async fn note_aside(ledger: &Ledger, association: Option<AssociationId>, aside: &Aside) {
    insist("a file in quarantine", || aside.record(ledger, association)).await;
}
