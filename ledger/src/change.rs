//! Wakes whoever waits for rows, on this node and on the others.
//!
//! A wake-up says "look again", never what happened, and may come for nothing. It is
//! sent after the commit; one that is lost with a crash costs one slow poll of the waiter.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::text_enum::text_enum;

/// The channel of PostgreSQL's NOTIFY; its payload is the word of a [`Topic`].
const CHANNEL: &str = "overread";
/// The first ring goes out at once; a storm of them costs this much delay and little else.
const BETWEEN_ANNOUNCEMENTS: Duration = Duration::from_millis(10);
/// How long until a lost connection for listening is tried again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

text_enum! {
    /// What a waiter waits for.
    pub enum Topic {
        /// Something arrived, or became known about a study.
        Intake = "intake",
        /// A job can be claimed, or its holder has lost it.
        Jobs = "jobs",
        /// A delivery can be sent.
        Deliveries = "deliveries",
        /// There is a new row in the event log.
        Events = "events",
    }
}

/// One waiter's view of a topic. What happens between its creation and the first
/// [`Changes::next`] is not missed: create it, look, then wait.
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Returns when something changed since the last call (or since creation).
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The ledger is gone: nothing will ever change again.
            std::future::pending::<()>().await;
        }
    }
}

/// The bells of all topics, and what carries them to other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Bells(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    local: Vec<watch::Sender<u64>>,
    remote: Option<Remote>,
}

/// Rings on other nodes: a flag for each topic, and the task that empties them.
#[derive(Debug)]
struct Remote {
    due: watch::Sender<[bool; Topic::ALL.len()]>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Bells {
    /// Rings in this process only.
    pub(crate) fn local() -> Self {
        Self(Arc::new(Inner { local: senders(), remote: None }))
    }

    /// Rings in every process that has the same PostgreSQL database open.
    pub(crate) fn across(pool: &PgPool) -> Self {
        let local = senders();
        let (due, due_receiver) = watch::channel([false; Topic::ALL.len()]);
        let sender = tokio::spawn(announce(pool.clone(), due.clone(), due_receiver));
        let listener = tokio::spawn(listen(pool.clone(), local.clone()));
        let tasks = vec![sender.abort_handle(), listener.abort_handle()];
        Self(Arc::new(Inner { local, remote: Some(Remote { due, tasks }) }))
    }

    pub(crate) fn waiter(&self, topic: Topic) -> Changes {
        Changes(self.0.local[topic as usize].subscribe())
    }

    pub(crate) fn ring(&self, topics: &[Topic]) {
        for topic in topics {
            self.0.local[*topic as usize].send_modify(|count| *count += 1);
        }
        if let Some(remote) = &self.0.remote {
            remote.due.send_modify(|due| topics.iter().for_each(|topic| due[*topic as usize] = true));
        }
    }
}

fn senders() -> Vec<watch::Sender<u64>> {
    Topic::ALL.iter().map(|_| watch::Sender::new(0)).collect()
}

/// Sends one NOTIFY for all rings that came while the last one was under way.
///
/// Not part of the transactions: NOTIFY inside one would make all commits wait for each other.
async fn announce(
    pool: PgPool,
    due: watch::Sender<[bool; Topic::ALL.len()]>,
    mut changed: watch::Receiver<[bool; Topic::ALL.len()]>,
) {
    while changed.changed().await.is_ok() {
        let mut ring = [false; Topic::ALL.len()];
        due.send_if_modified(|due| {
            ring = std::mem::take(due);
            false
        });
        if let Err(error) = notify(&pool, ring).await {
            warn!(error = &error as &dyn std::error::Error, "other nodes were not woken, they will poll");
        }
        tokio::time::sleep(BETWEEN_ANNOUNCEMENTS).await;
    }
}

async fn notify(pool: &PgPool, ring: [bool; Topic::ALL.len()]) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    for topic in Topic::ALL.iter().filter(|topic| ring[**topic as usize]) {
        let notified = sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(topic.as_str());
        notified.execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Rings here what other nodes (and this one) announced; after a lost connection rings everything.
async fn listen(pool: PgPool, local: Vec<watch::Sender<u64>>) {
    loop {
        if let Err(error) = listen_until_lost(&pool, &local).await {
            if matches!(error, sqlx::Error::PoolClosed) {
                return;
            }
            warn!(error = &error as &dyn std::error::Error, "not listening to other nodes, trying again");
        }
        tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
    }
}

async fn listen_until_lost(pool: &PgPool, local: &[watch::Sender<u64>]) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    ring_all(local);
    while let Some(notification) = listener.try_recv().await? {
        match notification.payload().parse::<Topic>() {
            Ok(topic) => local[topic as usize].send_modify(|count| *count += 1),
            Err(_) => ring_all(local), // a newer version has a topic that is unknown here
        }
    }
    Ok(())
}

fn ring_all(local: &[watch::Sender<u64>]) {
    for sender in local {
        sender.send_modify(|count| *count += 1);
    }
}
