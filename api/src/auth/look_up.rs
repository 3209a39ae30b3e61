//! One look-up of a key for all who show it at the same time.
//!
//! Whoever comes while a look-up runs waits for the next one and shares it: it begins after he
//! came, so that a key that was revoked before opens nothing. What was found is remembered until
//! the next commit of anybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ledger::{ApiKey, Ledger, Millis};
use tokio::sync::oneshot;

use super::remembered::Remembered;

type Found = Result<Option<ApiKey>, ledger::Error>;
type Waiting = HashMap<String, Vec<oneshot::Sender<Found>>>;

/// The look-ups that run, each with those who wait for the next one of the same key.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyLookUps {
    running: Arc<Mutex<Waiting>>,
    found: Arc<Remembered<ApiKey>>,
}

impl KeyLookUps {
    pub(crate) async fn find(&self, ledger: &Ledger, hash: &str, now: Millis) -> Found {
        let known = self.found.at(ledger.mark(), hash);
        if let Some(key) = known.filter(|key| key.is_current(now)) {
            return Ok(Some(key));
        }
        loop {
            let Some(shared) = self.join(hash) else {
                let running = Running { look_ups: self.clone(), hash: hash.to_owned(), is_over: false };
                let found = self.look(ledger, hash, now).await;
                running.hand_on(ledger.clone(), now);
                return found;
            };
            // Gone unanswered: its asker hung up, so that somebody else has to look.
            if let Ok(found) = shared.await {
                return found;
            }
        }
    }

    async fn look(&self, ledger: &Ledger, hash: &str, now: Millis) -> Found {
        let mark = ledger.mark();
        let found = ledger.api_key_by_hash(hash, now).await;
        if let Ok(Some(key)) = &found {
            self.found.keep(mark, hash, key.clone());
        }
        found
    }

    /// A place in the next look-up; none when the caller is to run one now.
    fn join(&self, hash: &str) -> Option<oneshot::Receiver<Found>> {
        let mut running = self.lock();
        if let Some(waiting) = running.get_mut(hash) {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            return Some(receiver);
        }
        running.insert(hash.to_owned(), Vec::new());
        None
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look-up that runs; dropped half-way it lets those go who wait.
struct Running {
    look_ups: KeyLookUps,
    hash: String,
    is_over: bool,
}

impl Running {
    /// Looks once more for those who came meanwhile, and again, until nobody waits.
    fn hand_on(mut self, ledger: Ledger, now: Millis) {
        let Some(first) = self.next() else { return };
        tokio::spawn(async move {
            let mut waiting = first;
            loop {
                let found = self.look_ups.look(&ledger, &self.hash, now).await;
                tell(waiting, found);
                match self.next() {
                    Some(next) => waiting = next,
                    None => return,
                }
            }
        });
    }

    /// Those who wait; without any the look-up is over.
    fn next(&mut self) -> Option<Vec<oneshot::Sender<Found>>> {
        let mut running = self.look_ups.lock();
        let waiting = running.get_mut(&self.hash)?;
        if waiting.is_empty() {
            running.remove(&self.hash);
            self.is_over = true;
            return None;
        }
        Some(std::mem::take(waiting))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.look_ups.lock().remove(&self.hash);
        }
    }
}

fn tell(waiting: Vec<oneshot::Sender<Found>>, found: Found) {
    match found {
        Ok(key) => waiting.into_iter().for_each(|asker| drop(asker.send(Ok(key.clone())))),
        Err(error) => {
            let error = Arc::new(error);
            for asker in waiting {
                drop(asker.send(Err(ledger::Error::Group(Arc::clone(&error)))));
            }
        }
    }
}
