//! The handle that everybody holds.

use std::sync::{Arc, OnceLock};

use crate::change::{Bells, Changes, Topic};
use crate::db::{Db, Mark, Tx, sql};
use crate::event::Watermark;
use crate::journal::CallJournal;
use crate::prediction::Group;
use crate::{Error, OpenError, open};

/// A handle to the ledger; clones share the connections.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) db: Db,
    pub(crate) bells: Bells,
    pub(crate) watermark: Arc<Watermark>,
    pub(crate) group: Group,
    pub(crate) journal: Arc<OnceLock<CallJournal>>,
}

impl Ledger {
    /// Opens (and for SQLite creates) the database and brings its schema up to date.
    ///
    /// `url` is `sqlite:` and a path, or `postgres://…`.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what to do.
    pub async fn open(url: &str, durability: open::Durability) -> Result<Self, OpenError> {
        open::open(url, durability).await
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), Error> {
        self.db.row(sql("select 1")).await.map(drop)
    }

    /// Waits for rows: see [`Changes`].
    pub fn changed(&self, topic: Topic) -> Changes {
        self.bells.waiter(topic)
    }

    /// The state of the database, where it can be had for next to nothing: what was read after a mark
    /// holds as long as the mark does.
    pub fn mark(&self) -> Option<Mark> {
        self.db.mark()
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(&self) {
        if let Err(error) = self.settle().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "calls stay in their journal until the next start");
        }
        self.db.close().await;
    }

    /// Commits, then wakes who waits for `topics` and for events.
    pub(crate) async fn commit(&self, tx: Tx, topics: &[Topic]) -> Result<(), Error> {
        tx.commit().await?;
        self.bells.ring(topics);
        self.bells.ring(&[Topic::Events]);
        Ok(())
    }
}
