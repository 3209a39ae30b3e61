//! Instances that were acknowledged, and are not in the queue for the ledger yet.
//!
//! Between the two lies the making of a file. Who is to speak about everything that was acknowledged, as a
//! report of storage commitment does, waits until that is done.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Promises(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    kept: Condvar,
}

#[derive(Debug, Default)]
struct State {
    made: u64,
    open: BTreeSet<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That one instance gets into the queue; dropped when it is there.
#[derive(Debug)]
pub(crate) struct Promise {
    shared: Arc<Shared>,
    number: u64,
}

impl Promises {
    pub(crate) fn make(&self) -> Promise {
        let mut state = self.0.state();
        state.made += 1;
        let number = state.made;
        state.open.insert(number);
        drop(state);
        Promise { shared: self.0.clone(), number }
    }

    /// Waits until those that are open now are kept. Later ones are not waited for.
    pub(crate) fn wait(&self) {
        self.wait_up_to(self.made());
    }

    fn made(&self) -> u64 {
        self.0.state().made
    }

    fn wait_up_to(&self, last: u64) {
        let mut state = self.0.state();
        while state.open.first().is_some_and(|&oldest| oldest <= last) {
            state = self.0.kept.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.shared.state().open.remove(&self.number);
        self.shared.kept.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn earlier_promises_are_waited_for_and_later_ones_are_not() {
        let promises = Promises::default();
        let (first, second) = (promises.make(), promises.make());
        let last = promises.made();
        let (say, hear) = mpsc::channel();
        let waiting = thread::spawn({
            let promises = promises.clone();
            move || {
                promises.wait_up_to(last);
                say.send(()).unwrap();
            }
        });
        drop(second);
        let _later = promises.make();
        assert_eq!(hear.try_recv(), Err(mpsc::TryRecvError::Empty), "the first is open");
        drop(first);
        assert_eq!(hear.recv_timeout(Duration::from_secs(60)), Ok(()));
        waiting.join().unwrap();
    }
}
