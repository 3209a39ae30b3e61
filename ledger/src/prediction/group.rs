//! Group commit: whoever comes while a transaction runs goes with the next one, all together.
//!
//! A flush to the disk costs the same for one call as for fifty. The work is a task of its
//! own: a caller who hangs up takes nobody else's answer with him.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Call, NewPredictions, write};
use crate::{AuditKey, Error, Ledger, NewAudit, PredictionId};

/// Calls that one transaction takes.
const CALLS_AT_ONCE: usize = 256;

type Answer = Result<Vec<PredictionId>, Error>;

#[derive(Debug)]
struct Waiting {
    call: Call,
    answer: oneshot::Sender<Answer>,
}

/// Calls that wait for the next transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody is writing and will look here again before he goes.
    writing: bool,
}

impl Group {
    pub(super) async fn record(
        &self,
        ledger: &Ledger,
        key: &AuditKey,
        audit: Option<NewAudit>,
        kept: Option<NewPredictions>,
    ) -> Answer {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut queue = lock(&self.0);
            queue.waiting.push(Waiting { call: Call { audit, kept }, answer });
            !std::mem::replace(&mut queue.writing, true)
        };
        if begin {
            let writer = Writer { queue: Arc::clone(&self.0), ledger: ledger.clone(), key: key.clone() };
            tokio::spawn(writer.run());
        }
        // The writer always answers; it is gone only when the process ends or it panicked.
        answered.await.unwrap_or(Err(Error::Interrupted))
    }
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    queue: Arc<Mutex<Queue>>,
    ledger: Ledger,
    key: AuditKey,
}

impl Writer {
    async fn run(self) {
        while let Some(waiting) = self.next() {
            let (calls, answers): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|one| (one.call, one.answer)).unzip();
            let written = write(&self.ledger, &self.key, &calls).await;
            answer(answers, written);
        }
    }

    /// The next calls; none: the next caller has to start a writer.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = lock(&self.queue);
        let count = queue.waiting.len().min(CALLS_AT_ONCE);
        if count == 0 {
            queue.writing = false;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for Writer {
    /// Should the writer be torn down between two transactions, those who wait are told so.
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        if queue.writing {
            queue.writing = false;
            queue.waiting.clear();
        }
    }
}

fn answer(answers: Vec<oneshot::Sender<Answer>>, written: Result<Vec<Vec<PredictionId>>, Error>) {
    match written {
        Ok(numbers) => {
            for (answer, numbers) in answers.into_iter().zip(numbers) {
                // A caller who hung up hears nothing; his rows are kept.
                drop(answer.send(Ok(numbers)));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                drop(answer.send(Err(Error::Group(Arc::clone(&error)))));
            }
        }
    }
}
