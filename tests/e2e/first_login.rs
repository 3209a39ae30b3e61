//! The first administrator gets in with a login that works once, and nobody else does.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use peers::{Http, wait_until};
use serde_json::json;

use crate::service::{Service, Site};

fn stop(mut service: Service) {
    service.process.terminate();
    wait_until("the service to end", Duration::from_secs(30), || service.process.0.try_wait().ok().flatten());
}

/// What an administrator of the machine finds there.
fn offered(site: &Site) -> Option<String> {
    let file = site.path().join("data/first-login");
    let text = std::fs::read_to_string(&file).ok()?;
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can read it");
    let code = text.trim().to_owned();
    site.keep_out_of_logs(&code);
    Some(code)
}

#[test]
fn the_first_administrator_signs_in_with_a_login_that_works_once_and_sets_a_password() {
    let site = Site::new("");
    let client = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    let sign_in = |code: &str| client.post("/v1/auth/one-time", &json!({ "code": code }));
    stop(site.serve());
    let void = offered(&site).expect("a login");
    assert!(site.log().contains("first-login"), "the log does not say where it is");

    // Nobody has signed in: the next start offers another one.
    let service = site.serve();
    let code = offered(&site).expect("a login");
    assert_eq!(sign_in(&void).status, 401);
    let answer = sign_in(&code);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(sign_in(&code).status, 401);
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let admin = client.clone().with_bearer(&token);
    let users = admin.get("/v1/users").json();
    assert_eq!(users[0]["name"], "admin", "{users}");
    assert_eq!(users[0]["role"], "admin", "{users}");

    let password = "correct horse battery staple";
    let set = |body: &serde_json::Value| admin.put("/v1/me/password", body).status;
    assert_eq!(set(&json!({ "new_password": password })), 204);
    let login = client.post("/v1/auth/login", &json!({ "name": "admin", "password": password }));
    assert_eq!(login.status, 200, "{}", login.text());
    let token = login.json()["access_token"].as_str().expect("a token").to_owned();
    let admin = client.clone().with_bearer(&token);
    // From now on the password that is there has to be shown.
    assert_eq!(admin.put("/v1/me/password", &json!({ "new_password": "another good one" })).status, 422);

    stop(service);
    stop(site.serve());
    assert_eq!(offered(&site), None);
}

#[test]
fn who_has_an_account_is_offered_none() {
    let site = Site::new("");
    let added = site.run(&["user", "add", "ada", "--role", "admin"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    stop(site.serve());
    assert_eq!(offered(&site), None);
}
