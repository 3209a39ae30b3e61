//! Telephones of doctors and patients.

use axum::http::Method;
use ledger::{AuditFilter, EventFilter, PageRequest, Role};
use serde_json::json;

use crate::app::{Call, TestApp};

const TOKEN: &str = "a-registration-token";

fn put<'a>(app: &'a TestApp, path: &str, key: &str) -> Call<'a> {
    app.call(Method::PUT, path).bearer(key)
}

#[tokio::test]
async fn a_doctor_registers_his_devices_and_their_tokens_are_shown_nowhere() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("kim", Role::Doctor).await;
    let (doctor, key) = (tokens["access_token"].as_str().unwrap(), app.key(Role::Doctor).await);
    let body = json!({ "tokens": [TOKEN] });
    put(&app, "/v1/me/devices", &key).json(&body).send().await.is_problem(403, "forbidden");
    put(&app, "/v1/me/devices", doctor).json(&body).send().await.is(204);
    assert_eq!(app.ledger.devices_of_doctors(Some("kim")).await.unwrap().len(), 1);
    let path = "/v1/patients/PID-4711/recipients";
    let same = json!([{ "patient_id": "4711", "issuer": "WARD" }]);
    put(&app, path, &key).json(&json!({ "tokens": [TOKEN], "dicom": same })).send().await.is(204);
    assert_eq!(app.ledger.apps_of_patient("PID-4711").await.unwrap().len(), 1);

    let rows = app.ledger.audit(&AuditFilter::default(), &PageRequest::first(10)).await.unwrap().rows;
    let events = app.ledger.events(&EventFilter::default(), &PageRequest::first(100)).await.unwrap().rows;
    let told = format!("{rows:?} {events:?}");
    assert!(told.contains("account.devices") && told.contains("patient.recipients"), "{told}");
    assert!(!told.contains(TOKEN) && !told.contains("4711"), "{told}");

    put(&app, "/v1/me/devices", doctor).json(&json!({ "tokens": [] })).send().await.is(204);
    assert!(app.ledger.devices_of_doctors(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_or_a_patient_that_is_none_is_refused_and_not_repeated() {
    let app = TestApp::start().await;
    let key = app.key(Role::Service).await;
    let path = "/v1/patients/12/recipients";
    for bad in ["", "a secret with spaces", &"x".repeat(4097)] {
        let answer = put(&app, path, &key).json(&json!({ "tokens": [bad] })).send().await;
        answer.is_problem(400, "invalid_json");
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    let many: Vec<_> = (0..11).map(|number| format!("token-{number}")).collect();
    put(&app, path, &key).json(&json!({ "tokens": many })).send().await.is_problem(422, "unprocessable");
    let nobody = json!({ "tokens": [], "dicom": [{ "patient_id": "" }] });
    put(&app, path, &key).json(&nobody).send().await.is_problem(422, "unprocessable");
    put(&app, path, &app.key(Role::Admin).await).json(&nobody).send().await.is_problem(403, "forbidden");
}
