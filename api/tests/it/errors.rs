//! How the API refuses.

use api::HttpConfig;
use ledger::Role;

use crate::app::{TestApp, roomy};

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    app.get("/nowhere").send().await.is_problem(404, "not_found");
    app.get("/v1/jobs/018bcfe5-6800-7000-8000-000000000000")
        .bearer(&admin)
        .send()
        .await
        .is_problem(404, "not_found");
    app.get("/v1/jobs/not-a-uuid").bearer(&admin).send().await.is_problem(400, "invalid_parameter");
    app.get("/v1/jobs?state=sleeping").bearer(&admin).send().await.is_problem(400, "invalid_parameter");
    app.get("/v1/studies/../../etc/passwd").bearer(&admin).send().await.is_problem(404, "not_found");
    app.get("/v1/studies/1.2.x").bearer(&admin).send().await.is_problem(400, "invalid_parameter");
    app.get("/ws/events").bearer(&admin).send().await.is_problem(400, "bad_request");
    app.post("/v1/users")
        .bearer(&admin)
        .body("text/plain", "hello")
        .send()
        .await
        .is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn bad_json_is_refused_with_the_place() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    for body in ["", "{", "[]", "null", "{\"name\": 1}", "{\"name\":\"a\",\"rank\":\"b\"}", "\u{0}"] {
        let answer = app.post("/v1/keys").bearer(&admin).body("application/json", body).send().await;
        answer.is_problem(400, "invalid_json");
        assert!(answer.json()["detail"].as_str().unwrap().contains("line"), "{}", answer.text());
    }
    let deep = "[".repeat(100_000);
    app.post("/v1/keys")
        .bearer(&admin)
        .body("application/json", deep)
        .send()
        .await
        .is_problem(400, "invalid_json");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut http = roomy();
    http.limits.body_bytes = 1000;
    let app = TestApp::with(http).await;
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(2000));
    let answer = app.post("/v1/auth/login").body("application/json", body).send().await;
    answer.is_problem(413, "body_too_large");
}

#[tokio::test]
async fn what_broke_inside_is_not_told() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    app.ledger.close().await;
    let answer = app.get("/v1/jobs").bearer(&admin).send().await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
    let text = answer.text().to_lowercase();
    for inside in ["sqlite", "sqlx", "pool", "select", "ledger.db"] {
        assert!(!text.contains(inside), "{text}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_name_when_the_name_is_sane() {
    let app = TestApp::start().await;
    let answer = app.get("/nowhere").header("x-request-id", "REQ_20251128_001").send().await;
    assert_eq!(answer.json()["request_id"], "REQ_20251128_001");
    assert_eq!(answer.header("x-request-id"), "REQ_20251128_001");
    let answer = app.get("/nowhere").header("x-request-id", "a name with spaces").send().await;
    assert_eq!(answer.header("x-request-id").len(), 36);
    answer.is_problem(404, "not_found");
}

#[tokio::test]
async fn one_caller_too_many_requests_and_nobody_else() {
    let mut http = HttpConfig::default();
    http.limits.requests_per_minute = 3.try_into().unwrap();
    let app = TestApp::with(http).await;
    let (one, other) = (app.key(Role::Service).await, app.key(Role::Service).await);
    for _ in 0..3 {
        app.get("/v1/me").bearer(&one).send().await.is(200);
    }
    let answer = app.get("/v1/me").bearer(&one).send().await;
    answer.is_problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    app.get("/v1/me").bearer(&other).send().await.is(200);
    app.get("/livez").send().await.is(200);
}

#[tokio::test]
async fn a_guesser_of_keys_is_limited_by_address() {
    let mut http = HttpConfig::default();
    http.limits.requests_per_minute = 3.try_into().unwrap();
    let app = TestApp::with(http).await;
    for guess in 0..3 {
        app.get("/v1/me")
            .bearer(&format!("ovr_guess{guess}"))
            .send()
            .await
            .is_problem(401, "bad_credentials");
    }
    app.get("/v1/me").bearer("ovr_another").send().await.is_problem(429, "rate_limited");
    app.get("/v1/me")
        .bearer("ovr_another")
        .peer("[::1]:4000")
        .send()
        .await
        .is_problem(401, "bad_credentials");
}

#[tokio::test]
async fn answers_tell_browsers_to_guess_frame_and_keep_nothing() {
    let app = TestApp::start().await;
    let answer = app.get("/v1/me").send().await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_browser() {
    let mut http = roomy();
    http.cors_origins = vec!["https://viewer.example".parse().unwrap()];
    let app = TestApp::with(http).await;
    let allowed = app.get("/v1/me").header("origin", "https://viewer.example").send().await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://viewer.example");
    let other = app.get("/v1/me").header("origin", "https://evil.example").send().await;
    assert_eq!(other.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_page_of_a_listed_origin_meets_the_same_gate() {
    let mut http = roomy();
    http.cors_origins = vec!["https://viewer.example".parse().unwrap()];
    let app = TestApp::with(http).await;
    let key = app.key(Role::Technician).await;
    let ask = |address: &str| app.get(address).header("origin", "https://viewer.example");

    let stranger = ask("/v1/results?modle=x").send().await;
    stranger.is_problem(401, "unauthenticated");
    assert_eq!(stranger.header("access-control-allow-origin"), "https://viewer.example");
    assert!(!stranger.header("x-request-id").is_empty());

    ask("/v1/results").bearer(&key).send().await.is(200);
    ask("/v1/results?modle=x").bearer(&key).send().await.is_problem(400, "invalid_parameter");
    ask("/v1/users").bearer(&key).send().await.is_problem(403, "forbidden");
}
