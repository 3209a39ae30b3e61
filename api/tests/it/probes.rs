//! What orchestrators and Prometheus ask.

use ledger::Role;

use crate::{
    app::{Answer, TestApp},
    seed,
};

fn line(answer: &Answer, name: &str) -> serde_json::Value {
    let lines = answer.json()["lines"].as_array().unwrap().clone();
    lines.into_iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{}", answer.text()))
}

#[tokio::test]
async fn ready_names_what_does_not_work() {
    let app = TestApp::start().await;
    let answer = app.get("/ready").send().await;
    answer.is(503);
    assert_eq!(line(&answer, "database")["ok"], true);
    assert_eq!(line(&answer, "spool")["ok"], true);
    let models = line(&answer, "models");
    assert_eq!(models["ok"], false);
    assert!(models["reason"].as_str().unwrap().contains("no model"), "{models}");
}

#[tokio::test]
async fn a_database_that_is_gone_is_a_line_and_the_process_lives() {
    let app = TestApp::start().await;
    app.ledger.close().await;
    let answer = app.get("/ready").send().await;
    assert_eq!(line(answer.is(503), "database")["ok"], false);
    app.get("/livez").send().await.is(200);
}

#[tokio::test]
async fn strangers_learn_that_something_is_wrong_and_not_what() {
    let mut http = crate::app::roomy();
    http.plain = api::Plain::Everywhere;
    let app = TestApp::with(http).await;
    let stranger = app.get("/ready").peer("192.0.2.7:4000").send().await;
    assert_eq!(line(&stranger, "models")["reason"], "does not work; sign in to see why");
    let key = app.key(Role::Service).await;
    let known = app.get("/ready").peer("192.0.2.7:4000").bearer(&key).send().await;
    assert!(line(&known, "models")["reason"].as_str().unwrap().contains("no model"));
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_show_the_queue() {
    let app = TestApp::start().await;
    let key = app.key(Role::Service).await;
    let seeded = seed::study(&app, 1).await;
    seed::job(&app, &seeded).await;
    app.get("/v1/studies/1.2.3.1").bearer(&key).send().await.is(200);
    app.get("/nowhere/at/all").send().await.is(404);
    let text = app.get("/metrics").send().await.is(200).text();
    for wanted in [
        "overread_http_requests_total{method=\"GET\",route=\"/v1/studies/{uid}\",status=\"200\"}",
        "route=\"unmatched\",status=\"404\"",
        "overread_http_request_seconds_bucket",
        "overread_jobs{state=\"queued\"}",
        "overread_deliveries{state=\"waiting\"}",
        "overread_models_in_service",
        "overread_disk_free_bytes",
        "overread_process_resident_memory_bytes",
        "overread_process_cpu_seconds_total",
        "overread_process_open_files",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    for private in ["1.2.3.1", "nowhere", seed::PATIENT_NAME, seed::PATIENT_ID] {
        assert!(!text.contains(private), "{private} is in {text}");
    }
}

#[tokio::test]
async fn the_landing_leads_people_to_the_page_and_programs_to_the_document() {
    let app = TestApp::start().await;
    let person = app.get("/").header("accept", "text/html,*/*").send().await;
    assert_eq!(person.is(303).header("location"), "/docs/");
    let page = app.get("/docs/").send().await;
    assert!(page.is(200).text().contains("swagger"), "{}", page.text());
    let program = app.get("/").send().await.is(200).json();
    assert_eq!(program["openapi"], "/openapi.json");
    assert_eq!(app.get("/openapi.json").send().await.is(200).json()["openapi"], "3.1.0");
}
