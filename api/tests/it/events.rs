//! Events: from any point on, without a gap.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use ledger::{EventSeq, Role};
use reqwest::header;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{app::TestApp, seed};

const SOON: Duration = Duration::from_secs(20);

/// A reader of server-sent events.
struct Reader {
    response: reqwest::Response,
    text: String,
}

/// One message: id and kind.
type Heard = (i64, String);

impl Reader {
    async fn open(app: &TestApp, key: &str, last_event_id: Option<i64>) -> Self {
        let address = app.listen().await;
        let mut request = reqwest::Client::new().get(format!("http://{address}/v1/events")).bearer_auth(key);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next message; `None` when the stream has ended.
    async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(heard) = parse(&message) {
                    return Some(heard);
                }
                continue;
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.expect("an event comes soon");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Heard> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.push(self.next().await.expect("the stream goes on"));
        }
        heard
    }
}

fn parse(message: &str) -> Option<Heard> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((field("id:")?.parse().unwrap(), field("event:")?.to_owned()))
}

/// What the log holds that readers other than administrators may see.
async fn log(app: &TestApp) -> Vec<Heard> {
    let events = app.ledger.events_after(EventSeq(0), 1000).await.unwrap();
    let seen = events.into_iter().filter(|event| !event.kind.starts_with("key."));
    seen.map(|event| (event.seq.0, event.kind)).collect()
}

#[tokio::test]
async fn a_reader_that_comes_back_hears_everything_behind_its_last_event() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    seed::study(&app, 1).await;
    let mut first = Reader::open(&app, &key, Some(0)).await;
    let before = first.take(log(&app).await.len()).await;
    assert_eq!(before, log(&app).await);
    drop(first);
    seed::study(&app, 2).await;
    let mut second = Reader::open(&app, &key, Some(before.last().unwrap().0)).await;
    seed::study(&app, 3).await;
    let all = log(&app).await;
    let after = second.take(all.len() - before.len()).await;
    assert_eq!([before, after].concat(), all);
}

#[tokio::test]
async fn a_reader_without_a_last_event_hears_what_happens_next() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    seed::study(&app, 1).await;
    let known = log(&app).await.len();
    let mut reader = Reader::open(&app, &key, None).await;
    seed::study(&app, 2).await;
    let all = log(&app).await;
    assert_eq!(reader.take(all.len() - known).await, all[known..]);
}

#[tokio::test]
async fn accounts_and_keys_are_heard_of_by_administrators_only() {
    let app = TestApp::start().await;
    let (doctor, admin) = (app.key(Role::Doctor).await, app.key(Role::Admin).await);
    seed::study(&app, 1).await;
    let kinds = |heard: Vec<Heard>| heard.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    let doctor_hears = kinds(Reader::open(&app, &doctor, Some(0)).await.take(1).await);
    assert_eq!(doctor_hears, ["study.received"]);
    let admin_hears = kinds(Reader::open(&app, &admin, Some(0)).await.take(2).await);
    assert_eq!(admin_hears, ["key.added", "key.added"]);
}

#[tokio::test]
async fn streams_end_when_the_service_stops() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    seed::study(&app, 1).await;
    let mut reader = Reader::open(&app, &key, Some(0)).await;
    reader.take(1).await;
    app.shutdown.cancel();
    while reader.next().await.is_some() {}
}

#[tokio::test]
async fn what_is_taken_from_a_reader_counts_at_once() {
    let app = TestApp::start().await;
    seed::study(&app, 1).await;
    let key = app.key(Role::Doctor).await;
    let mut by_key = Reader::open(&app, &key, Some(0)).await;
    by_key.take(2).await;
    let row = app.ledger.api_keys().await.unwrap().remove(0);
    assert!(app.ledger.revoke_api_key(row.id, "admin", app.now()).await.unwrap());
    assert_eq!(by_key.next().await, None, "a revoked key hears on");

    let admin = app.signed_in("root", Role::Admin).await["access_token"].as_str().unwrap().to_owned();
    let last = app.ledger.last_event().await.unwrap().0;
    let mut as_admin = Reader::open(&app, &admin, Some(last)).await;
    assert!(app.ledger.set_role("root", Role::Doctor, "test", app.now()).await.unwrap());
    app.account("new", Role::Doctor).await;
    seed::study(&app, 2).await;
    // Of the accounts he hears nothing any more, not even of his own.
    assert_eq!(as_admin.next().await.unwrap().1, "study.received");
    assert!(app.ledger.set_role("root", Role::Worker, "test", app.now()).await.unwrap());
    while let Some((_, kind)) = as_admin.next().await {
        assert!(!kind.starts_with("account."), "{kind}");
    }
}

#[tokio::test]
async fn one_stream_too_many_is_refused() {
    let mut http = crate::app::roomy();
    http.limits.event_streams = 1;
    let app = TestApp::with(http).await;
    let key = app.key(Role::Doctor).await;
    let _open = Reader::open(&app, &key, None).await;
    app.get("/v1/events").bearer(&key).send().await.is_problem(503, "overloaded");
}

#[tokio::test]
async fn one_caller_cannot_have_all_streams() {
    let mut http = crate::app::roomy();
    http.limits.event_streams = 16;
    let app = TestApp::with(http).await;
    let (greedy, other) = (app.key(Role::Doctor).await, app.key(Role::Technician).await);
    let first = Reader::open(&app, &greedy, None).await;
    let _second = Reader::open(&app, &greedy, None).await;
    app.get("/v1/events").bearer(&greedy).send().await.is_problem(429, "rate_limited");
    let _other = Reader::open(&app, &other, None).await;
    // Its place is free again when a reader leaves.
    drop(first);
    let free = async {
        while app.get("/v1/events").bearer(&greedy).send().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("a place gets free");
}

/// A reader that has the answer's head and takes no more of it.
async fn asleep(app: &TestApp, key: &str) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(app.listen().await).await.unwrap();
    let head = format!("GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 15];
    socket.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    socket
}

#[tokio::test]
async fn a_reader_that_never_reads_loses_its_stream() {
    let mut http = crate::app::roomy();
    http.limits.event_streams = 1;
    let app = TestApp::with(http).await;
    let key = app.key(Role::Doctor).await;
    // More than all buffers on the way hold.
    let long = serde_json::json!({ "text": "x".repeat(1 << 20) });
    for _ in 0..24 {
        let event = ledger::NewEvent::new("study.note", app.now()).detail(long.clone());
        app.ledger.add_event(event).await.unwrap();
    }
    let _socket = asleep(&app, &key).await;
    app.get("/v1/events").bearer(&key).send().await.is_problem(503, "overloaded");
    let free = async {
        while app.get("/v1/events").bearer(&key).send().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), free).await.expect("the stream is given up");
}

#[tokio::test]
async fn a_last_event_that_is_no_number_is_refused() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    for id in ["x", "-1", "1.5"] {
        let call = app.get("/v1/events").bearer(&key).header("last-event-id", id);
        call.send().await.is_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn a_websocket_hears_the_same_with_its_token_as_a_subprotocol() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    seed::study(&app, 1).await;
    let address = app.listen().await;
    let mut request =
        format!("ws://{address}/ws/events?after=0&study=1.2.3.1").into_client_request().unwrap();
    let offered = format!("overread.events, bearer.{}", tokens["access_token"].as_str().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "overread.events");
    let heard = loop {
        let message = tokio::time::timeout(SOON, socket.next()).await.expect("an event comes soon");
        if let Message::Text(text) = message.unwrap().unwrap() {
            break serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    };
    assert_eq!(heard["kind"], "study.received");
    assert_eq!(heard["study_uid"], "1.2.3.1");
    socket.close(None).await.unwrap();
    socket.flush().await.unwrap_or_default();
}

#[tokio::test]
async fn a_websocket_without_a_token_is_not_opened() {
    let app = TestApp::start().await;
    let address = app.listen().await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/ws/events")).await;
    assert!(refused.unwrap_err().to_string().contains("401"));
}
