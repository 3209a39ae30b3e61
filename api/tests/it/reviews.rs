//! Who may decide about a result, and what he has to have seen. What a decision makes is
//! tried where it is made, in `pipeline`, and in a real PACS, in `tests/e2e`.

use std::time::Duration;

use api::HttpConfig;
use axum::body::Body;
use ledger::{ResultId, Role};
use serde_json::{Value, json};

use crate::{
    app::{Answer, Call, TestApp, roomy},
    seed::{self, Leaves},
};

struct Ward {
    app: TestApp,
    path: String,
    doctor: String,
}

fn token(tokens: &Value) -> String {
    tokens["access_token"].as_str().unwrap().to_owned()
}

impl Ward {
    async fn open() -> Self {
        Self::open_with(roomy()).await
    }

    async fn open_with(http: HttpConfig) -> Self {
        let app = TestApp::with(http).await;
        let seeded = seed::study(&app, 1).await;
        let (result, _) = seed::result(&app, &seeded, Leaves::Released).await;
        let doctor = token(&app.signed_in("doctor", Role::Doctor).await);
        Self { app, path: format!("/v1/results/{result}"), doctor }
    }

    fn post(&self, body: &Value) -> Call<'_> {
        self.app.post(&format!("{}/reviews", self.path)).bearer(&self.doctor).json(body)
    }

    async fn decide(&self, seen: u32, body: Value) -> Answer {
        self.post(&body).header("if-match", &format!("\"{seen}\"")).send().await
    }

    async fn get(&self, path: &str) -> Answer {
        self.app.get(path).bearer(&self.doctor).send().await
    }
}

#[tokio::test]
async fn a_decision_is_answered_with_the_version_that_it_made() {
    let ward = Ward::open().await;
    assert_eq!(ward.get(&ward.path).await.header("etag"), "\"0\"");
    let answer = ward.decide(0, json!({ "decision": "accept" })).await;
    assert_eq!(answer.is(201).header("etag"), "\"1\"");
    assert_eq!(answer.json()["full_name"], "Dr doctor", "the account says who it was");
    let result = ward.get(&ward.path).await;
    assert_eq!((result.header("etag"), &result.json()["review_state"]), ("\"1\"", &json!("accepted")));
    assert_eq!(ward.decide(0, json!({ "decision": "accept" })).await.is(200).json(), answer.json());
}

#[tokio::test]
async fn nobody_decides_over_what_he_has_not_seen() {
    let ward = Ward::open().await;
    let accept = json!({ "decision": "accept" });
    ward.post(&accept).send().await.is_problem(428, "precondition_required");
    ward.post(&accept).header("if-match", "*").send().await.is_problem(428, "precondition_required");
    ward.post(&accept).header("if-match", "W/\"0\"").send().await.is_problem(400, "invalid_parameter");
    ward.decide(7, accept.clone()).await.is_problem(412, "precondition_failed");
    ward.decide(0, accept).await.is(201);
    let late = ward.decide(0, json!({ "decision": "reject", "reason": "quality" })).await;
    assert_eq!(late.is_problem(412, "precondition_failed").header("etag"), "\"1\"");
    let twice = ward.decide(1, json!({ "decision": "reject", "reason": "quality" })).await;
    twice.is_problem(409, "conflict");
    ward.decide(1, json!({ "decision": "undo" })).await.is(201);
    let history = ward.get(&format!("{}/reviews", ward.path)).await;
    assert_eq!(history.header("etag"), "\"2\"");
    let decisions: Vec<_> =
        history.json().as_array().unwrap().iter().map(|review| review["decision"].clone()).collect();
    assert_eq!(decisions, ["accept", "undo"]);
}

#[tokio::test]
async fn what_is_no_decision_is_refused() {
    let ward = Ward::open().await;
    for body in [
        json!({}),
        json!({ "decision": "maybe" }),
        json!({ "decision": "reject" }),
        json!({ "decision": "reject", "reason": "mood" }),
        json!({ "decision": "accept", "reviewer": "somebody else" }),
        json!({ "decision": "correct" }),
    ] {
        ward.decide(0, body).await.is_problem(400, "invalid_json");
    }
    let long = "x".repeat(2001);
    ward.decide(0, json!({ "decision": "accept", "comment": long })).await.is_problem(422, "unprocessable");
    let class = json!({ "value": "a\\b", "scheme": "SCT", "meaning": "m" });
    ward.decide(0, json!({ "decision": "correct", "class": class })).await.is_problem(422, "unprocessable");
    let nowhere = "/v1/results/018bcfe5-6800-7000-8000-000000000000/reviews";
    let call = ward.app.post(nowhere).bearer(&ward.doctor).header("if-match", "\"0\"");
    call.json(&json!({ "decision": "accept" })).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn results_are_listed_by_state_urgency_and_day() {
    let ward = Ward::open().await;
    let count = async |query: &str| {
        ward.get(&format!("/v1/results?{query}")).await.is(200).json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("review=pending&urgency=routine&from=2023-11-14&to=2023-11-14&model=brain").await, 1);
    for nothing in ["review=accepted", "urgency=stat", "from=2023-11-15", "to=2023-11-13"] {
        assert_eq!(count(nothing).await, 0, "{nothing}");
    }
    ward.decide(0, json!({ "decision": "accept" })).await.is(201);
    assert_eq!(count("review=accepted").await, 1);
    ward.get("/v1/results?from=yesterday").await.is_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn feedback_counts_each_result_with_the_decision_in_force() {
    let ward = Ward::open().await;
    assert_eq!(ward.get("/v1/feedback").await.is(200).json(), json!([]));
    ward.decide(0, json!({ "decision": "accept" })).await.is(201);
    ward.decide(1, json!({ "decision": "undo" })).await.is(201);
    ward.decide(2, json!({ "decision": "reject", "reason": "quality" })).await.is(201);
    let groups = ward.get("/v1/feedback?model=brain&from=2023-11-14").await.is(200).json();
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
    assert_eq!(groups[0]["month"], "2023-11");
    assert_eq!((&groups[0]["decided"], &groups[0]["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(groups[0]["scanner"], "TOSHIBA_MEC MRT50H1", "{groups}");
    assert_eq!(ward.get("/v1/feedback?model=other").await.json(), json!([]));
}

#[tokio::test]
async fn a_comment_is_for_those_who_see_patients_and_in_no_event_or_trail() {
    let ward = Ward::open().await;
    let comment = format!("{} moved", seed::PATIENT_NAME);
    ward.decide(0, json!({ "decision": "accept", "comment": comment })).await.is(201);
    let path = format!("{}/reviews", ward.path);
    assert_eq!(ward.get(&path).await.json()[0]["comment"], comment);
    let admin = ward.app.key(Role::Admin).await;
    let seen = ward.app.get(&path).bearer(&admin).send().await;
    assert!(!seen.is(200).text().contains(seed::PATIENT_NAME));
    let events = format!("{:?}", ward.app.ledger.events_after(ledger::EventSeq(0), 1000).await.unwrap());
    let trail = format!(
        "{:?}",
        ward.app
            .ledger
            .audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(100))
            .await
            .unwrap()
    );
    assert!(events.contains("result.accepted") && trail.contains("result.accept"));
    assert!(!events.contains(seed::PATIENT_NAME) && !trail.contains(seed::PATIENT_NAME));
}

#[tokio::test]
async fn a_held_study_is_released_by_a_person_and_only_once() {
    let ward = Ward::open().await;
    let study = imaging::StudyUid::parse("1.2.3.1").unwrap();
    let path = "/v1/studies/1.2.3.1/release";
    ward.app.post(path).bearer(&ward.doctor).send().await.is_problem(409, "conflict");
    let reason = ledger::HoldReason::IdentityConflict;
    ward.app.ledger.hold_study(&study, reason, "two patients", "overread", ward.app.now()).await.unwrap();
    ward.decide(0, json!({ "decision": "accept" })).await.is_problem(409, "conflict");
    let key = ward.app.key(Role::Doctor).await;
    ward.app.post(path).bearer(&key).send().await.is_problem(403, "forbidden");
    let released = ward.app.post(path).bearer(&ward.doctor).send().await;
    assert_eq!(released.is(200).json()["held"], false);
    let trail = ward
        .app
        .ledger
        .audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(1))
        .await
        .unwrap()
        .rows;
    assert_eq!((trail[0].action.as_str(), trail[0].subject.as_str()), ("study.release", "1.2.3.1"));
    ward.decide(0, json!({ "decision": "accept" })).await.is(201);
}

const FORM: &str = "multipart/form-data; boundary=mask";

fn form(mask: &[u8], comment: &str) -> Vec<u8> {
    let part =
        |name| format!("--mask\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
    [&part("file"), mask, b"\r\n", &part("comment"), comment.as_bytes(), b"\r\n--mask--\r\n"].concat()
}

#[tokio::test]
async fn a_mask_is_not_read_before_it_is_known_that_it_may_be_given() {
    let ward = Ward::open().await;
    let unknown = format!("/v1/results/{}", ResultId::generate());
    for (path, seen, status) in [(&unknown, "\"0\"", 404), (&ward.path, "\"7\"", 412)] {
        let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let call = ward.app.post(&format!("{path}/reviews/segmentation")).bearer(&ward.doctor);
        let call = call.header("if-match", seen).body(FORM, Body::from_stream(never));
        let answer = tokio::time::timeout(Duration::from_secs(20), call.send()).await;
        answer.expect("an answer without the mask").is(status);
    }
}

#[tokio::test]
async fn a_mask_and_its_comment_have_limits_and_leave_nothing_behind() {
    let mut http = roomy();
    http.limits.mask_bytes = 1000;
    let ward = Ward::open_with(http).await;
    for (mask, comment, code) in [
        (1001, "fine".to_owned(), "body_too_large"),
        (1000, "x".repeat(8001), "body_too_large"),
        (1000, "x".repeat(2001), "unprocessable"),
        (1000, "fine".to_owned(), "unprocessable"),
    ] {
        let call = ward.app.post(&format!("{}/reviews/segmentation", ward.path)).bearer(&ward.doctor);
        let call = call.header("if-match", "\"0\"").body(FORM, form(&vec![b'x'; mask], &comment));
        let answer = call.send().await;
        assert_eq!(answer.json()["code"], code, "{}", answer.text());
    }
    let temporary = ward.app.models.parent().unwrap().join("tmp");
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0);
}
