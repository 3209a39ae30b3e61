//! One flush for everybody who waits: group commit.

use std::{
    fs::File,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Lets threads share the flushes of one file. A flush covers every write that was
/// finished before it started; whoever comes while one runs waits for the next.
#[derive(Debug, Default)]
pub(super) struct GroupFlush {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    completed: u64,
    running: bool,
    /// After a failed flush nobody knows which pages reached the disk, so it stays failed.
    failure: Option<io::ErrorKind>,
}

impl GroupFlush {
    /// Returns when all that the caller has written to `file` is on the disk.
    ///
    /// # Errors
    /// When this flush or an earlier one of the file failed.
    pub(super) fn flush(&self, file: &File) -> io::Result<()> {
        let mut state = self.lock();
        let wanted = state.started + 1;
        loop {
            if let Some(kind) = state.failure {
                return Err(kind.into());
            }
            if state.completed >= wanted {
                return Ok(());
            }
            if state.running {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let this = state.started;
            drop(state);
            let result = file.sync_data();
            state = self.lock();
            state.running = false;
            state.completed = this;
            if let Err(error) = result {
                state.failure = Some(error.kind());
            }
            self.ended.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
