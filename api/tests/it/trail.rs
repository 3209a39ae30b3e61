//! What people and programs do is in the audit trail before they are answered.

use ledger::{AuditFilter, PageRequest, Role};
use serde_json::json;

use crate::{app::TestApp, seed};

#[tokio::test]
async fn reads_changes_and_failed_sign_ins_are_rows_that_administrators_can_ask_for() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 1).await;
    let (result, _) = seed::result(&app, &seeded, seed::Leaves::Released).await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let doctor = tokens["access_token"].as_str().unwrap();
    app.get("/v1/studies").bearer(doctor).send().await.is(200);
    app.get("/v1/studies/1.2.3.1").bearer(doctor).header("x-request-id", "looked").send().await.is(200);
    app.get(&format!("/v1/results/{result}")).bearer(doctor).send().await.is(200);
    app.post("/v1/studies/1.2.3.1/analyse").bearer(doctor).send().await.is(202);
    for name in ["ada", "a-secret-typed-as-name"] {
        let body = json!({ "name": name, "password": "wrong" });
        app.post("/v1/auth/login").json(&body).send().await.is(401);
    }
    let admin = app.key(Role::Admin).await;
    let ask = async |query: &str| {
        let page = app.get(&format!("/v1/audit?{query}")).bearer(&admin).send().await.is(200).json();
        page["items"].as_array().unwrap().clone()
    };
    let actions: Vec<_> = ask("").await.iter().rev().map(|row| row["action"].clone()).collect();
    let expected = [
        "auth.login",
        "study.list",
        "study.read",
        "result.read",
        "study.analyse",
        "auth.login-failed",
        "auth.login-failed",
    ];
    assert_eq!(actions, expected);
    let read = ask("subject=1.2.3.1&action=study.read").await;
    assert_eq!((&read[0]["actor"], &read[0]["request_id"]), (&json!("account:ada"), &json!("looked")));
    assert_eq!(ask("action=auth.&actor=account:ada").await.len(), 2);
    assert!(ask("from=2023-11-15").await.is_empty());
    // A password that was typed in the wrong field is not repeated.
    assert!(!format!("{:?}", ask("").await).contains("a-secret-typed-as-name"));
    assert_eq!(app.ledger.verify_audit(&app.audit_key, &[]).await.unwrap(), Ok(7));
}

#[tokio::test]
async fn a_list_that_shows_patients_or_findings_is_a_row() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 1).await;
    let (result, _) = seed::result(&app, &seeded, seed::Leaves::Released).await;
    let (doctor, admin) = (app.key(Role::Doctor).await, app.key(Role::Admin).await);
    let paths = [
        "/v1/predictions".to_owned(),
        "/ml/v1/history".to_owned(),
        "/v1/results".to_owned(),
        format!("/v1/results/{result}/reviews"),
        "/task/1.2.3.1".to_owned(),
    ];
    for path in &paths {
        app.get(path).bearer(&doctor).send().await.is(200);
    }
    let of_doctor = AuditFilter { actor: Some("key:doctor key".to_owned()), ..AuditFilter::default() };
    let rows = app.ledger.audit(&of_doctor, &PageRequest::first(10)).await.unwrap().rows;
    let told: Vec<_> = rows.iter().rev().map(|row| (row.action.as_str(), row.subject.as_str())).collect();
    let id = result.to_string();
    let expected = [
        ("prediction.list", "predictions"),
        ("prediction.list", "predictions"),
        ("result.list", "results"),
        ("review.list", id.as_str()),
        ("result.read", id.as_str()),
    ];
    assert_eq!(told, expected);
    // Who runs the service sees no patient there.
    app.get("/v1/predictions").bearer(&admin).send().await.is(200);
    let lists = AuditFilter { action: Some("prediction.list".to_owned()), ..AuditFilter::default() };
    assert_eq!(app.ledger.audit(&lists, &PageRequest::first(10)).await.unwrap().rows.len(), 2);
}
