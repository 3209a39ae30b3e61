//! Every change of state, live: as server-sent events and over a WebSocket.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::rejection::WebSocketUpgradeRejection,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::HeaderMap,
    response::{
        Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use imaging::StudyUid;
use ledger::EventSeq;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Reader,
    error::{ApiError, ApiResult, Code},
    extract::Query,
    feed::{Feed, Start},
    request_id::same,
    state::AppState,
    view::timestamp,
};

const LAST_EVENT_ID: &str = "last-event-id";
/// What a browser offers beside its token; see docs/API.md.
const SUBPROTOCOL: &str = "overread.events";
const PING: Duration = Duration::from_secs(20);
/// A reader that takes nothing for so long is gone.
const SEND_MAX: Duration = Duration::from_secs(30);
/// We read nothing from a socket but pings and closes.
const MESSAGE_MAX: usize = 4096;

/// Which events are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// The id of the last event seen; the stream begins behind it. 0: from the beginning.
    /// `Last-Event-ID` wins. Neither: with what happens next.
    after: Option<i64>,
    /// Only events of this study.
    #[param(value_type = Option<String>)]
    study: Option<StudyUid>,
}

/// One change of state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Grows; send it as `Last-Event-ID` to go on behind it.
    id: i64,
    at: String,
    /// Such as `job.done`.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    study_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<i64>,
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: Value,
}

impl From<ledger::Event> for EventView {
    fn from(event: ledger::Event) -> Self {
        Self {
            id: event.seq.0,
            at: timestamp(event.at),
            kind: event.kind,
            study_uid: event.study.map(|uid| uid.to_string()),
            job_id: event.job.map(|id| id.to_string()),
            result_id: event.result.map(|id| id.to_string()),
            delivery_id: event.delivery.map(|id| id.0),
            actor: event.actor,
            request_id: event.request_id,
            detail: event.detail,
        }
    }
}

/// Events as they happen. Each message's `id` resumes the stream behind it.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "events",
    params(EventQuery, ("Last-Event-ID" = Option<i64>, Header, description = "As a browser sends it when it reconnects")),
    responses((status = 200, body = EventView, content_type = "text/event-stream",
        description = "One message for each event: `id`, `event` (its kind) and `data` (this object)")))]
pub(crate) async fn events(
    State(state): State<AppState>,
    reader: Reader,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> ApiResult<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let start = Start { after: resume_point(&headers, &query)?, study: query.study };
    let feed = Feed::open(state, reader.into_caller(), headers, start).await?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(same(hand_over(feed, sender)));
    let messages = stream::unfold(receiver, |mut receiver| async {
        let event = receiver.recv().await?;
        Some((Ok(message(event)), receiver))
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(PING)))
}

/// Hands events to whoever writes them to the socket, until that stands still or is gone. The writer itself
/// waits for its reader as long as the reader likes.
async fn hand_over(mut feed: Feed, sender: mpsc::Sender<ledger::Event>) {
    loop {
        let event = tokio::select! {
            event = feed.next() => event,
            () = sender.closed() => None,
        };
        let Some(event) = event else { return };
        if !is_taken(&sender, event, SEND_MAX).await {
            return;
        }
    }
}

async fn is_taken<T>(sender: &mpsc::Sender<T>, one: T, limit: Duration) -> bool {
    matches!(tokio::time::timeout(limit, sender.send(one)).await, Ok(Ok(())))
}

fn message(event: ledger::Event) -> sse::Event {
    let (id, kind) = (event.seq.to_string(), event.kind.clone());
    sse::Event::default().id(id).event(kind).data(json_text(event))
}

fn json_text(event: ledger::Event) -> String {
    serde_json::to_string(&EventView::from(event)).expect("an event has text keys only")
}

fn resume_point(headers: &HeaderMap, query: &EventQuery) -> ApiResult<Option<EventSeq>> {
    let after = match headers.get(LAST_EVENT_ID) {
        Some(id) => Some(id.to_str().ok().and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
            ApiError::because(Code::InvalidParameter, "Last-Event-ID is the id of an event, a number")
        })?),
        None => query.after,
    };
    match after {
        Some(after) if after < 0 => Err(ApiError::because(Code::InvalidParameter, "after is not negative")),
        after => Ok(after.map(EventSeq)),
    }
}

/// The same events over a WebSocket, one JSON text message each. A browser, which cannot
/// send `Authorization` here, offers the subprotocols `overread.events` and
/// `bearer.TOKEN` instead.
#[utoipa::path(get, path = "/ws/events", tag = "events", operation_id = "events_socket", params(EventQuery),
    responses((status = 101, description = "Text messages, each the JSON of one event")))]
pub(crate) async fn events_socket(
    State(state): State<AppState>,
    reader: Reader,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    let upgrade = upgrade.map_err(|rejection| ApiError::because(Code::BadRequest, rejection.body_text()))?;
    let start = Start { after: resume_point(&headers, &query)?, study: query.study };
    let feed = Feed::open(state, reader.into_caller(), headers, start).await?;
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(MESSAGE_MAX)
        .on_upgrade(|socket| forward(feed, socket)))
}

async fn forward(mut feed: Feed, mut socket: WebSocket) {
    let mut ping = tokio::time::interval(PING);
    loop {
        let message = tokio::select! {
            event = feed.next() => match event {
                Some(event) => Message::text(json_text(event)),
                None => break,
            },
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        match tokio::time::timeout(SEND_MAX, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let goodbye = CloseFrame { code: close_code::AWAY, reason: "resume behind the last event".into() };
    if let Err(error) = socket.send(Message::Close(Some(goodbye))).await {
        tracing::debug!(%error, "a reader of events left before it was told goodbye");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (sender, mut receiver) = mpsc::channel(1);
        let limit = Duration::from_millis(10);
        assert!(is_taken(&sender, 1, limit).await);
        assert!(!is_taken(&sender, 2, limit).await);
        assert_eq!(receiver.recv().await, Some(1));
        assert!(is_taken(&sender, 3, limit).await);
    }
}
