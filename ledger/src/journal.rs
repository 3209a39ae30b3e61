//! The call journal: what makes an answer to a call both quick and safe.
//!
//! A commit of SQLite costs several writes, a flush of a growing file, and hops to its thread and back. Calls of which
//! nothing but a row of the audit trail is kept go to blocks that were written ahead instead: one write for all
//! who wait, on the disk when it returns, and whoever comes meanwhile goes with another one at the same time. The
//! database follows, many calls a transaction, which also says how far it has come; so a start finds what it
//! lacks and adds it, once. Who asks for the trail waits until it has what was noted before.
//!
//! With PostgreSQL there is none: what a node has answered must not be lost with its disk.

mod file;
mod queue;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use disk::{PAGE_BYTES, Pages};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::db::{Db, Record, Row, sql};
use crate::{AuditKey, Durability, Error, Ledger, NewAudit, audit};
use file::{JournalFile, Leftover, ROWS_BYTES_MAX, line};
use queue::{Batch, Noted, Queue, Written};

/// The file's size: some thousand batches that the database does not have yet.
const PAGES: usize = (16 << 20) / PAGE_BYTES;
/// Batches that are written at the same time. A disk takes several flushes at once, and sooner than one: a page each
/// of two threads took 0.8 ms, of eight 0.2 ms.
const WRITERS: usize = 8;
/// Between two transactions, so that each has many calls.
const APPLY_EVERY: Duration = Duration::from_millis(50);
/// Between two transactions that are flushed. Each flush of the database holds up the writes of calls for some
/// milliseconds; what it has unflushed is in the journal, and added again should the power fail.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Calls of one transaction.
const ROWS_AT_ONCE: usize = 4000;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Calls that wait for the disk; with more the database cannot keep up, and they are refused.
const WAITING_MAX: usize = 10_000;

/// Why a ledger cannot use its journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal of calls cannot be read or written")]
    File(#[source] io::Error),
    #[error("what the journal of calls holds cannot be added to the database")]
    Database(#[source] Error),
}

/// Calls are noted as long as there is a handle.
#[derive(Debug)]
pub(crate) struct CallJournal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: JournalFile,
    key: AuditKey,
    db: Db,
    queue: Mutex<Queue>,
    /// Something waits, or there is room again.
    work: Condvar,
    written: Notify,
    hurry: Notify,
    progress: watch::Sender<Progress>,
}

/// How far the database has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    applied: u64,
    /// Why it did not come further the last time.
    failed: Option<Arc<Error>>,
}

impl Ledger {
    /// Notes calls in the journal at `path` from now on, where the database is SQLite. What an
    /// earlier process has left there is added to the audit trail first.
    ///
    /// Only one process may use the file.
    ///
    /// # Errors
    /// When the file or the database fails.
    pub async fn keep_calls_in(&self, path: &Path, key: &AuditKey) -> Result<(), JournalError> {
        let Some(durability) = self.db.sqlite_durability() else { return Ok(()) };
        let (file, next) = self.replay(path, key, durability).await?;
        let (progress, _) = watch::channel(Progress { applied: next - 1, failed: None });
        let shared = Arc::new(Shared {
            file,
            key: key.clone(),
            db: self.db.clone(),
            queue: Mutex::new(Queue::new(PAGES, next)),
            work: Condvar::new(),
            written: Notify::new(),
            hurry: Notify::new(),
            progress,
        });
        for _ in 0..WRITERS {
            let shared = Arc::clone(&shared);
            let writer = thread::Builder::new().name("call-journal".to_owned());
            writer.spawn(move || shared.write_batches()).map_err(JournalError::File)?;
        }
        tokio::spawn(Arc::clone(&shared).apply());
        // A second journal of the same ledger would be closed at once, and hold nothing.
        drop(self.journal.set(CallJournal(shared)));
        Ok(())
    }

    /// Adds what an earlier process has left in the journal at `path`, if there is one.
    ///
    /// # Errors
    /// When the file or the database fails.
    pub async fn add_left_calls(&self, path: &Path, key: &AuditKey) -> Result<(), JournalError> {
        match self.db.sqlite_durability() {
            Some(durability) if path.exists() => self.replay(path, key, durability).await.map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits until the database has all calls that were answered before.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        match self.journal.get() {
            Some(journal) => journal.0.settle().await,
            None => Ok(()),
        }
    }

    /// The journal, and the number of its next batch.
    async fn replay(
        &self,
        path: &Path,
        key: &AuditKey,
        durability: Durability,
    ) -> Result<(JournalFile, u64), JournalError> {
        let (path, of) = (path.to_owned(), key.clone());
        let open = move || JournalFile::open(&path, PAGES, durability, &of);
        let opened = tokio::task::spawn_blocking(open).await;
        let (file, mut left) =
            opened.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(JournalError::File)?;
        let known = sql("select applied from call_journal where journal_id = $1").bind(file.id.to_string());
        let known: Option<Applied> = self.db.record(known).await.map_err(JournalError::Database)?;
        let mut applied = known.map_or(0, |known| known.0);
        let place = Place { db: &self.db, key, file: &file };
        left.retain(|batch| batch.number > applied);
        left.sort_by_key(|batch| batch.number);
        for batches in left.chunks(ROWS_AT_ONCE) {
            let rows = batches.iter().flat_map(|batch: &Leftover| &batch.rows);
            let last = batches.last().map_or(applied, |batch| batch.number);
            place.add(rows, last, Commit::Flushed).await.map_err(JournalError::Database)?;
            applied = last;
        }
        if !left.is_empty() {
            let calls = left.iter().map(|batch| batch.rows.len()).sum::<usize>();
            tracing::info!(calls, "{calls} calls were added to the audit trail from their journal");
        }
        Ok((file, applied + 1))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Flushed,
    /// A power cut may undo it, and the journal must keep what it holds.
    Unflushed,
}

/// Where the rows of a journal go.
struct Place<'a> {
    db: &'a Db,
    key: &'a AuditKey,
    file: &'a JournalFile,
}

impl Place<'_> {
    /// Rows and how far they bring the database, in one transaction.
    async fn add<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a NewAudit>,
        last: u64,
        commit: Commit,
    ) -> Result<(), Error> {
        let mut tx = match commit {
            Commit::Flushed => self.db.begin().await?,
            Commit::Unflushed => self.db.begin_unflushed().await?,
        };
        let statement = sql("insert into call_journal (journal_id, applied) values ($1, $2)
              on conflict (journal_id) do update set applied = excluded.applied");
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        tx.execute(statement.bind(self.file.id.to_string()).bind(last)).await?;
        audit::append_all(&mut tx, self.key, rows).await?;
        tx.commit().await
    }
}

impl CallJournal {
    /// Notes a row; it is kept when this returns. None when the journal cannot take it.
    pub(crate) async fn note(&self, row: NewAudit) -> Result<Option<NewAudit>, Error> {
        let line = line(&row).map_err(Error::Json)?;
        if line.len() + 2 > ROWS_BYTES_MAX {
            return Ok(Some(row));
        }
        let (answer, answered) = oneshot::channel();
        let is_awaited = {
            let mut queue = self.0.lock();
            if queue.failure.is_some() || queue.closed {
                return Ok(Some(row));
            }
            if queue.waiting() == WAITING_MAX {
                return Err(Error::TrailBehind);
            }
            queue.push(Noted { row, line, since: std::time::Instant::now(), answer });
            queue.is_awaited()
        };
        if !is_awaited {
            self.0.work.notify_one();
        }
        match answered.await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(kind)) => Err(Error::Journal(kind.into())),
            Err(_) => Err(Error::Interrupted),
        }
    }
}

impl Drop for CallJournal {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        queue.refuse_waiting();
        drop(queue);
        self.0.work.notify_all();
        self.0.written.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A writer's life: the next batch, whenever there is one.
    fn write_batches(&self) {
        let mut buffer = Pages::zeroed(file::pages_of(ROWS_BYTES_MAX) * PAGE_BYTES);
        while let Some(batch) = self.next_batch() {
            let lines = batch.noted.iter().map(|noted| noted.line.as_slice());
            let written = self.file.write(&mut buffer, batch.page, batch.number, lines);
            if let Err(error) = &written {
                tracing::error!(%error, "the journal of calls failed; they are committed one by one from now on");
            }
            let written = written.map_err(|error| error.kind());
            let answers = self.lock().finish(batch, written);
            self.written.notify_one();
            for answer in answers {
                // A caller who hung up hears nothing; his call is noted.
                let _gone = answer.send(written);
            }
        }
    }

    fn next_batch(&self) -> Option<Batch> {
        let mut queue = self.lock();
        loop {
            match queue.patience(std::time::Instant::now()) {
                Some(left) if !queue.watched => {
                    queue.watched = true;
                    queue = self.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
                    queue.watched = false;
                    continue;
                }
                // Whoever watches, or comes back from the disk before, takes them.
                Some(_) => {}
                None => {
                    if let Some(batch) = queue.next_batch() {
                        return Some(batch);
                    }
                }
            }
            if queue.closed {
                return None;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Brings the database up to what is written, again and again.
    async fn apply(self: Arc<Self>) {
        let mut earliest = Instant::now();
        let mut flushed_at = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(earliest) => {}
                () = self.hurry.notified() => {}
            }
            let taken = self.lock().take_written(ROWS_AT_ONCE);
            match taken {
                Some((last, batches)) => {
                    let is_time = flushed_at.elapsed() >= FLUSH_EVERY || self.lock().is_crowded();
                    let commit = if is_time { Commit::Flushed } else { Commit::Unflushed };
                    self.apply_batches(last, &batches, commit).await;
                    earliest = Instant::now() + APPLY_EVERY;
                    if is_time {
                        flushed_at = Instant::now();
                    }
                }
                None if self.lock().closed => return,
                None => self.written.notified().await,
            }
        }
    }

    /// Until it succeeds: these calls were answered.
    async fn apply_batches(&self, last: u64, batches: &[Written], commit: Commit) {
        let place = Place { db: &self.db, key: &self.key, file: &self.file };
        loop {
            let rows = batches.iter().flat_map(|batch| &batch.rows);
            match place.add(rows, last, commit).await {
                Ok(()) => break,
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::error!(
                        error = cause,
                        "calls cannot be added to the audit trail; they are kept in the journal"
                    );
                    self.progress.send_modify(|progress| progress.failed = Some(Arc::new(error)));
                }
            }
            if self.lock().closed {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        self.lock().applied(last, batches);
        if commit == Commit::Flushed {
            self.lock().flushed();
            self.work.notify_all();
        }
        self.progress.send_replace(Progress { applied: last, failed: None });
    }

    async fn settle(&self) -> Result<(), Error> {
        let last = self.lock().last();
        let mut progress = self.progress.subscribe();
        self.hurry.notify_one();
        let there = progress.wait_for(|progress| progress.applied >= last || progress.failed.is_some()).await;
        match there.map(|progress| progress.failed.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(Error::Group(error)),
            Err(_) => Err(Error::Interrupted),
        }
    }
}

/// The last batch of a journal that the database has.
struct Applied(u64);

impl Record for Applied {
    fn read(row: &Row) -> Result<Self, Error> {
        row.count("applied").map(Self)
    }
}
