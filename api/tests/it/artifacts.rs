//! The bytes of results.

use ledger::Role;

use crate::{
    app::{TestApp, data},
    seed::{self, Leaves},
};

#[tokio::test]
async fn an_object_is_downloaded_as_it_was_kept() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 0).await;
    let (result, artifact) = seed::result(&app, &seeded, Leaves::Released).await;
    let path = format!("/v1/results/{result}/artifacts/{artifact}");
    let doctor = app.key(Role::Doctor).await;
    let answer = app.get(&path).bearer(&doctor).send().await;
    assert_eq!(answer.is(200).header("content-type"), "application/dicom");
    assert_eq!(answer.header("content-length"), answer.bytes.len().to_string());
    assert!(answer.header("content-disposition").ends_with(".dcm\""));
    let kept =
        spool::InstanceKey { study: seeded.study, series: seeded.series, sop_instance: seeded.instance };
    assert_eq!(answer.bytes, app.spool.read(&kept).unwrap());
    // The data set is the one that was put in, byte for byte.
    let original = std::fs::read(data("syntaxes/MR_small.dcm")).unwrap();
    assert_eq!(answer.bytes[answer.bytes.len() - 8192..], original[original.len() - 8192..]);
    let rows =
        app.ledger.audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(1)).await.unwrap().rows;
    assert_eq!(rows[0].action, "artifact.download");
}

#[tokio::test]
async fn an_object_of_another_result_is_not_found() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 0).await;
    let (_, artifact) = seed::result(&app, &seeded, Leaves::Released).await;
    let doctor = app.key(Role::Doctor).await;
    let path = format!("/v1/results/018bcfe5-6800-7000-8000-000000000000/artifacts/{artifact}");
    app.get(&path).bearer(&doctor).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn an_unreleased_object_is_not_found() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 0).await;
    let (result, artifact) = seed::result(&app, &seeded, Leaves::Kept).await;
    let doctor = app.key(Role::Doctor).await;
    let path = format!("/v1/results/{result}/artifacts/{artifact}");
    app.get(&path).bearer(&doctor).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn an_object_that_the_spool_has_lost_is_said_to_be_missing_without_its_place() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 0).await;
    let (result, artifact) = seed::result(&app, &seeded, Leaves::Released).await;
    let kept =
        spool::InstanceKey { study: seeded.study, series: seeded.series, sop_instance: seeded.instance };
    app.spool.delete(&kept).unwrap();
    let doctor = app.key(Role::Doctor).await;
    let answer = app.get(&format!("/v1/results/{result}/artifacts/{artifact}")).bearer(&doctor).send().await;
    answer.is_problem(500, "internal");
    assert!(answer.json()["detail"].is_null(), "{}", answer.text());
}
