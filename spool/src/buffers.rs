//! Buffers that are used again, so that an instance costs no fresh memory.

use std::sync::{Mutex, PoisonError};

use crate::journal::Draft;

/// Idle buffers that are held; more are freed.
const IDLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Draft>>);

impl Buffers {
    pub(crate) fn take(&self) -> Draft {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Draft::with_room)
    }

    pub(crate) fn give_back(&self, buffer: Draft) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(buffer);
        }
    }
}
