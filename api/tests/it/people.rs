//! Accounts.

use std::time::Duration;

use axum::http::Method;
use ledger::Role;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, password_of};

async fn change(app: &TestApp, token: &str, name: &str, change: &Value) -> Answer {
    app.call(Method::PATCH, &format!("/v1/users/{name}")).bearer(token).json(change).send().await
}

#[tokio::test]
async fn an_added_account_can_sign_in() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let body =
        json!({ "name": "ada", "role": "doctor", "full_name": "Ada L", "password": password_of("ada") });
    let made = app.post("/v1/users").bearer(&admin).json(&body).send().await.is(201).json();
    assert_eq!(made["full_name"], "Ada L");
    assert!(!made.to_string().contains("password"), "{made}");
    app.sign_in("ada").await;
    app.post("/v1/users").bearer(&admin).json(&body).send().await.is_problem(409, "conflict");
}

#[tokio::test]
async fn unusable_accounts_are_not_added() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let good = password_of("ada");
    for (name, password) in [("", good.as_str()), ("a b", &good), ("../x", &good), ("ada", "short")] {
        let body = json!({ "name": name, "role": "doctor", "password": password });
        app.post("/v1/users").bearer(&admin).json(&body).send().await.is_problem(422, "unprocessable");
    }
}

#[tokio::test]
async fn a_closed_account_is_out_at_once() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let access = tokens["access_token"].as_str().unwrap();
    change(&app, &admin, "ada", &json!({ "disabled": true })).await.is(200);
    app.get("/v1/me").bearer(access).send().await.is_problem(401, "bad_credentials");
    let body = json!({ "name": "ada", "password": password_of("ada") });
    app.post("/v1/auth/login").json(&body).send().await.is_problem(401, "bad_credentials");
    change(&app, &admin, "ada", &json!({ "disabled": false })).await.is(200);
    app.sign_in("ada").await;
}

#[tokio::test]
async fn a_changed_role_counts_at_once() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let tokens = app.signed_in("ada", Role::Admin).await;
    let access = tokens["access_token"].as_str().unwrap();
    app.get("/v1/users").bearer(access).send().await.is(200);
    change(&app, &admin, "ada", &json!({ "role": "technician" })).await.is(200);
    app.get("/v1/users").bearer(access).send().await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn an_administrator_cannot_shut_himself_out() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Admin).await;
    let access = tokens["access_token"].as_str().unwrap();
    change(&app, access, "ada", &json!({ "disabled": true })).await.is_problem(409, "conflict");
    change(&app, access, "ada", &json!({ "role": "doctor" })).await.is_problem(409, "conflict");
    change(&app, access, "nobody", &json!({ "role": "doctor" })).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn changes_of_accounts_are_in_the_audit_trail_with_their_request() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    app.account("ada", Role::Doctor).await;
    let body = json!({ "role": "technician" });
    let request = app.call(Method::PATCH, "/v1/users/ada").bearer(&admin).header("x-request-id", "REQ_8");
    request.json(&body).send().await.is(200);
    let rows =
        app.ledger.audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(1)).await.unwrap().rows;
    assert_eq!((rows[0].action.as_str(), rows[0].subject.as_str()), ("user.role", "ada"));
    assert_eq!((rows[0].actor.as_str(), rows[0].request_id.as_deref()), ("key:admin key", Some("REQ_8")));
}

async fn actions(app: &TestApp) -> Vec<String> {
    let all =
        app.ledger.audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(100)).await.unwrap();
    all.rows.into_iter().map(|row| row.action).collect()
}

#[tokio::test]
async fn a_refused_change_of_an_account_changes_nothing() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    app.account("ada", Role::Doctor).await;
    let body = json!({ "role": "admin", "password": "short", "disabled": true });
    change(&app, &admin, "ada", &body).await.is_problem(422, "unprocessable");
    let ada = app.get("/v1/users/ada").bearer(&admin).send().await.is(200).json();
    assert_eq!((&ada["role"], &ada["disabled"]), (&json!("doctor"), &json!(false)));
    assert!(actions(&app).await.is_empty());
    let body = json!({ "role": "admin", "password": "a good long password", "disabled": true });
    let ada = change(&app, &admin, "ada", &body).await.is(200).json();
    assert_eq!((&ada["role"], &ada["disabled"]), (&json!("admin"), &json!(true)));
    assert_eq!(actions(&app).await, ["user.disable", "user.password", "user.role"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_done_and_noted_also_when_the_caller_hangs_up() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    // Somewhere between the request and its answer, whatever the machine's pace is.
    for patience in (1..10).map(|power| Duration::from_millis(1 << power)) {
        let name = format!("ada-{}", patience.as_millis());
        let body = json!({ "name": name, "role": "doctor", "password": password_of(&name) });
        let add = app.post("/v1/users").bearer(&admin).json(&body).send();
        if tokio::time::timeout(patience, add).await.is_ok() {
            break;
        }
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if app.ledger.account_by_name(&name).await.unwrap().is_some() {
                assert_eq!(actions(&app).await, ["user.add"]);
                return;
            }
        }
    }
    panic!("nobody is added whose administrator hangs up");
}
