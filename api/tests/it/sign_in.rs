//! Signing in, staying signed in, signing out.

use std::time::Duration;

use axum::http::Method;
use ledger::Role;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, password_of};

async fn login(app: &TestApp, name: &str, password: &str) -> Answer {
    app.post("/v1/auth/login").json(&json!({ "name": name, "password": password })).send().await
}

async fn refresh(app: &TestApp, token: &Value) -> Answer {
    app.post("/v1/auth/refresh").json(&json!({ "refresh_token": token })).send().await
}

fn access(tokens: &Value) -> &str {
    tokens["access_token"].as_str().unwrap()
}

#[tokio::test]
async fn a_sign_in_shows_who_it_is_until_it_expires() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let me = app.get("/v1/me").bearer(access(&tokens)).send().await.json();
    assert_eq!((me["name"].as_str(), me["role"].as_str()), (Some("ada"), Some("doctor")));
    app.pass(Duration::from_secs(3 * 3600 - 1));
    app.get("/v1/me").bearer(access(&tokens)).send().await.is(200);
    app.pass(Duration::from_secs(1));
    app.get("/v1/me").bearer(access(&tokens)).send().await.is_problem(401, "token_expired");
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_are_refused_alike() {
    let app = TestApp::start().await;
    app.account("ada", Role::Doctor).await;
    let wrong_password = login(&app, "ada", "not the password").await;
    let wrong_name = login(&app, "bob", "not the password").await;
    wrong_password.is_problem(401, "bad_credentials");
    wrong_name.is_problem(401, "bad_credentials");
    assert_eq!(wrong_password.json()["detail"], wrong_name.json()["detail"]);
}

#[tokio::test]
async fn five_wrong_passwords_lock_the_account_for_a_while() {
    let app = TestApp::start().await;
    app.account("ada", Role::Doctor).await;
    for _ in 0..5 {
        login(&app, "ada", "not the password").await.is_problem(401, "bad_credentials");
    }
    let locked = login(&app, "ada", &password_of("ada")).await;
    locked.is_problem(429, "account_locked");
    assert_eq!(locked.header("retry-after"), "900");
    app.pass(Duration::from_secs(900));
    login(&app, "ada", &password_of("ada")).await.is(200);
}

#[tokio::test]
async fn a_right_password_forgives_the_wrong_ones_before() {
    let app = TestApp::start().await;
    app.account("ada", Role::Doctor).await;
    for _ in 0..3 {
        for _ in 0..4 {
            login(&app, "ada", "not the password").await.is_problem(401, "bad_credentials");
        }
        login(&app, "ada", &password_of("ada")).await.is(200);
    }
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_second_use_signs_out_everywhere() {
    let app = TestApp::start().await;
    let first = app.signed_in("ada", Role::Doctor).await;
    let second = refresh(&app, &first["refresh_token"]).await.is(200).json();
    app.get("/v1/me").bearer(access(&second)).send().await.is(200);
    refresh(&app, &first["refresh_token"]).await.is_problem(401, "bad_credentials");
    app.get("/v1/me").bearer(access(&second)).send().await.is_problem(401, "bad_credentials");
    refresh(&app, &second["refresh_token"]).await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn a_refresh_token_opens_nothing_else() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    app.get("/v1/me").bearer(refresh_token).send().await.is_problem(401, "bad_credentials");
    refresh(&app, &tokens["access_token"]).await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn signing_out_ends_both_tokens() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let body = json!({ "refresh_token": tokens["refresh_token"] });
    app.post("/v1/auth/logout").bearer(access(&tokens)).json(&body).send().await.is(204);
    app.get("/v1/me").bearer(access(&tokens)).send().await.is_problem(401, "bad_credentials");
    refresh(&app, &tokens["refresh_token"]).await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn a_one_time_login_works_once() {
    let app = TestApp::start().await;
    let account = app.account("ada", Role::Admin).await;
    let hour = Duration::from_secs(3600);
    let code = api::issue_one_time(&app.ledger, account, hour, app.now()).await.unwrap();
    let body = json!({ "code": code.expose() });
    let tokens = app.post("/v1/auth/one-time").json(&body).send().await.is(200).json();
    app.get("/v1/users").bearer(access(&tokens)).send().await.is(200);
    app.post("/v1/auth/one-time").json(&body).send().await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn a_one_time_login_expires() {
    let app = TestApp::start().await;
    let account = app.account("ada", Role::Admin).await;
    let hour = Duration::from_secs(3600);
    let code = api::issue_one_time(&app.ledger, account, hour, app.now()).await.unwrap();
    app.pass(hour);
    let body = json!({ "code": code.expose() });
    app.post("/v1/auth/one-time").json(&body).send().await.is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn a_new_password_ends_all_sign_ins() {
    let app = TestApp::start().await;
    let tokens = app.signed_in("ada", Role::Doctor).await;
    let change = |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        app.call(Method::PUT, "/v1/me/password").bearer(access(&tokens)).json(&body)
    };
    change("not the password", "another good password").send().await.is_problem(401, "bad_credentials");
    change(&password_of("ada"), "too short").send().await.is_problem(422, "unprocessable");
    change(&password_of("ada"), "another good password").send().await.is(204);
    app.get("/v1/me").bearer(access(&tokens)).send().await.is_problem(401, "bad_credentials");
    login(&app, "ada", &password_of("ada")).await.is_problem(401, "bad_credentials");
    login(&app, "ada", "another good password").await.is(200);
}

#[tokio::test]
async fn sign_ins_are_limited_by_address() {
    let mut http = crate::app::roomy();
    http.limits.sign_ins_per_minute = 2.try_into().unwrap();
    let app = TestApp::with(http).await;
    for _ in 0..2 {
        login(&app, "nobody", "not the password").await.is_problem(401, "bad_credentials");
    }
    login(&app, "nobody", "not the password").await.is_problem(429, "rate_limited");
}

#[tokio::test]
async fn sign_ins_and_failures_are_in_the_audit_trail() {
    let app = TestApp::start().await;
    app.account("ada", Role::Doctor).await;
    login(&app, "ada", "not the password").await;
    let body = json!({ "name": "ada", "password": password_of("ada") });
    app.post("/v1/auth/login").header("x-request-id", "REQ_7").json(&body).send().await.is(200);
    let rows = app
        .ledger
        .audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(10))
        .await
        .unwrap()
        .rows;
    let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["auth.login", "auth.login-failed"]);
    assert_eq!(rows[0].request_id.as_deref(), Some("REQ_7"));
    assert_eq!(rows[0].actor, "account:ada");
    assert_eq!(app.ledger.verify_audit(&app.audit_key, &[]).await.unwrap(), Ok(2));
}

#[tokio::test]
async fn the_first_administrator_sets_a_password_without_an_old_one() {
    let app = TestApp::start().await;
    let new = ledger::NewAccount {
        name: "admin".to_owned(),
        role: Role::Admin,
        full_name: String::new(),
        organization: String::new(),
        password_hash: api::hash_password(&api::Password::new("nobody knows this one")).unwrap(),
    };
    let id = app.ledger.add_first_account(&new, "test", app.now()).await.unwrap().unwrap();
    let code = api::issue_one_time(&app.ledger, id, Duration::from_secs(3600), app.now()).await.unwrap();
    let body = json!({ "code": code.expose() });
    let tokens = app.post("/v1/auth/one-time").json(&body).send().await.is(200).json();
    let set = |tokens: &Value, new: &str| {
        let body = json!({ "new_password": new });
        app.call(Method::PUT, "/v1/me/password").bearer(access(tokens)).json(&body)
    };
    set(&tokens, "short").send().await.is_problem(422, "unprocessable");
    set(&tokens, "a good long password").send().await.is(204);
    let tokens = login(&app, "admin", "a good long password").await.is(200).json();
    set(&tokens, "another good password").send().await.is_problem(422, "unprocessable");
}
