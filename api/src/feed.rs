//! Events as they happen, from any point of the log onwards and without a gap.
//!
//! The log in the ledger is the truth and a wake-up only says "look again", so a client
//! that names the last event it saw misses none, whatever broke in between.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use imaging::StudyUid;
use ledger::{Changes, Event, EventSeq, Role, Topic};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    auth::{self, Caller, Reader},
    error::{ApiError, ApiResult, Code},
    gate::CountedFor,
    state::AppState,
};

const BATCH: u32 = 256;
/// The net under lost wake-ups.
const POLL: Duration = Duration::from_secs(5);
/// How soon a stream ends whose reader may not read any more.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// One reader's place in the log.
pub(crate) struct Feed {
    state: AppState,
    /// What the reader showed when it came.
    credentials: HeaderMap,
    /// When he was last asked for again; none: he is to be asked now.
    checked: Option<Instant>,
    changes: Changes,
    after: EventSeq,
    reader: Caller,
    study: Option<StudyUid>,
    ready: VecDeque<Event>,
    _place: Place,
}

/// Where a stream begins, and what is in it.
#[derive(Debug)]
pub(crate) struct Start {
    /// Behind this event; none: with what happens next.
    pub(crate) after: Option<EventSeq>,
    /// Only events of this study.
    pub(crate) study: Option<StudyUid>,
}

/// Who has which account or key, and who failed to sign in, is for administrators.
fn is_administrative(event: &Event) -> bool {
    ["account.", "key."].iter().any(|family| event.kind.starts_with(family))
}

/// The streams that are open. One caller has an eighth of them at most, so that nobody shuts all others out.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    room: Arc<Semaphore>,
    limit: usize,
    of_callers: Arc<Mutex<HashMap<CountedFor, usize>>>,
}

/// One open stream; its place is free again when this is dropped.
struct Place {
    caller: CountedFor,
    of_callers: Arc<Mutex<HashMap<CountedFor, usize>>>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_callers = self.of_callers.lock().unwrap_or_else(PoisonError::into_inner);
        match of_callers.get_mut(&self.caller) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(of_callers.remove(&self.caller)),
        }
    }
}

impl Streams {
    pub(crate) fn new(limit: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(limit)), limit, of_callers: Arc::default() }
    }

    pub(crate) fn open(&self) -> usize {
        self.limit - self.room.available_permits()
    }

    fn enter(&self, caller: CountedFor) -> ApiResult<Place> {
        let refusal = |code, sentence| ApiError::because(code, sentence).retry_after(Duration::from_secs(5));
        let full = || refusal(Code::Overloaded, "too many event streams are open");
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| full())?;
        let mut of_callers = self.of_callers.lock().unwrap_or_else(PoisonError::into_inner);
        let open = of_callers.entry(caller.clone()).or_default();
        if *open >= (self.limit / 8).max(1) {
            return Err(refusal(Code::RateLimited, "you have too many event streams open: close one"));
        }
        *open += 1;
        Ok(Place { caller, of_callers: Arc::clone(&self.of_callers), _room: room })
    }
}

impl Feed {
    pub(crate) async fn open(
        state: AppState,
        reader: Caller,
        credentials: HeaderMap,
        start: Start,
    ) -> ApiResult<Self> {
        let place = state.streams().enter(reader.counted_for())?;
        // Before the first look, so that nothing falls between.
        let changes = state.ledger.changed(Topic::Events);
        let after = match start.after {
            Some(after) => after,
            None => state.ledger.last_event().await?,
        };
        Ok(Self {
            state,
            credentials,
            checked: Some(Instant::now()),
            changes,
            after,
            reader,
            study: start.study,
            ready: VecDeque::new(),
            _place: place,
        })
    }

    /// The next event; `None` when the service stops or the reader may not read any more.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if !self.may_go_on().await {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.state.ledger.events_after(self.after, BATCH).await {
                Ok(events) => {
                    // It may be his role that changed, or his key that was revoked.
                    let asked_anew = events.iter().any(is_administrative);
                    if asked_anew {
                        self.checked = None;
                    }
                    if asked_anew && !self.may_go_on().await {
                        return None;
                    }
                    self.take(events);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "event stream ends, its reader will resume: the ledger did not answer"
                    );
                    return None;
                }
            }
            if self.ready.is_empty() && !self.wait().await {
                return None;
            }
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        if let Some(last) = events.last() {
            self.after = last.seq;
        }
        let wanted = |event: &Event| {
            let about = self.study.is_none() || event.study == self.study;
            about && (self.reader.role == Role::Admin || !is_administrative(event))
        };
        self.ready.extend(events.into_iter().filter(wanted));
    }

    /// False when the service stops.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = self.state.shutdown.cancelled() => false,
            () = self.changes.next() => true,
            () = tokio::time::sleep(POLL) => true,
        }
    }

    /// A closed account or a revoked key ends its streams too, and a changed role counts.
    async fn may_go_on(&mut self) -> bool {
        if self.state.shutdown.is_cancelled() {
            return false;
        }
        if self.checked.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return true;
        }
        self.checked = Some(Instant::now());
        let reader = auth::identify(&self.state, &self.credentials).await;
        match reader {
            Ok(reader) if Reader::ROLES.contains(&reader.role) => {
                self.reader = reader;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}
