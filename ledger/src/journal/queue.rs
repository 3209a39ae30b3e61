//! What waits to be written, which pages are free, and what the database does not have yet.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::file::{ROWS_BYTES_MAX, pages_of};
use crate::NewAudit;

/// On a disk that flushes sooner than this, those who come meanwhile are written together when the disk is
/// free. On a slower one they are written at the same time.
const PATIENCE: Duration = Duration::from_micros(400);

/// A row that somebody waits for.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) row: NewAudit,
    pub(super) line: Vec<u8>,
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<(), io::ErrorKind>>,
}

/// Rows that are written together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// Its first page in the file.
    pub(super) page: usize,
    /// The pages that it takes, and those before the end of the file that were too few for it.
    pages: usize,
    pub(super) noted: Vec<Noted>,
}

/// A batch that is in the journal; empty when it could not be written.
#[derive(Debug)]
pub(super) struct Written {
    pages: usize,
    pub(super) rows: Vec<NewAudit>,
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Noted>,
    /// The number of the next batch.
    next: u64,
    /// The first batch that the database does not have.
    unapplied: u64,
    /// Batches that are written, by number; those before them may still be on their way.
    written: BTreeMap<u64, Written>,
    next_page: usize,
    pages_used: usize,
    /// Of those, what a power cut would take from the database.
    pages_unflushed: usize,
    pages: usize,
    /// Batches that are being written.
    on_their_way: usize,
    /// Somebody looks here when the oldest row has waited long enough.
    pub(super) watched: bool,
    /// Set when the disk refused a batch: nothing more is noted here.
    pub(super) failure: Option<io::ErrorKind>,
    pub(super) closed: bool,
}

impl Queue {
    /// A queue for a file of `pages` pages, the first of which is not for batches.
    pub(super) fn new(pages: usize, next: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            next,
            unapplied: next,
            written: BTreeMap::new(),
            next_page: 1,
            pages_used: 0,
            pages_unflushed: 0,
            pages,
            on_their_way: 0,
            watched: false,
            failure: None,
            closed: false,
        }
    }

    pub(super) fn push(&mut self, noted: Noted) {
        self.waiting.push_back(noted);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The last batch that was begun.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Somebody will look here by himself, and soon.
    pub(super) fn is_awaited(&self) -> bool {
        self.watched && self.on_their_way > 0
    }

    /// How long the oldest row may still wait for a batch that is on its way, to go with the next one.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.waiting.front()?.since);
        PATIENCE.checked_sub(waited).filter(|left| !left.is_zero() && self.on_their_way > 0)
    }

    /// As many rows as one batch holds; none while nobody waits or the file has no room.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let mut bytes = 1;
        let fits = |noted: &&Noted| {
            bytes += noted.line.len() + 1;
            bytes <= ROWS_BYTES_MAX
        };
        let count = self.waiting.iter().take_while(fits).count();
        if count == 0 {
            return None;
        }
        let rows_bytes = self.waiting.iter().take(count).map(|noted| noted.line.len() + 1).sum::<usize>() + 1;
        let needed = pages_of(rows_bytes);
        let begins_again = self.next_page + needed > self.pages;
        let skipped = if begins_again { self.pages - self.next_page } else { 0 };
        if self.pages_used + skipped + needed > self.pages - 1 {
            return None;
        }
        let page = if begins_again { 1 } else { self.next_page };
        self.next_page = page + needed;
        self.pages_used += skipped + needed;
        self.next += 1;
        self.on_their_way += 1;
        let noted = self.waiting.drain(..count).collect();
        Some(Batch { number: self.next - 1, page, pages: skipped + needed, noted })
    }

    /// Notes that a batch is in the journal, or never will be; gives those who wait for it.
    pub(super) fn finish(
        &mut self,
        batch: Batch,
        written: Result<(), io::ErrorKind>,
    ) -> Vec<oneshot::Sender<Result<(), io::ErrorKind>>> {
        let (rows, answers): (Vec<_>, Vec<_>) =
            batch.noted.into_iter().map(|noted| (noted.row, noted.answer)).unzip();
        self.failure = self.failure.or(written.err());
        self.on_their_way -= 1;
        let rows = if written.is_ok() { rows } else { Vec::new() };
        self.written.insert(batch.number, Written { pages: batch.pages, rows });
        answers
    }

    /// Takes what the database can be given: batches without a gap before them, with the number of the last.
    pub(super) fn take_written(&mut self, rows_max: usize) -> Option<(u64, Vec<Written>)> {
        let (mut taken, mut rows) = (Vec::new(), 0);
        while rows < rows_max
            && let Some(written) = self.written.remove(&(self.unapplied + taken.len() as u64))
        {
            rows += written.rows.len();
            taken.push(written);
        }
        let last = (self.unapplied + taken.len() as u64).checked_sub(1)?;
        (!taken.is_empty()).then_some((last, taken))
    }

    /// The database has these, for as long as the power does not fail.
    pub(super) fn applied(&mut self, last: u64, batches: &[Written]) {
        self.unapplied = last + 1;
        self.pages_unflushed += batches.iter().map(|batch| batch.pages).sum::<usize>();
    }

    /// What was applied is on the disk: its pages may be used again.
    pub(super) fn flushed(&mut self) {
        self.pages_used -= std::mem::take(&mut self.pages_unflushed);
    }

    /// Whether the file is too full to wait with a flush.
    pub(super) fn is_crowded(&self) -> bool {
        self.pages_used > self.pages / 2
    }

    /// Nobody is answered any more, but with an error.
    pub(super) fn refuse_waiting(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Millis;

    fn noted(bytes: usize) -> Noted {
        let row = NewAudit {
            at: Millis(0),
            actor: String::new(),
            action: String::new(),
            subject: String::new(),
            request_id: None,
            detail: json!({}),
        };
        Noted { row, line: vec![b'x'; bytes], since: Instant::now(), answer: oneshot::channel().0 }
    }

    fn batch(queue: &mut Queue, bytes: usize) -> Option<Batch> {
        queue.push(noted(bytes));
        queue.next_batch()
    }

    #[test]
    fn pages_are_used_again_only_when_the_database_has_their_rows() {
        let mut queue = Queue::new(5, 10);
        let first = batch(&mut queue, 5000).unwrap();
        let second = batch(&mut queue, 100).unwrap();
        assert_eq!((first.number, first.page, second.number, second.page), (10, 1, 11, 3));
        // One page is left at the end, which is too few for two, and the first is in use.
        assert!(batch(&mut queue, 5000).is_none());
        queue.finish(first, Ok(()));
        let (last, taken) = queue.take_written(100).unwrap();
        assert_eq!((last, taken.len()), (10, 1));
        assert!(queue.next_batch().is_none(), "taken is not applied");
        queue.applied(last, &taken);
        assert!(queue.next_batch().is_none() && queue.is_crowded(), "a power cut would undo it");
        queue.flushed();
        let third = queue.next_batch().unwrap();
        assert_eq!((third.number, third.page), (12, 1));
        queue.finish(third, Ok(()));
        queue.finish(second, Ok(()));
        let (last, taken) = queue.take_written(100).unwrap();
        queue.applied(last, &taken);
        queue.flushed();
        assert_eq!((last, queue.pages_used), (12, 0));
    }

    #[test]
    fn behind_the_last_page_comes_the_first() {
        let mut queue = Queue::new(3, 1);
        for number in 1..10 {
            let batch = batch(&mut queue, 5000).unwrap();
            assert_eq!((batch.number, batch.page), (number, 1));
            queue.finish(batch, Ok(()));
            let (last, taken) = queue.take_written(100).unwrap();
            queue.applied(last, &taken);
            queue.flushed();
        }
    }

    #[test]
    fn a_batch_waits_for_those_before_it() {
        let mut queue = Queue::new(50, 1);
        let (first, second) = (batch(&mut queue, 10).unwrap(), batch(&mut queue, 10).unwrap());
        queue.finish(second, Ok(()));
        assert!(queue.take_written(100).is_none());
        queue.finish(first, Err(io::ErrorKind::StorageFull));
        let (last, taken) = queue.take_written(100).unwrap();
        assert_eq!((last, taken[0].rows.len(), taken[1].rows.len()), (2, 0, 1));
        assert_eq!(queue.failure, Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn who_comes_while_a_batch_is_on_its_way_waits_a_little_and_goes_with_the_next() {
        let mut queue = Queue::new(50, 1);
        let now = Instant::now();
        assert_eq!(queue.patience(now), None, "nobody waits");
        queue.push(noted(10));
        assert_eq!(queue.patience(now), None, "the disk is free");
        let first = queue.next_batch().unwrap();
        queue.push(Noted { since: now, ..noted(10) });
        queue.push(Noted { since: now + PATIENCE, ..noted(10) });
        assert_eq!(queue.patience(now + PATIENCE / 4), Some(PATIENCE * 3 / 4));
        assert_eq!(queue.patience(now + PATIENCE), None, "the disk is slow");
        queue.finish(first, Ok(()));
        assert_eq!(queue.patience(now), None, "the disk is free again");
        assert_eq!(queue.next_batch().unwrap().noted.len(), 2);
    }

    #[test]
    fn what_waits_is_written_in_batches_that_fit() {
        let mut queue = Queue::new(50, 1);
        for _ in 0..100 {
            queue.push(noted(1000));
        }
        let first = queue.next_batch().unwrap();
        assert!((60..66).contains(&first.noted.len()), "{}", first.noted.len());
        assert_eq!(queue.next_batch().unwrap().noted.len(), 100 - first.noted.len());
        assert!(queue.next_batch().is_none());
    }
}
