//! Contract D: programs outside that ask for series to segment.

use std::time::Duration;

use api::PollingWorker;
use ledger::Role;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, roomy};

const PENDING: &str = "/api/mri/segmentation/pending-requests";

/// Workers that show a key of that name, or call from a laboratory.
async fn app() -> TestApp {
    let mut http = roomy();
    http.plain = api::Plain::Everywhere;
    http.compat.polling_workers = vec![
        PollingWorker::Key("worker key".to_owned()),
        PollingWorker::Address("192.0.2.0/24".parse().unwrap()),
    ];
    TestApp::with(http).await
}

async fn ask(app: &TestApp, doctor: &str, series: &str) -> i64 {
    let path = format!("/api/mri/segmentation/series/{series}/segment");
    app.post(&path).bearer(doctor).send().await.is(200).json()["request_id"].as_i64().unwrap()
}

async fn poll(app: &TestApp, worker: &str) -> Value {
    app.get(&format!("{PENDING}?wait=0")).bearer(worker).send().await.is(200).json()
}

async fn say(app: &TestApp, worker: &str, what: &str, id: i64, body: Value) -> Answer {
    app.post(&format!("/api/mri/segmentation/{what}/{id}")).bearer(worker).json(&body).send().await
}

#[tokio::test]
async fn without_named_workers_their_routes_are_not_there() {
    let app = TestApp::start().await;
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    let answers = [
        app.get(PENDING).bearer(&worker).send().await,
        app.get("/api/mri/segmentation/requests").bearer(&doctor).send().await,
        app.post("/api/mri/segmentation/series/1.2/segment").bearer(&doctor).send().await,
        say(&app, &worker, "update-status", 1, json!({ "status": "processing" })).await,
        say(&app, &worker, "complete-request", 1, json!({})).await,
    ];
    for answer in answers {
        let told = answer.is(404).json();
        assert_eq!(told["success"], false);
        assert!(told["error"].as_str().unwrap().contains("compat.polling_workers"), "{told}");
    }
}

#[tokio::test]
async fn only_who_is_named_gets_work() {
    let app = app().await;
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    app.get(PENDING).send().await.is(401);
    app.get(PENDING).bearer(&doctor).send().await.is(403);
    app.get(PENDING).peer("198.51.100.7:1").send().await.is(401);
    let from_laboratory = app.get(&format!("{PENDING}?wait=0")).peer("192.0.2.7:1").send().await;
    assert_eq!(from_laboratory.is(200).json(), json!({ "success": true, "count": 0, "requests": [] }));
    assert_eq!(poll(&app, &worker).await["count"], 0);
    // A worker hands in; it does not order.
    app.post("/api/mri/segmentation/series/1.2/segment").bearer(&worker).send().await.is(403);
    app.post("/api/mri/segmentation/series/1_2/segment").bearer(&doctor).send().await.is(400);
    app.get(&format!("{PENDING}?wait=26")).bearer(&worker).send().await.is(400);
}

#[tokio::test]
async fn a_worker_that_waits_is_told_of_a_new_request_at_once() {
    let app = std::sync::Arc::new(app().await);
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    let waiting = tokio::spawn({
        let (app, worker) = (std::sync::Arc::clone(&app), worker.clone());
        async move { app.get(&format!("{PENDING}?wait=25")).bearer(&worker).send().await.is(200).json() }
    });
    let id = ask(&app, &doctor, "1.2.3").await;
    let told = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("told early").unwrap();
    assert_eq!((&told["count"], &told["requests"][0]["request_id"]), (&json!(1), &json!(id)));
    assert_eq!(told["requests"][0]["status"], "pending");
}

#[tokio::test]
async fn a_dead_workers_series_goes_to_the_next_one() {
    let app = app().await;
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    let id = ask(&app, &doctor, "1.2.3").await;
    assert_eq!(poll(&app, &worker).await["requests"][0]["request_id"], id);
    assert_eq!(poll(&app, &worker).await["count"], 0);
    app.pass(Duration::from_secs(29 * 60));
    say(&app, &worker, "update-status", id, json!({ "status": "processing", "progress": 40 })).await.is(200);
    app.pass(Duration::from_secs(29 * 60));
    assert_eq!(poll(&app, &worker).await["count"], 0);
    app.pass(Duration::from_secs(2 * 60));
    assert_eq!(poll(&app, &worker).await["requests"][0]["request_id"], id);
}

#[tokio::test]
async fn a_worker_that_lost_its_series_hears_that_another_has_it() {
    let app = app().await;
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    let id = ask(&app, &doctor, "1.2.3").await;
    assert_eq!(poll(&app, &worker).await["count"], 1);
    app.pass(Duration::from_secs(31 * 60));
    app.get(&format!("{PENDING}?wait=0")).peer("192.0.2.7:1").send().await.is(200);
    for body in [json!({ "status": "processing", "progress": 99 }), json!({ "status": "failed" })] {
        let refused = say(&app, &worker, "update-status", id, body).await.is(409).json();
        assert_eq!(refused, json!({ "success": false, "error": format!("another worker has request {id}") }));
    }
    let failed = say(&app, &worker, "complete-request", id, json!({ "success": false })).await;
    failed.is(409);
    // What is there, however late, is not thrown away.
    say(&app, &worker, "complete-request", id, json!({ "seg": "1.9" })).await.is(200);
}

#[tokio::test]
async fn a_series_is_handed_in_once_however_often_it_is_said() {
    let app = app().await;
    let (worker, doctor) = (app.key(Role::Worker).await, app.key(Role::Doctor).await);
    let id = ask(&app, &doctor, "1.2.3").await;
    let result = json!({ "seg_instance_id": "0a49bedc-11223344-55667788-99aabbcc-ddeeff00" });
    for _ in 0..2 {
        let done = say(&app, &worker, "complete-request", id, result.clone()).await.is(200).json();
        assert_eq!(
            (&done["status"], &done["progress"], &done["result"]),
            (&json!("completed"), &json!(100), &result)
        );
    }
    for (what, body) in [
        ("complete-request", json!({ "seg_instance_id": "another" })),
        ("complete-request", json!({ "success": false, "error": "out of memory" })),
        ("update-status", json!({ "status": "processing" })),
    ] {
        let refused = say(&app, &worker, what, id, body).await.is(409).json();
        assert_eq!(refused, json!({ "success": false, "error": format!("request {id} is over: completed") }));
    }
    say(&app, &worker, "update-status", 99, json!({ "status": "processing" })).await.is(404);
    say(&app, &worker, "update-status", id, json!({ "status": "sleeping" })).await.is(422);
    let failed = ask(&app, &doctor, "1.2.4").await;
    let body = json!({ "status": "failed", "error_message": "no GPU\u{1b}[31m" });
    let answer = say(&app, &worker, "update-status", failed, body).await.is(200).json();
    assert_eq!((&answer["status"], &answer["error"]), (&json!("failed"), &json!("no GPU[31m")));
    let all = app.get("/api/mri/segmentation/requests").bearer(&doctor).send().await.is(200).json();
    assert_eq!((&all["count"], &all["requests"][0]["request_id"]), (&json!(2), &json!(failed)));
}
