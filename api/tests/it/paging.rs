//! Lists: pages, filters, cursors.

use std::{collections::BTreeSet, time::Duration};

use ledger::Role;

use crate::{app::TestApp, seed};

/// The UIDs of all pages in order.
async fn all_pages(app: &TestApp, key: &str, first: &str) -> Vec<String> {
    let (mut uids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{first}{cursor}")).bearer(key).send().await.is(200).json();
        for item in page["items"].as_array().unwrap() {
            uids.push(item["study_uid"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { return uids };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn pages_hold_every_study_once_newest_first() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    for number in 1..=7 {
        seed::study(&app, number).await;
        // Three of them in one millisecond.
        if number > 3 {
            app.pass(Duration::from_millis(1));
        }
    }
    let uids = all_pages(&app, &key, "/v1/studies?limit=2").await;
    assert_eq!(uids.len(), 7);
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), 7);
    assert_eq!(uids[0], "1.2.3.7");
}

/// The second page of four studies, two on each, after something has happened since the first.
async fn second_page(between: impl AsyncFnOnce(&TestApp)) -> serde_json::Value {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    for number in 1..=4 {
        seed::study(&app, number).await;
        app.pass(Duration::from_millis(1));
    }
    let first = app.get("/v1/studies?limit=2").bearer(&key).send().await.json();
    between(&app).await;
    let rest = format!("/v1/studies?limit=2&cursor={}", first["next"].as_str().unwrap());
    app.get(&rest).bearer(&key).send().await.json()
}

#[track_caller]
fn is_the_last_page_with_one_and_two(page: &serde_json::Value) {
    let uids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["study_uid"]).collect();
    assert_eq!(uids, ["1.2.3.2", "1.2.3.1"]);
    assert!(page["next"].is_null(), "{page}");
}

#[tokio::test]
async fn a_study_that_arrives_between_two_pages_repeats_nothing() {
    let page = second_page(async |app| drop(seed::study(app, 5).await)).await;
    is_the_last_page_with_one_and_two(&page);
}

#[tokio::test]
async fn a_study_that_receives_a_slice_between_two_pages_is_on_one_of_them() {
    let page = second_page(async |app| seed::late_slice(app, 2).await).await;
    is_the_last_page_with_one_and_two(&page);
}

#[tokio::test]
async fn filters_leave_out_what_does_not_match() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    let count = async |query: &str| {
        let page = app.get(&format!("/v1/studies?{query}")).bearer(&key).send().await.is(200).json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(count("modality=MR").await, 1);
    assert_eq!(count("modality=CT").await, 0);
    assert_eq!(count(&format!("patient_id={}", seed::PATIENT_ID)).await, 1);
    assert_eq!(count("patient_id=another").await, 0);
    assert_eq!(count(&format!("accession_number={}", seed::ACCESSION)).await, 1);
    assert_eq!(count("study_date_from=19000101&study_date_to=19000102").await, 0);
    seed::job(&app, &seeded).await;
    let jobs = app.get("/v1/jobs?study=1.2.3.1&state=queued&model=brain").bearer(&key).send().await.json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
    let none = app.get("/v1/jobs?state=done").bearer(&key).send().await.json();
    assert_eq!(none["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn silly_pages_are_refused() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    for query in ["limit=0", "limit=501", "limit=-1", "limit=many", "cursor=!", "study_date_from=yesterday"] {
        let answer = app.get(&format!("/v1/studies?{query}")).bearer(&key).send().await;
        answer.is_problem(400, "invalid_parameter");
    }
}
