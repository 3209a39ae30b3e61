//! From the associations to the ledger: rows in batches, off the answer's path.
//!
//! A bounded queue leads from all associations of a listener to one task that writes. When
//! the ledger lags, the queue fills and the associations wait: that is the back-pressure.
//! An association's end is written after its instances. Should the process die, the spool's
//! journal still names what the queue held.

mod rows;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use admission::{Aside, Instance};
use ledger::{AssociationId, Door, Ending, Ledger, Millis, NewAssociation, NewInstance};
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
                        rows::record(&ledger, &spool, std::mem::take(&mut batch)).await;
                        rows::note_alone(&ledger, &spool, alone).await;
                    }
                }
            }
            rows::record(&ledger, &spool, batch).await;
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
