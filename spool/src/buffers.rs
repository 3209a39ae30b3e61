//! Buffers that are used again, so that an instance costs no fresh memory.

use std::sync::{Mutex, PoisonError};

use crate::journal::PAYLOAD_BYTES_MAX;

/// Idle buffers that are held; more are freed.
const IDLE_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    pub(crate) fn take(&self) -> Vec<u8> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| vec![0; PAYLOAD_BYTES_MAX])
    }

    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && buffer.len() == PAYLOAD_BYTES_MAX {
            idle.push(buffer);
        }
    }
}
