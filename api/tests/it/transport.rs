//! Who may speak plain HTTP.

use api::{Listener, Plain};
use ledger::Role;

use crate::app::{TestApp, roomy};

const STRANGER: &str = "192.0.2.7:4000";
const PROXY: &str = "10.0.0.1:4000";

#[tokio::test]
async fn plain_http_is_refused_off_loopback() {
    let app = TestApp::start().await;
    app.get("/livez").send().await.is(200);
    app.get("/livez").peer(STRANGER).send().await.is_problem(403, "https_required");
    app.get("/livez").header("x-forwarded-for", "192.0.2.7").send().await.is_problem(403, "https_required");
    let claimed = app.get("/livez").peer(STRANGER).header("x-forwarded-proto", "https");
    claimed.send().await.is_problem(403, "https_required");
}

#[tokio::test]
async fn a_trusted_proxy_that_took_https_is_served() {
    let mut http = roomy();
    http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let app = TestApp::with(http).await;
    let forwarded = |scheme: &str| {
        let call = app.get("/livez").peer(PROXY).header("x-forwarded-proto", scheme);
        call.header("x-forwarded-for", "192.0.2.7").send()
    };
    forwarded("https").await.is(200);
    forwarded("http").await.is_problem(403, "https_required");
}

#[tokio::test]
async fn insecure_mode_serves_everybody_and_tls_says_so_to_browsers() {
    let mut http = roomy();
    http.plain = Plain::Everywhere;
    let app = TestApp::with(http).await;
    app.get("/livez").peer(STRANGER).send().await.is(200);

    let mut http = roomy();
    http.listener = Listener::Tls;
    let app = TestApp::with(http).await;
    let answer = app.get("/livez").peer(STRANGER).send().await;
    assert_eq!(answer.is(200).header("strict-transport-security"), "max-age=31536000");
}

#[tokio::test]
async fn callers_behind_a_proxy_are_limited_one_by_one() {
    let mut http = roomy();
    http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    http.limits.requests_per_minute = 2.try_into().unwrap();
    let app = TestApp::with(http).await;
    let ask = |client: &str| {
        let call = app.get("/v1/me").peer(PROXY).header("x-forwarded-proto", "https");
        call.header("x-forwarded-for", client).send()
    };
    for _ in 0..2 {
        ask("192.0.2.7").await.is_problem(401, "unauthenticated");
    }
    ask("192.0.2.7").await.is_problem(429, "rate_limited");
    // A client cannot change its address by claiming another one in front.
    ask("198.51.100.1, 192.0.2.7").await.is_problem(429, "rate_limited");
    ask("192.0.2.8").await.is_problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_real_socket_tells_its_peer() {
    let app = TestApp::start().await;
    let key = app.key(Role::Service).await;
    let address = app.listen().await;
    let answer = reqwest::Client::new().get(format!("http://{address}/v1/me")).bearer_auth(key).send();
    assert_eq!(answer.await.unwrap().status(), 200);
}
