//! Reviewed cases as a set of examples.

use std::io::Read;

use ledger::{AuditFilter, PageRequest, Role};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, roomy},
    predict::example,
    seed,
};

const SECRET_PATIENT: &str = "PATIENT-4711";

fn files(archive: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut file = zip.by_index(index).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            (file.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

fn named<'a>(files: &'a [(String, Vec<u8>)], name: &str) -> &'a [u8] {
    &files.iter().find(|(one, _)| one == name).unwrap_or_else(|| panic!("no {name}")).1
}

async fn export(app: &TestApp, key: &str, model: &str) -> Vec<(String, Vec<u8>)> {
    let answer = app.get(&format!("/v1/feedback/export?model={model}")).bearer(key).send().await;
    assert_eq!(answer.header("content-type"), "application/zip", "{}", answer.text());
    files(answer.is(200).bytes.clone())
}

#[tokio::test]
async fn reviewed_rows_are_exported_with_their_truth_and_without_the_patient() {
    let app = TestApp::with_models(roomy(), &["meso"]).await;
    let doctor = app.signed_in("kim", Role::Doctor).await["access_token"].as_str().unwrap().to_owned();
    let admin = app.key(Role::Admin).await;
    let body = json!({ "patient_id": SECRET_PATIENT, "data": [example(), { "age": 40 }, { "age": 50 }] });
    let answer = app.post("/predict").bearer(&doctor).json(&body).send().await.is(200).json();
    let label = answer["pred_label"][0].as_u64().unwrap();
    for body in [
        json!({ "prediction_id": 1, "correct": true }),
        json!({ "prediction_id": 2, "correct": false, "actual_class": "Mr Doe had none" }),
    ] {
        app.post("/feedback").bearer(&doctor).json(&body).send().await.is(200);
    }
    let files = export(&app, &admin, "meso").await;
    let csv = String::from_utf8(named(&files, "predictions.csv").to_vec()).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 3, "the third row was not reviewed: {csv}");
    let column = |name: &str| lines[0].iter().position(|one| *one == name).unwrap();
    assert_eq!(
        (lines[1][column("correct")], lines[1][column("truth")]),
        ("true", label.to_string().as_str())
    );
    assert_eq!((lines[2][column("correct")], lines[2][column("truth")]), ("false", "other"));
    assert_eq!(
        (lines[1][column("albumin")], lines[2][column("albumin")], lines[2][column("age")]),
        ("3.8", "", "40")
    );
    assert_eq!(lines[1][column("patient")], lines[2][column("patient")], "one patient has one name");
    let manifest: Value = serde_json::from_slice(named(&files, "manifest.json")).unwrap();
    assert_eq!((&manifest["predictions"], &manifest["cases"]), (&json!(2), &json!(0)));
    assert_eq!(manifest["files"][0]["bytes"], csv.len());
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            !text.contains(SECRET_PATIENT) && !text.contains("Doe") && !text.contains("kim"),
            "{name}: {text}"
        );
    }
    let filter = AuditFilter { action: Some("feedback.export".to_owned()), ..AuditFilter::default() };
    let rows = app.ledger.audit(&filter, &PageRequest::first(9)).await.unwrap().rows;
    assert_eq!((rows.len(), rows[0].subject.as_str()), (1, "meso"));
    app.get("/v1/feedback/export?model=meso").bearer(&doctor).send().await.is_problem(403, "forbidden");
    let none = export(&app, &admin, "another").await;
    assert_eq!(none.len(), 1, "only a manifest");
}

#[tokio::test]
async fn images_of_a_decided_result_are_exported_without_the_person() {
    let app = TestApp::start().await;
    let doctor = app.signed_in("kim", Role::Doctor).await["access_token"].as_str().unwrap().to_owned();
    let admin = app.key(Role::Admin).await;
    // Number 0 is the real file, whose bytes the result's object brings to the spool.
    let seeded = seed::study(&app, 0).await;
    let (result, _) = seed::result(&app, &seeded, seed::Leaves::Released).await;
    let decide =
        app.post(&format!("/v1/results/{result}/reviews")).bearer(&doctor).header("if-match", "\"0\"");
    decide
        .json(&json!({ "decision": "reject", "reason": "quality", "comment": "Doe moved" }))
        .send()
        .await
        .is(201);

    let files = export(&app, &admin, "brain").await;
    let csv = String::from_utf8(named(&files, "cases.csv").to_vec()).unwrap();
    assert!(csv.lines().nth(1).unwrap().contains(",rejected,"), "{csv}");
    let (name, image) = files.iter().find(|(name, _)| name.ends_with("images/00001.dcm")).expect("the image");
    assert_eq!(&image[128..132], b"DICM", "{name}");
    let original = std::fs::read(crate::app::data("syntaxes/MR_small.dcm")).unwrap();
    let header = imaging::Header::read_file(&crate::app::data("syntaxes/MR_small.dcm")).unwrap();
    let holds =
        |bytes: &[u8], needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    for secret in [header.facts.patient.name.as_str(), &header.facts.patient.id, header.study.as_str()] {
        assert!(holds(&original, secret), "{secret} is in the original");
        for (name, bytes) in &files {
            assert!(!holds(bytes, secret), "{secret} is in {name}");
        }
    }
    assert!(files.iter().all(|(_, bytes)| !holds(bytes, "Doe moved")));
}

#[tokio::test]
async fn a_class_that_a_doctor_typed_does_not_leave_the_house() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let class = |meaning: &str| {
        json!({ "name": meaning, "code": { "value": "1", "scheme": "99X", "meaning": meaning },
                "probability": 0.5, "normal": false })
    };
    let found = json!({ "winner": 0, "classes": [class("Bleed"), class("Nothing")] });
    let account = app.account("kim", Role::Doctor).await;
    for (number, meaning) in [(1, "Nothing"), (2, "Glioma Kim Minji 4711")] {
        let seeded = seed::study(&app, number).await;
        let result = seed::findings(&app, &seeded, "brain", found.clone()).await;
        let new = ledger::NewReview {
            id: ledger::ReviewId::generate(),
            result,
            after: 0,
            verdict: ledger::Verdict::Correct(json!({ "class": class(meaning)["code"] })),
            comment: None,
            reviewer: ledger::Reviewer {
                account,
                login: "kim".to_owned(),
                full_name: "Dr kim".to_owned(),
                organization: "Test".to_owned(),
            },
            eyes: ledger::Eyes::Two,
            request_id: None,
            at: app.now(),
        };
        let objects = ledger::ReviewObjects::default();
        let reviewed = app.ledger.add_review(&new, &objects, &app.audit_key).await.unwrap();
        assert!(matches!(reviewed, ledger::Reviewed::Added(_)), "{reviewed:?}");
    }
    let files = export(&app, &admin, "brain").await;
    let csv = String::from_utf8(named(&files, "cases.csv").to_vec()).unwrap();
    let column = |line: &str| line.split(',').nth(5).unwrap().to_owned();
    assert_eq!(csv.lines().map(column).collect::<Vec<_>>(), ["truth", "Nothing", "other"], "{csv}");
    assert!(files.iter().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains("Minji")));
}
