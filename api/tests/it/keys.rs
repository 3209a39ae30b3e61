//! API keys.

use std::time::Duration;

use axum::http::Method;
use ledger::Role;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn a_made_key_works_until_it_is_revoked() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let body = json!({ "name": "gateway", "role": "service" });
    let made = app.post("/v1/keys").bearer(&admin).json(&body).send().await.is(201).json();
    let key = made["key"].as_str().unwrap();
    let me = app.get("/v1/me").header("x-api-key", key).send().await.is(200).json();
    assert_eq!((me["kind"].as_str(), me["name"].as_str()), (Some("key"), Some("gateway")));
    let address = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    app.call(Method::DELETE, &address).bearer(&admin).send().await.is(204);
    app.get("/v1/me").bearer(key).send().await.is_problem(401, "bad_credentials");
    app.call(Method::DELETE, &address).bearer(&admin).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_nowhere() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let body = json!({ "name": "gateway", "role": "service" });
    let made = app.post("/v1/keys").bearer(&admin).json(&body).send().await.json();
    let listed = app.get("/v1/keys").bearer(&admin).send().await.text();
    assert!(listed.contains("gateway"), "{listed}");
    assert!(!listed.contains(made["key"].as_str().unwrap()), "{listed}");
    assert!(!listed.contains("hash"), "{listed}");
}

#[tokio::test]
async fn a_key_expires() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let body = json!({ "name": "visitor", "role": "service", "expires_in_days": 1 });
    let made = app.post("/v1/keys").bearer(&admin).json(&body).send().await.is(201).json();
    app.pass(Duration::from_secs(24 * 3600));
    app.get("/v1/me").bearer(made["key"].as_str().unwrap()).send().await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn authorization_wins_over_the_key_header() {
    let app = TestApp::start().await;
    let key = app.key(Role::Service).await;
    app.get("/v1/me")
        .bearer("ovr_wrong")
        .header("x-api-key", &key)
        .send()
        .await
        .is_problem(401, "bad_credentials");
    app.get("/v1/me").header("authorization", "Basic dTpw").header("x-api-key", &key).send().await.is(200);
}

#[tokio::test]
async fn scopes_limit_a_key_within_its_role() {
    let app = TestApp::start().await;
    let key = app.scoped_key(Role::Admin, &["jobs:read"]).await;
    app.get("/v1/jobs").bearer(&key).send().await.is(200);
    app.get("/v1/studies").bearer(&key).send().await.is_problem(403, "forbidden");
    let cancel = "/v1/jobs/018bcfe5-6800-7000-8000-000000000000/cancel";
    app.post(cancel).bearer(&key).send().await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn unusable_keys_are_not_made() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    for (body, status, code) in [
        (json!({ "name": "", "role": "service" }), 422, "unprocessable"),
        (json!({ "name": "x".repeat(65), "role": "service" }), 422, "unprocessable"),
        (json!({ "name": "x", "role": "service", "expires_in_days": 0 }), 422, "unprocessable"),
        (json!({ "name": "x", "role": "emperor" }), 400, "invalid_json"),
        (json!({ "name": "x", "role": "service", "scopes": ["all:of it"] }), 400, "invalid_json"),
    ] {
        app.post("/v1/keys").bearer(&admin).json(&body).send().await.is_problem(status, code);
    }
}

#[tokio::test]
async fn a_key_is_no_person() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    app.post("/v1/auth/logout").bearer(&key).send().await.is_problem(403, "forbidden");
}
