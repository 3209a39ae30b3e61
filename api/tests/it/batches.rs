//! Many studies at once.

use std::{num::NonZeroU32, time::Duration};

use ledger::Role;
use serde_json::{Value, json};

use crate::{
    app::{TestApp, roomy},
    seed,
};

const LIMIT: Duration = Duration::from_secs(60);

async fn until(app: &TestApp, key: &str, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let batch = app.get(&format!("/v1/batches/{id}")).bearer(key).send().await.is(200).json();
            if is_so(&batch) {
                return batch;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.expect("the batch comes so far")
}

/// As the pipeline says that it has looked at a study.
async fn looked_at(app: &TestApp, seeded: &seed::Seeded) {
    let revision = app.ledger.study(&seeded.study).await.unwrap().unwrap().revision;
    app.ledger.study_looked_at(&seeded.study, revision, &json!({}), None).await.unwrap();
}

#[tokio::test]
async fn a_batch_ends_with_what_succeeded_and_what_failed_why() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let (good, bad, unsuited) =
        (seed::study(&app, 1).await, seed::study(&app, 2).await, seed::study(&app, 3).await);
    let body = json!({
        "studies": ["1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.99", "no uid"], "patients": [seed::PATIENT_ID, "nobody"],
    });
    let added = app.post("/v1/batches").bearer(&admin).json(&body).send().await.is(202).json();
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(added["tally"], json!({ "waiting": 6, "running": 0, "succeeded": 0, "failed": 3 }));
    let working = tokio::spawn(api::run_batches(app.state.clone()));

    let running = until(&app, &admin, &id, |batch| batch["tally"]["running"] == 6).await;
    assert!(running.get("finished_at").is_none(), "{running}");
    seed::result(&app, &good, seed::Leaves::Released).await;
    seed::failed_job(&app, &bad).await;
    for study in [&good, &bad, &unsuited] {
        looked_at(&app, study).await;
    }
    let done = until(&app, &admin, &id, |batch| batch.get("finished_at").is_some()).await;
    // Each study is there by itself and by its patient.
    assert_eq!(done["tally"], json!({ "waiting": 0, "running": 0, "succeeded": 2, "failed": 7 }));
    let why: Vec<_> = done["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["position"].as_u64().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    let (spacing, routing) =
        ("brain: the series has no spacing", "no model suits the study; its routing says why");
    for expected in [
        (2, spacing),
        (3, routing),
        (4, "there is no such study here"),
        (5, "this is no Study Instance UID"),
        (6, spacing),
        (6, routing),
        (7, "no study of this patient is here"),
    ] {
        assert!(why.contains(&expected), "{expected:?} is not in {why:?}");
    }
    let all = app.get("/v1/batches").bearer(&admin).send().await.is(200).json();
    assert_eq!((all["items"].as_array().unwrap().len(), &all["items"][0]["tally"]), (1, &done["tally"]));
    assert!(!done.to_string().contains(seed::PATIENT_ID) && !all.to_string().contains(seed::PATIENT_ID));
    app.shutdown.cancel();
    working.await.unwrap();
}

#[tokio::test]
async fn a_batch_asks_no_faster_than_its_caller_could_and_goes_on_in_the_next_process() {
    let mut http = roomy();
    http.limits.predicts_per_minute = NonZeroU32::new(2).unwrap();
    let app = TestApp::with(http).await;
    let key = app.key(Role::Technician).await;
    for number in 1..=5 {
        seed::study(&app, number).await;
    }
    let body = json!({ "patients": [seed::PATIENT_ID] });
    let id = app.post("/v1/batches").bearer(&key).json(&body).send().await.is(202).json()["id"].clone();
    let id = id.as_str().unwrap();
    let first = tokio::spawn(api::run_batches(app.state.clone()));
    until(&app, &key, id, |batch| batch["tally"]["running"] == 2).await;
    // The third would be asked for half a minute later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = app.get(&format!("/v1/batches/{id}")).bearer(&key).send().await.is(200).json();
    assert_eq!(begun["tally"], json!({ "waiting": 3, "running": 2, "succeeded": 0, "failed": 0 }));
    first.abort();
    // A process that begins anew has the same right of two.
    let second = tokio::spawn(api::run_batches(app.state.clone()));
    until(&app, &key, id, |batch| batch["tally"]["running"] == 4).await;
    app.shutdown.cancel();
    second.await.unwrap();
}

#[tokio::test]
async fn a_batch_of_nothing_or_of_too_much_is_refused() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let send = |body: Value| app.post("/v1/batches").bearer(&key).json(&body).send();
    send(json!({})).await.is_problem(422, "unprocessable");
    send(json!({ "studies": vec!["1.2.3"; 1001] })).await.is_problem(422, "unprocessable");
    send(json!({ "study": ["1.2.3"] })).await.is_problem(400, "invalid_json");
    let none = send(json!({ "studies": ["1.2.3"] })).await.is(202).json();
    assert!(none["finished_at"].is_string(), "{none}");
    app.get("/v1/batches/018bcfe5-6800-7000-8000-000000000000")
        .bearer(&key)
        .send()
        .await
        .is_problem(404, "not_found");
}
