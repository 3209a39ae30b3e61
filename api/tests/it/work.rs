//! Studies, jobs, results and deliveries.

use ledger::{JobState, Role};
use serde_json::Value;

use crate::{
    app::TestApp,
    seed::{self, Leaves},
};

async fn get(app: &TestApp, key: &str, path: &str) -> Value {
    app.get(path).bearer(key).send().await.is(200).json()
}

#[tokio::test]
async fn a_study_shows_its_series_evidence_jobs_and_results() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    seed::result(&app, &seeded, Leaves::Released).await;
    let study = get(&app, &key, "/v1/studies/1.2.3.1").await;
    assert_eq!(study["series"][0]["series_uid"], "1.2.3.1.1");
    assert_eq!(study["series"][0]["all_released"], true);
    assert_eq!(study["series"][0]["carriers"][0]["calling_ae"], "MR1");
    assert_eq!(study["series"][0]["carriers"][0]["ending"], "released");
    assert_eq!(study["jobs"][0]["state"], "done");
    assert_eq!(study["results"][0]["outcome"], "findings");
    app.get("/v1/studies/9.9.9").bearer(&key).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn forcing_a_study_is_noted_with_who_and_which_request() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    seed::study(&app, 1).await;
    let call = app.post("/v1/studies/1.2.3.1/analyse").bearer(&key).header("x-request-id", "REQ_9");
    let study = call.send().await.is(202).json();
    assert_eq!(study["forced"]["by"], "key:technician key");
    assert_eq!(study["forced"]["holds_still"], true);
    let events = app.ledger.events_after(ledger::EventSeq(0), 100).await.unwrap();
    let forced = events.iter().find(|event| event.kind == "study.forced").unwrap();
    assert_eq!((forced.actor.as_str(), forced.request_id.as_deref()), ("key:technician key", Some("REQ_9")));
    app.post("/v1/studies/9.9.9/analyse").bearer(&key).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_dead_job_can_be_retried_and_a_waiting_one_cancelled_once() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let seeded = seed::study(&app, 1).await;
    let job = seed::failed_job(&app, &seeded).await;
    let dead = get(&app, &key, &format!("/v1/jobs/{job}")).await;
    assert_eq!(dead["state"], "dead");
    assert_eq!(dead["failure"]["reason"], "the series has no spacing");
    let retried = app.post(&format!("/v1/jobs/{job}/retry")).bearer(&key).send().await.is(200).json();
    assert_eq!(retried["state"], "queued");
    let cancel = format!("/v1/jobs/{job}/cancel");
    let cancelled =
        app.post(&cancel).bearer(&key).header("x-request-id", "REQ_10").send().await.is(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    app.post(&cancel).bearer(&key).send().await.is_problem(409, "conflict");
    assert_eq!(app.ledger.job(job).await.unwrap().unwrap().state, JobState::Cancelled);
    let events = app.ledger.events_after(ledger::EventSeq(0), 100).await.unwrap();
    let cancelled = events.iter().find(|event| event.kind == "job.cancelled").unwrap();
    assert_eq!(cancelled.request_id.as_deref(), Some("REQ_10"));
}

#[tokio::test]
async fn a_result_is_seen_when_it_is_released_and_not_before() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    let kept = seed::study(&app, 1).await;
    let (hidden, _) = seed::result(&app, &kept, Leaves::Kept).await;
    app.get(&format!("/v1/results/{hidden}")).bearer(&key).send().await.is_problem(404, "not_found");
    app.get(&format!("/v1/results/{hidden}/artifacts"))
        .bearer(&key)
        .send()
        .await
        .is_problem(404, "not_found");
    assert_eq!(get(&app, &key, "/v1/results").await["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_released_result_shows_its_findings_and_objects() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    let (result, artifact) = seed::result(&app, &seeded, Leaves::Released).await;
    let shown = get(&app, &key, &format!("/v1/results/{result}")).await;
    assert_eq!(shown["findings"]["segments"][0]["volume_ml"], 1.5);
    assert_eq!(shown["artifacts"][0]["role"], "seg");
    assert_eq!(shown["artifacts"][0]["download"], format!("/v1/results/{result}/artifacts/{artifact}"));
    let listed = get(&app, &key, &format!("/v1/results?study={}&outcome=findings", seeded.study)).await;
    assert_eq!(listed["items"][0]["id"], result.to_string());
}

#[tokio::test]
async fn deliveries_are_listed_and_only_what_stands_still_is_sent_again() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let seeded = seed::study(&app, 1).await;
    seed::result(&app, &seeded, Leaves::Released).await;
    let waiting = get(&app, &key, "/v1/deliveries?state=waiting&destination=pacs").await;
    assert_eq!(waiting["items"][0]["study_uid"], "1.2.3.1");
    let retry = format!("/v1/deliveries/{}/retry", waiting["items"][0]["id"]);
    app.post(&retry).bearer(&key).send().await.is_problem(409, "conflict");
    seed::park_delivery(&app).await;
    let parked = get(&app, &key, "/v1/deliveries?state=parked").await;
    assert_eq!(parked["items"][0]["failure"], "refused: SOP class");
    assert_eq!(app.post(&retry).bearer(&key).send().await.is(200).json()["state"], "waiting");
    app.post("/v1/deliveries/999/retry").bearer(&key).send().await.is_problem(404, "not_found");
}
