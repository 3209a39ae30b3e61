//! Contract C: images, request by request.

use std::{path::PathBuf, sync::OnceLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use inference::{Control, Urgency};
use ledger::{PageRequest, PredictionFilter, PredictionId, Role};
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, data, roomy},
    seed,
};

pub(crate) const BOUNDARY: &str = "a-boundary-that-no-file-holds";

/// A folder of real files, unpacked once.
fn unpacked(archive: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let mut command = peers::mortal(peers::program("tar", &["/usr/bin", "/bin"], "tar"));
    command.arg("xJf").arg(data(archive)).arg("-C").arg(folder);
    let output = peers::Guarded::output(command, std::time::Duration::from_secs(60));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = archive.rsplit('/').next().unwrap().trim_end_matches(".tar.xz");
    folder.join(name)
}

/// The files of a real CT of a head, in the order of their names.
pub(crate) fn ct_files() -> &'static [PathBuf] {
    static FILES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = unpacked("ct-head/philips-ingenuity-head-5mm.tar.xz");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    })
}

/// An archive as a person would make it, with a read-me among the images.
pub(crate) fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in members {
        archive.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut archive, bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn ct_zip() -> &'static [u8] {
    static ZIP: OnceLock<Vec<u8>> = OnceLock::new();
    ZIP.get_or_init(|| {
        let files: Vec<_> = ct_files().iter().map(|path| std::fs::read(path).unwrap()).collect();
        let names: Vec<_> = (0..files.len()).map(|number| format!("head/{number}")).collect();
        let mut members: Vec<(&str, &[u8])> = vec![("head/README.txt", b"a head")];
        members.extend(names.iter().zip(&files).map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        zip_of(&members)
    })
}

/// A form as a browser sends it.
pub(crate) fn form(image: Option<&[u8]>, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    if let Some(image) = image {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"brain.dcm\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(image);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

pub(crate) async fn app() -> TestApp {
    TestApp::with_models(roomy(), &["meso", "ct-brain-class"]).await
}

pub(crate) async fn classify(app: &TestApp, key: &str, image: &[u8], xai: &str) -> Answer {
    let body = form(Some(image), &[("patient_id", "12"), ("xai", xai)]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    app.post("/predict/ct_classification").bearer(key).body(&kind, body).send().await
}

/// What the model says about the files when nothing lies between it and them.
fn expected(app: &TestApp) -> Value {
    let package = inference::Package::read(&app.models.join("ct-brain-class")).unwrap();
    let model = crate::app::open(package);
    let order =
        pipeline::ReadOnce { installation: uuid::Uuid::nil(), written_at: time::OffsetDateTime::UNIX_EPOCH };
    let control = Control { progress: &|_| {}, cancelled: &|| false, urgency: Urgency::Interactive };
    pipeline::read_once(&model, ct_files(), &order, &control).unwrap().findings
}

#[tokio::test]
async fn an_archive_is_classified_at_once_with_probabilities_and_heatmap_and_kept_for_review() {
    let app = app().await;
    app.account("kim", Role::Doctor).await;
    let doctor = app.sign_in("kim").await["access_token"].as_str().unwrap().to_owned();
    let answer = classify(&app, &doctor, ct_zip(), "true").await;
    let timing = answer.header("server-timing").to_owned();
    let (text, answer) = (answer.text(), answer.is(200).json());
    let expected = expected(&app);
    let winner = &expected["classes"][expected["winner"].as_u64().unwrap() as usize];
    assert_eq!(answer["class"], winner["name"]);
    // By their digits: what reads JSON here may miss the last bit of a float.
    assert!(text.contains(&format!("\"confidence\":{}", winner["probability"])), "{}", winner["probability"]);
    for class in expected["classes"].as_array().unwrap() {
        assert!(text.contains(&format!("{}:{}", class["name"], class["probability"])), "{class}");
    }
    assert_eq!(answer["status"], "PENDING_REVIEW");
    assert_eq!((&answer["patient_id"], &answer["cached"]), (&json!("12"), &json!(false)));
    assert_eq!(answer["model"]["id"], "ct-brain-class");
    let bytes = |name: &str| STANDARD.decode(answer["heatmap"][name].as_str().unwrap()).unwrap();
    assert!(bytes("png").starts_with(b"\x89PNG\r\n\x1a\n"));
    assert_eq!(&bytes("dicom")[128..132], b"DICM");
    assert!(timing.contains("infer;dur="), "{timing}");

    let id = PredictionId(answer["prediction_id"].as_i64().unwrap());
    let row = app.ledger.prediction(id).await.unwrap().unwrap();
    assert_eq!((row.patient_id.as_str(), row.doctor.as_deref()), ("12", Some("kim")));
    assert_eq!((row.model.id.as_str(), &row.answer["winner"]), ("ct-brain-class", &expected["winner"]));

    let again = classify(&app, &doctor, ct_zip(), "false").await.is(200).json();
    assert_eq!((&again["cached"], &again["class"]), (&json!(true), &answer["class"]));
    assert!(again.get("heatmap").is_none() && again["prediction_id"] != answer["prediction_id"]);
    app.pass(std::time::Duration::from_secs(60 * 60));
    let later = app.sign_in("kim").await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(classify(&app, &later, ct_zip(), "false").await.is(200).json()["cached"], false);
}

#[tokio::test]
async fn one_file_is_enough() {
    let app = app().await;
    let key = app.key(Role::Technician).await;
    let file = std::fs::read(&ct_files()[0]).unwrap();
    let answer = classify(&app, &key, &file, "true").await.is(200).json();
    let sum: f64 =
        answer["probabilities"].as_object().unwrap().values().map(|one| one.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{answer}");
}

#[tokio::test]
async fn a_bad_image_is_refused_in_the_callers_language() {
    let app = app().await;
    let key = app.key(Role::Technician).await;
    let body = form(Some(b"\xff\xd8\xff\xe0 a JPEG called .dcm"), &[("patient_id", "12")]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    for (language, message) in
        [("ko-KR,ko;q=0.9", "지원하지 않는 이미지 형식입니다"), ("en", "This image format is not supported")]
    {
        let call = app.post("/v1/predict/ct_classification").bearer(&key).header("accept-language", language);
        let answer = call.body(&kind, body.clone()).send().await.is(400).json();
        assert_eq!(answer["error"]["code"], "INVALID_IMAGE_FORMAT");
        assert_eq!(answer["error"]["message"], message);
    }
    let rows =
        app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(1)).await.unwrap().rows;
    assert!(rows.is_empty());
}

#[tokio::test]
async fn feedback_is_kept_and_the_last_word_of_a_doctor_counts() {
    let app = app().await;
    app.account("kim", Role::Doctor).await;
    let doctor = app.sign_in("kim").await["access_token"].as_str().unwrap().to_owned();
    let technician = app.key(Role::Technician).await;
    let file = std::fs::read(&ct_files()[0]).unwrap();
    let id = classify(&app, &technician, &file, "false").await.is(200).json()["prediction_id"].clone();
    let say = |key: &str, body: Value| app.post("/feedback").bearer(key).json(&body).send();
    let body = json!({ "prediction_id": id, "correct": true });
    let answer = say(&technician, body).await.is(200).json();
    assert_eq!((&answer["status"], &answer["verified_by_doctor"]), (&json!("PENDING_REVIEW"), &json!(false)));
    let body = json!({ "prediction_id": id, "correct": false, "actual_class": "Glioma", "feedback": "ring" });
    let answer = say(&doctor, body).await.is(200).json();
    assert_eq!(
        answer,
        json!({
            "prediction_id": id, "status": "REJECTED", "verified_by_doctor": true, "doctor_feedback": "ring",
            "verified_at": "2023-11-14T22:13:20.000Z",
        })
    );
    let reviews = app.ledger.prediction_reviews(PredictionId(id.as_i64().unwrap())).await.unwrap();
    assert_eq!(reviews.len(), 2);
    assert_eq!(
        (reviews[1].doctor.as_deref(), reviews[1].actual_class.as_deref()),
        (Some("kim"), Some("Glioma"))
    );
    let unknown = say(&doctor, json!({ "prediction_id": 4711, "correct": true })).await.is(404).json();
    assert_eq!(unknown["error"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn a_classification_is_answered_while_a_segmentation_runs() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

    let app = app().await;
    let key = app.key(Role::Technician).await;
    let package = inference::Package::read(&peers::workspace().join("models/mr-brain-seg")).unwrap();
    let model = crate::app::open(package);
    let volume = mr_volume();
    // Between its first two windows it waits until the answer below was given: if it kept the
    // device meanwhile, there would be none.
    let (running, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let segmentation = tokio::task::spawn_blocking({
        let (running, answered) = (Arc::clone(&running), Arc::clone(&answered));
        move || {
            let is_answered = || answered.load(Ordering::SeqCst);
            let between_windows = |_: f32| {
                running.store(true, Ordering::SeqCst);
                peers::wait_until("the classification is answered", LIMIT, || is_answered().then_some(()));
            };
            let control =
                Control { progress: &between_windows, cancelled: &is_answered, urgency: Urgency::Background };
            model.segment(vec![inference::deidentify(volume)], &control).is_err()
        }
    });
    let started = Arc::clone(&running);
    let wait = move || {
        peers::wait_until("the segmentation runs", LIMIT, || started.load(Ordering::SeqCst).then_some(()));
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
    classify(&app, &key, ct_zip(), "true").await.is(200);
    answered.store(true, Ordering::SeqCst);
    assert!(segmentation.await.unwrap(), "the segmentation was over before the answer");
}

fn mr_volume() -> imaging::Volume {
    let path = data("mr-enhanced/siemens-xa30-t1w-enhanced.dcm");
    imaging::load_volume(&[(imaging::Header::read_file(&path).unwrap(), path)]).unwrap()
}

#[tokio::test]
async fn a_segmentation_is_a_task_that_can_be_asked_for() {
    let app = app().await;
    let key = app.key(Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    let body = json!({ "study_uid": seeded.study.to_string() });
    for path in ["/predict/mri_segmentation/async", "/api/v1/m1/inference/"] {
        let answer = app.post(path).bearer(&key).json(&body).send().await.is(202).json();
        assert_eq!(answer, json!({ "task_id": "1.2.3.1" }));
    }
    let task = || app.get("/task/1.2.3.1").bearer(&key).send();
    assert_eq!(task().await.is(200).json(), json!({ "status": "PENDING", "progress": 0 }));
    let (result, _) = seed::result(&app, &seeded, seed::Leaves::Released).await;
    let done = task().await.is(200).json();
    assert_eq!((&done["status"], &done["progress"]), (&json!("COMPLETED"), &json!(100)));
    assert_eq!(done["result"]["findings"]["segments"][0]["volume_ml"], 1.5);
    assert_eq!(done["result"]["mask"], format!("/v1/results/{result}/artifacts"));

    let failed = seed::study(&app, 2).await;
    seed::failed_job(&app, &failed).await;
    let failed = app.get("/task/1.2.3.2").bearer(&key).send().await.is(200).json();
    assert_eq!(
        (&failed["status"], &failed["error"]),
        (&json!("FAILED"), &json!("the series has no spacing"))
    );
    for id in ["1.2.3.99", "not-a-uid"] {
        let answer = app.get(&format!("/task/{id}")).bearer(&key).send().await.is(404).json();
        assert_eq!(answer["error"]["code"], "NOT_FOUND");
    }
    let unknown =
        app.post("/predict/mri_segmentation/async").bearer(&key).json(&json!({ "study_uid": "1.9" }));
    unknown.send().await.is(404);
    let ask = |body: Value| app.post("/predict/mri_segmentation/async").bearer(&key).json(&body).send();
    let by_series = ask(json!({ "series_uid": "1.2.3.1.1" })).await.is(202).json();
    assert_eq!(by_series, json!({ "task_id": "1.2.3.1" }));
    ask(json!({ "series_uid": "1.2.3.1.1", "study_uid": "1.2.3.1" })).await.is(202);
    ask(json!({ "series_uid": "1.2.3.1.1", "study_uid": "1.2.3.2" })).await.is(400);
    ask(json!({ "series_uid": "1.9" })).await.is(404);
    ask(json!({})).await.is(400);
}

#[tokio::test]
async fn files_of_a_study_are_kept_and_become_its_task() {
    let app = app().await;
    let key = app.key(Role::Technician).await;
    let file = std::fs::read(data("syntaxes/MR_small.dcm")).unwrap();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let body = form(Some(&zip_of(&[("a/1.dcm", &file)])), &[("patient_id", "12")]);
    let answer = app.post("/predict/mri_segmentation/async").bearer(&key).body(&kind, body).send().await;
    let study = answer.is(202).json()["task_id"].as_str().unwrap().to_owned();
    let evidence = app.ledger.evidence(&imaging::StudyUid::parse(&study).unwrap()).await.unwrap().unwrap();
    assert!(evidence.series[0].all_released() && evidence.study.forced.is_some());
    app.get(&format!("/task/{study}/")).bearer(&key).send().await.is(200);
}
