//! What models are asked and answer, beside their first weeks.

use std::time::Duration;

use api::DriftConfig;
use ledger::{EventFilter, PageRequest, Role};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, roomy},
    predict::example,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn ask(app: &TestApp, doctor: &str, rows: u32, change: impl Fn(u32, &mut Value)) {
    let rows: Vec<Value> = (0..rows)
        .map(|number| {
            let mut row = example();
            row["age"] = json!(40 + number % 40);
            row["albumin"] = json!(2.0 + f64::from(number % 20) / 10.0);
            change(number, &mut row);
            row
        })
        .collect();
    let body = json!({ "patient_id": "12", "data": rows });
    app.post("/v1/models/meso/predict").bearer(doctor).json(&body).send().await.is(200);
}

async fn drift(app: &TestApp, key: &str) -> Value {
    app.get("/v1/stats/drift?model=meso").bearer(key).send().await.is(200).json()
}

fn over(drift: &Value) -> Vec<&str> {
    let values = drift[0]["values"].as_array().unwrap().iter();
    values.filter(|value| value["over"] == true).map(|value| value["name"].as_str().unwrap()).collect()
}

async fn told(app: &TestApp) -> Vec<String> {
    let events = app.ledger.events(&EventFilter::default(), &PageRequest::first(500)).await.unwrap().rows;
    let events = events.into_iter().filter(|event| event.kind == "model.drift");
    events.map(|event| event.detail["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_number_that_is_not_distributed_as_in_the_first_weeks_is_told_once() {
    let mut http = roomy();
    http.drift = DriftConfig { reference_days: 14, window_days: 7, psi_max: 0.25, answers_min: 100 };
    let app = TestApp::with_models(http, &["meso"]).await;
    let service = app.key(Role::Service).await;
    ask(&app, &service, 200, |_, _| {}).await;
    assert_eq!(drift(&app, &service).await, json!([]), "too young");
    app.pass(DAY * 30);
    ask(&app, &service, 99, |_, _| {}).await;
    assert_eq!(drift(&app, &service).await, json!([]), "too few");
    ask(&app, &service, 101, |_, _| {}).await;
    let same = drift(&app, &service).await;
    assert_eq!((&same[0]["reference_answers"], &same[0]["recent_answers"]), (&json!(200), &json!(200)));
    assert_eq!(over(&same), Vec::<&str>::new(), "{same}");
    assert!(same[0]["values"].as_array().unwrap().iter().any(|value| value["name"] == "probability"));
    app.state.look_after_drift().await.unwrap();
    assert!(told(&app).await.is_empty());

    app.pass(DAY * 30);
    // Another population, and a laboratory that has stopped to measure.
    ask(&app, &service, 200, |number, row| {
        row["age"] = json!(70 + number % 20);
        row["albumin"] = Value::Null;
    })
    .await;
    let moved = drift(&app, &service).await;
    let over = over(&moved);
    assert!(over.contains(&"age") && over.contains(&"albumin") && over.contains(&"probability"), "{moved}");
    assert!(!over.contains(&"total_protein"), "{moved}");
    app.state.look_after_drift().await.unwrap();
    let first = told(&app).await;
    assert_eq!(first.len(), over.len());
    app.state.look_after_drift().await.unwrap();
    assert_eq!(told(&app).await, first, "told once");
    app.pass(DAY * 30);
    ask(&app, &service, 200, |_, _| {}).await;
    app.state.look_after_drift().await.unwrap();
    app.pass(DAY * 30);
    ask(&app, &service, 200, |number, row| row["age"] = json!(70 + number % 20)).await;
    app.state.look_after_drift().await.unwrap();
    assert!(told(&app).await.len() > first.len(), "again after it had gone");
    let metrics = app.get("/metrics").send().await.text();
    assert!(
        metrics.contains("overread_drift_psi{model=\"meso\",version=\"0.1.0\",side=\"input\"}"),
        "{metrics}"
    );
}
