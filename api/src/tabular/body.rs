//! Reads a JSON body of rows: a short one at once, a long one as it comes.

use std::{
    io::{self, Read},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use super::{
    asked::{Asked, BodyProblem},
    parse::parse,
};
use crate::error::{ApiError, ApiResult, Code};

/// A body up to this length is held as a whole.
const SHORT: usize = 256 << 10;
/// Long bodies that are read at once.
const LONG_AT_ONCE: usize = 4;
/// Chunks between socket and parser.
const CHUNKS_WAITING: usize = 8;

/// Room for the long bodies that are being read.
#[derive(Debug, Clone)]
pub(crate) struct ReadBodies(Arc<Semaphore>);

impl Default for ReadBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LONG_AT_ONCE)))
    }
}

/// The rows that a request asks about.
pub(crate) async fn read(room: &ReadBodies, request: Request, bytes_max: usize) -> ApiResult<Asked> {
    let stated = stated_length(request.headers());
    if stated.is_some_and(|length| length > bytes_max) {
        return Err(BodyProblem::TooLarge(bytes_max).into());
    }
    match stated {
        Some(length) if length <= SHORT => {
            let bytes = axum::body::to_bytes(request.into_body(), SHORT).await;
            let bytes = bytes.map_err(|_| BodyProblem::Cut)?;
            Ok(parse(serde_json::Deserializer::from_slice(&bytes))?)
        }
        _ => read_long(room, request.into_body(), bytes_max).await,
    }
}

fn stated_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_long(room: &ReadBodies, body: Body, bytes_max: usize) -> ApiResult<Asked> {
    let permit = Arc::clone(&room.0).acquire_owned().await.map_err(ApiError::internal)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let parsing = tokio::task::spawn_blocking(move || {
        let _room = permit;
        let reader = io::BufReader::new(Chunks { receiver, current: Bytes::new() });
        parse(serde_json::Deserializer::from_reader(reader))
    });
    let fed = feed(body, sender, bytes_max).await;
    let parsed = parsing.await.map_err(ApiError::internal)?;
    // The parser's complaint about an end that we made is not the caller's problem.
    fed?;
    parsed.map_err(ApiError::from)
}

/// Hands the body over; ends early when the parser has seen enough.
async fn feed(body: Body, sender: mpsc::Sender<io::Result<Bytes>>, bytes_max: usize) -> ApiResult<()> {
    let mut chunks = body.into_data_stream();
    let mut left = bytes_max;
    while let Some(chunk) = chunks.next().await {
        let refusal = match chunk {
            Ok(chunk) if chunk.len() <= left => {
                left -= chunk.len();
                if sender.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Ok(_) => ApiError::from(BodyProblem::TooLarge(bytes_max)),
            Err(error) => ApiError::because(Code::BadRequest, BodyProblem::Cut.to_string()).caused_by(error),
        };
        // So that the parser does not take the end for the end of the body.
        drop(sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await);
        return Err(refusal);
    }
    Ok(())
}

/// The chunks as one stream of bytes, for a thread that may block.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
