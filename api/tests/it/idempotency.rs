//! What is asked twice under one `Idempotency-Key` is done once.

use std::time::Duration;

use axum::http::Method;
use ledger::{
    AuditFilter, BootId, Claimed, EventFilter, NewIdempotencyClaim, NodeId, PageRequest, PredictionFilter,
    Role,
};
use serde_json::{Value, json};

use crate::{
    app::{Answer, Call, TestApp, roomy},
    seed,
};

const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

fn batch<'a>(app: &'a TestApp, key: &str, body: &Value) -> Call<'a> {
    app.post("/v1/batches").bearer(key).header("idempotency-key", KEY).json(body)
}

fn is_again(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes), "{}", again.text());
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
}

async fn batches(app: &TestApp) -> usize {
    app.ledger.batches(&PageRequest::first(100)).await.unwrap().rows.len()
}

#[tokio::test]
async fn a_batch_that_is_asked_for_again_is_the_same_batch() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    seed::study(&app, 1).await;
    let body = json!({ "studies": ["1.2.3.1"] });
    let first = batch(&app, &key, &body).send().await;
    first.is(202);
    is_again(&first, &batch(&app, &key, &body).send().await);
    // As the draft writes it.
    let quoted =
        app.post("/v1/batches").bearer(&key).header("idempotency-key", &format!("\"{KEY}\"")).json(&body);
    is_again(&first, &quoted.send().await);
    assert_eq!(batches(&app).await, 1);
    let deeds = AuditFilter { action: Some("batch.add".to_owned()), ..AuditFilter::default() };
    assert_eq!(app.ledger.audit(&deeds, &PageRequest::first(10)).await.unwrap().rows.len(), 1);

    batch(&app, &key, &json!({ "studies": ["1.2.3.2"] })).send().await.is_problem(422, "key_reused");
    let elsewhere = app.post("/v1/studies/1.2.3.1/analyse").bearer(&key).header("idempotency-key", KEY);
    elsewhere.send().await.is_problem(422, "key_reused");
    // Another caller's key is another key.
    batch(&app, &app.key(Role::Doctor).await, &body).send().await.is(202);
    assert_eq!(batches(&app).await, 2);
}

#[tokio::test]
async fn of_twenty_equal_requests_at_once_one_is_carried_out() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    seed::study(&app, 1).await;
    let body = json!({ "studies": ["1.2.3.1"] });
    let all = (0..20).map(|_| batch(&app, &key, &body).send());
    for answer in futures_util::future::join_all(all).await {
        match answer.status.as_u16() {
            202 => {}
            _ => drop(answer.is_problem(409, "in_progress")),
        }
    }
    assert_eq!(batches(&app).await, 1);
    batch(&app, &key, &body).send().await.is(202);
    assert_eq!(batches(&app).await, 1);
}

#[tokio::test]
async fn a_patients_rows_are_kept_once() {
    let app = TestApp::with_models(roomy(), &["meso"]).await;
    let key = app.key(Role::Doctor).await;
    let ask = |body: &str, kind: &str| {
        let call = app.post("/v1/models/meso/predict").bearer(&key).header("idempotency-key", KEY);
        call.body(kind, body.to_owned()).send()
    };
    let body = json!({ "data": [{ "age": 65, "albumin": 3.8 }], "patient_id": "12" }).to_string();
    let first = ask(&body, "application/json").await;
    first.is(200);
    is_again(&first, &ask(&body, "application/json").await);
    let kept = app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(10)).await.unwrap();
    assert_eq!(kept.rows.len(), 1);
    ask("age\n65\n", "text/csv").await.is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_request_that_was_refused_leaves_its_key_free() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    batch(&app, &key, &json!({})).send().await.is_problem(422, "unprocessable");
    batch(&app, &key, &json!({ "studies": ["1.2.3"] })).send().await.is(202);
    assert_eq!(batches(&app).await, 1);
}

#[tokio::test]
async fn a_made_keys_secret_is_not_told_again() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let body = json!({ "name": "client", "role": "service" });
    let make = || app.post("/v1/keys").bearer(&admin).header("idempotency-key", KEY).json(&body).send();
    make().await.is(201);
    make().await.is_problem(409, "answer_not_kept");
    assert_eq!(app.ledger.api_keys().await.unwrap().iter().filter(|key| key.name == "client").count(), 1);
}

#[tokio::test]
async fn an_answer_that_names_a_patient_is_not_kept() {
    let app = TestApp::start().await;
    let doctor = app.key(Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    let analyse =
        || app.post("/v1/studies/1.2.3.1/analyse").bearer(&doctor).header("idempotency-key", KEY).send();
    assert!(analyse().await.is(202).text().contains(seed::PATIENT_ID));
    analyse().await.is_problem(409, "answer_not_kept");
    let of_study = EventFilter { study: Some(seeded.study), job: None };
    let events = app.ledger.events(&of_study, &PageRequest::first(100)).await.unwrap().rows;
    assert_eq!(events.iter().filter(|event| event.kind == "study.forced").count(), 1);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let body = json!({ "studies": ["1.2.3"] });
    for bad in ["", "a b", "\"\"", &"x".repeat(256)] {
        let call = app.post("/v1/batches").bearer(&key).header("idempotency-key", bad).json(&body);
        call.send().await.is_problem(400, "bad_request");
    }
    let twice = batch(&app, &key, &body).header("idempotency-key", "other").send().await;
    twice.is_problem(400, "bad_request");
    assert_eq!(batches(&app).await, 0);
}

#[tokio::test]
async fn a_deed_whose_process_died_is_not_done_again() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let body = json!({ "studies": ["1.2.3"] });
    let caller = format!("key:{}", app.ledger.api_keys().await.unwrap()[0].id);
    let (sent, node, boot) = (body.to_string(), NodeId::new("node"), BootId::new("the boot before"));
    let before = NewIdempotencyClaim {
        caller: &caller,
        key: KEY,
        method: "POST",
        address: "/v1/batches",
        body: sent.as_bytes(),
        node: &node,
        boot: &boot,
    };
    let claimed =
        app.ledger.claim_idempotency_key(&before, Duration::from_secs(60), app.now()).await.unwrap();
    assert!(matches!(claimed, Claimed::First(_)));
    batch(&app, &key, &body).send().await.is_problem(409, "outcome_unknown");
    assert_eq!(batches(&app).await, 0);
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_review_and_ask_once() {
    let mut http = roomy();
    http.cors_origins = vec!["https://viewer.example".parse().unwrap()];
    let app = TestApp::with(http).await;
    let preflight = app
        .call(Method::OPTIONS, "/v1/results/018bcfe5-6800-7000-8000-000000000000/reviews")
        .header("origin", "https://viewer.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,if-match,idempotency-key")
        .send()
        .await;
    preflight.is(200);
    for name in ["if-match", "idempotency-key", "authorization"] {
        assert!(preflight.header("access-control-allow-headers").contains(name), "{name}");
    }
    let answer = app.get("/livez").header("origin", "https://viewer.example").send().await;
    for name in ["etag", "warning", "server-timing", "location", "retry-after", "idempotent-replayed"] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{name}");
    }
}
