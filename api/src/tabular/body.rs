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
use inference::Model;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    asked::{Asked, BodyProblem},
    parse::parse,
    run::{ordered, spec_of},
};
use crate::error::{ApiError, ApiResult, Code};

/// A body up to this length is held as a whole.
const SHORT: usize = 256 << 10;
/// Long bodies that are read or answered at once.
const LONG_AT_ONCE: usize = 4;
/// Short bodies with many values that are answered at once.
const WIDE_AT_ONCE: usize = 2;
/// Fewer values than this, given or left out, take up no room worth counting.
const FEW_VALUES: usize = 50_000;
/// Chunks between socket and parser.
const CHUNKS_WAITING: usize = 8;

/// Room for the bodies that take up much memory. Who sends slowly stands in nobody's way but that of
/// other long bodies.
#[derive(Debug, Clone)]
pub(crate) struct ReadBodies {
    long: Arc<Semaphore>,
    wide: Arc<Semaphore>,
}

impl Default for ReadBodies {
    fn default() -> Self {
        Self { long: Arc::new(Semaphore::new(LONG_AT_ONCE)), wide: Arc::new(Semaphore::new(WIDE_AT_ONCE)) }
    }
}

/// The room that a request takes up; free again when the last of those who work on it is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room(#[allow(dead_code, reason = "held, not read")] Option<Arc<OwnedSemaphorePermit>>);

impl Room {
    async fn of(semaphore: &Arc<Semaphore>) -> ApiResult<Self> {
        let permit = Arc::clone(semaphore).acquire_owned().await.map_err(ApiError::internal)?;
        Ok(Self(Some(Arc::new(permit))))
    }
}

/// The rows as the model wants them, and the room that they take up until they are answered. A few bytes
/// can stand for many rows, and each gets a value for every feature of the model.
pub(crate) async fn feature_rows(
    room: &ReadBodies,
    model: &Model,
    asked: &Asked,
) -> ApiResult<(Vec<Vec<f64>>, Room)> {
    let values = asked.table.filled(spec_of(model)?.features.len()).map_err(BodyProblem::from)?;
    let held = match &asked.room {
        Room(None) if values > FEW_VALUES => Room::of(&room.wide).await?,
        held => held.clone(),
    };
    Ok((ordered(model, &asked.table)?, held))
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
    let held = Room::of(&room.long).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let parsing = tokio::task::spawn_blocking(move || {
        let reader = io::BufReader::new(Chunks { receiver, current: Bytes::new() });
        parse(serde_json::Deserializer::from_reader(reader)).map(|asked| Asked { room: held, ..asked })
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
