//! An export on its way out while it is written, so that its size is bounded by nobody's disk or patience.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use results::Pseudonyms;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::{Reviewed, zipped};
use crate::error::{ApiError, ApiResult, Code};

/// Each reads the spool as fast as it can: one beside the modalities is enough.
const AT_ONCE: usize = 1;
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks between archive and socket.
const CHUNKS_WAITING: usize = 4;
/// Whoever takes nothing for so long has gone, and others may have an export.
const PATIENCE: Duration = Duration::from_secs(300);

/// Room for exports.
#[derive(Debug)]
pub(crate) struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Exports {
    /// A place for one more, held until it is written or given up.
    pub(crate) fn begin(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let detail = "another export is being written; ask again when it has arrived";
            ApiError::because(Code::Overloaded, detail).retry_after(ASK_AGAIN_AFTER)
        })
    }
}

/// The archive, as it is written. It breaks off when it cannot be written to its end.
pub(crate) fn streamed(
    reviewed: Reviewed,
    pseudonyms: Pseudonyms,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let runtime = Handle::current();
    let chunks = Chunks { sender: sender.clone(), runtime: runtime.clone(), is_given_up: false };
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let into = BufWriter::with_capacity(CHUNK_BYTES, chunks);
        if let Err(error) = zipped(&reviewed, &pseudonyms, into) {
            tracing::warn!(error = &error as &dyn std::error::Error, "an export was broken off");
            // So that a part is not taken for the whole.
            let end = Err(io::Error::other("the export was broken off"));
            drop(runtime.block_on(sender.send_timeout(end, PATIENCE)));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

/// Hands what is written to a stream, from a thread that may block.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    is_given_up: bool,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An archive that is given up still writes its end, which nobody wants.
        if self.is_given_up {
            return Ok(bytes.len());
        }
        let sending = self.sender.send_timeout(Ok(Bytes::copy_from_slice(bytes)), PATIENCE);
        self.is_given_up = self.runtime.block_on(sending).is_err();
        if self.is_given_up { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use futures_util::StreamExt;

    use super::*;

    #[test]
    fn one_export_is_written_at_a_time_and_the_next_is_told_when_to_ask() {
        let exports = Exports::default();
        let first = exports.begin().unwrap();
        let refused = exports.begin().unwrap_err().into_response();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "60");
        drop(first);
        assert!(exports.begin().is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_that_nobody_takes_any_more_ends() {
        let exports = Exports::default();
        // Longer than all chunks that wait, however well it shrinks.
        let number = |number: u64| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let reviewed = Reviewed {
            model: (0..1_000_000).map(number).collect(),
            made_at: ledger::Millis(0),
            predictions: Vec::new(),
            cases: Vec::new(),
        };
        let archive = streamed(reviewed, Pseudonyms::new([0; 32]), exports.begin().unwrap());
        let mut archive = Box::pin(archive);
        assert!(archive.next().await.expect("a chunk").is_ok());
        assert!(exports.begin().is_err(), "it is not written to its end while nobody takes it");
        drop(archive);
        let is_free = async {
            while exports.begin().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_free).await.expect("the place is free again");
    }
}
