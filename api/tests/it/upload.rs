//! DICOM files over HTTP.

use axum::http::StatusCode;
use ledger::{Door, Role};

use crate::app::{Answer, TestApp, data, roomy};

const BOUNDARY: &str = "a-boundary-that-no-file-holds";

fn form(files: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        body.extend_from_slice(
            b"Content-Disposition: form-data; name=\"files\"; filename=\"Doe^Jane.dcm\"\r\n",
        );
        body.extend_from_slice(b"Content-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn send_form(app: &TestApp, body: Vec<u8>) -> Answer {
    let key = app.key(Role::Technician).await;
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    app.post("/v1/studies").bearer(&key).body(&kind, body).send().await
}

async fn send_file(app: &TestApp, bytes: Vec<u8>) -> Answer {
    let key = app.key(Role::Technician).await;
    app.post("/v1/studies").bearer(&key).body("application/dicom", bytes).send().await
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap()
}

#[tokio::test]
async fn an_uploaded_file_is_kept_recorded_and_released() {
    let app = TestApp::start().await;
    let uploaded = send_file(&app, file("syntaxes/MR_small.dcm")).await.is(200).json();
    assert_eq!(uploaded["files"][0]["outcome"], "stored");
    let uid = imaging::StudyUid::parse(uploaded["study_uids"][0].as_str().unwrap()).unwrap();
    let evidence = app.ledger.evidence(&uid).await.unwrap().unwrap();
    let series = &evidence.series[0];
    assert!(series.all_released());
    assert_eq!(
        (series.carriers[0].door, series.carriers[0].calling_ae.as_str()),
        (Door::Upload, "key:technician key")
    );
    let instance = &app.ledger.instances_of_series(&uid, &series.series.series).await.unwrap()[0];
    let key = spool::InstanceKey {
        study: uid,
        series: series.series.series.clone(),
        sop_instance: instance.header.sop_instance.clone(),
    };
    assert!(app.spool.holds(&key).unwrap());
    assert!(app.spool.unrecorded().is_empty());
}

#[tokio::test]
async fn the_same_file_again_is_a_duplicate() {
    let app = TestApp::start().await;
    send_file(&app, file("syntaxes/MR_small.dcm")).await.is(200);
    let again = send_file(&app, file("syntaxes/MR_small.dcm")).await.is(200).json();
    assert_eq!(again["files"][0]["outcome"], "duplicate");
}

#[tokio::test]
async fn each_file_of_a_form_has_an_outcome_of_its_own() {
    let app = TestApp::start().await;
    let (mr, ct) = (file("syntaxes/MR_small.dcm"), file("syntaxes/CT_small.dcm"));
    let answer = send_form(&app, form(&[&mr, b"not a DICOM file", &ct, &mr])).await;
    let outcomes: Vec<_> = answer.is(200).json()["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["outcome"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["stored", "refused", "stored", "duplicate"]);
    assert_eq!(answer.json()["study_uids"].as_array().unwrap().len(), 2);
    assert!(!answer.text().contains("Doe"), "the file name is repeated: {}", answer.text());
}

#[tokio::test]
async fn another_instance_with_a_known_uid_is_set_aside() {
    let app = TestApp::start().await;
    let mut changed = file("syntaxes/MR_small.dcm");
    send_file(&app, changed.clone()).await.is(200);
    let last_pixel = changed.len() - 200;
    changed[last_pixel] ^= 1;
    let answer = send_file(&app, changed).await;
    answer.is_problem(409, "conflict");
    let quarantined = app.ledger.quarantined(&ledger::PageRequest::first(10)).await.unwrap().rows;
    assert_eq!(quarantined.len(), 1);
}

#[tokio::test]
async fn files_that_are_no_dicom_are_named_and_not_kept() {
    let app = TestApp::start().await;
    let mut without_length = file("syntaxes/MR_small.dcm");
    without_length.drain(132..144);
    for (bytes, reason) in [
        (b"GIF89a".to_vec(), "DICM"),
        (vec![0; 4096], "DICM"),
        (without_length, "group length"),
        (file("syntaxes/MR_small.dcm")[..200].to_vec(), "ends inside"),
    ] {
        let answer = send_file(&app, bytes).await;
        answer.is_problem(400, "invalid_dicom");
        assert!(answer.json()["detail"].as_str().unwrap().contains(reason), "{}", answer.text());
    }
    send_form(&app, form(&[])).await.is_problem(400, "bad_request");
}

/// Whatever is in them: an answer that names it, and no 5xx.
#[tokio::test]
async fn damaged_files_are_kept_aside_or_refused() {
    let app = TestApp::start().await;
    for entry in std::fs::read_dir(data("bad")).unwrap() {
        let path = entry.unwrap().path();
        let answer = send_file(&app, std::fs::read(&path).unwrap()).await;
        let fine = matches!(answer.status, StatusCode::OK | StatusCode::BAD_REQUEST);
        assert!(fine, "{}: {}", path.display(), answer.text());
    }
}

#[tokio::test]
async fn an_upload_over_the_limit_is_refused() {
    let mut http = roomy();
    http.limits.upload_bytes = 4096;
    let app = TestApp::with(http).await;
    send_file(&app, file("syntaxes/MR_small.dcm")).await.is_problem(413, "body_too_large");
    send_form(&app, form(&[&file("syntaxes/MR_small.dcm")])).await.is_problem(413, "body_too_large");
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    let answer = app.post("/v1/studies").bearer(&key).body("application/zip", "PK").send().await;
    answer.is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_form_that_breaks_off_keeps_what_came_whole_and_is_not_released() {
    let app = TestApp::start().await;
    let mr = file("syntaxes/MR_small.dcm");
    let mut body = form(&[&mr, &mr]);
    body.truncate(body.len() - mr.len() / 2);
    send_form(&app, body).await.is_problem(400, "bad_request");
    let studies =
        app.ledger.studies(&ledger::StudyFilter::default(), &ledger::PageRequest::first(10)).await.unwrap();
    assert_eq!(studies.rows.len(), 1);
    let evidence = app.ledger.evidence(&studies.rows[0].study).await.unwrap().unwrap();
    assert!(!evidence.series[0].all_released());
    // Who brought what is kept stands in the trail.
    let filter = ledger::AuditFilter { action: Some("study.upload".to_owned()), ..Default::default() };
    let noted = app.ledger.audit(&filter, &ledger::PageRequest::first(10)).await.unwrap().rows;
    let subjects: Vec<_> = noted.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(subjects, [studies.rows[0].study.as_str()]);
}
