//! Tabular models under `/v1`: what they take, what they answer, what is kept.

use ledger::{PageRequest, PredictionFilter, Role};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, roomy};

async fn app() -> TestApp {
    TestApp::with_models(roomy(), &["meso"]).await
}

/// The worked example of the contracts.
pub(crate) fn example() -> Value {
    json!({
        "age": 65, "duration_of_symptoms": 30, "platelet_count_(PLT)": 250000, "cell_count_(WBC)": 8000,
        "blood_lactic_dehydrogenise_(LDH)": 200, "pleural_lactic_dehydrogenise": 600, "pleural_protein": 4.5,
        "total_protein": 7.2, "albumin": 3.8, "C-reactive_protein_(CRP)": 15,
        "duration_of_asbestos_exposure": 20,
    })
}

/// What ONNX Runtime answers in Python for the worked example, its ratios made by NumPy.
pub(crate) fn reference() -> f64 {
    static REFERENCE: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    *REFERENCE.get_or_init(|| {
        let script = "import sys, numpy as np, onnxruntime as ort\n\
            s = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n\
            row = [20 / (65 + 1e-6), 65, 250000, 30, 600 / (200 + 1e-6), 4.5, 3.8, 15]\n\
            kind = np.float64 if 'double' in s.get_inputs()[0].type else np.float32\n\
            out = s.run(['probability'], {'selected': np.array([row], kind)})[0]\n\
            print(repr(float(np.ravel(out)[-1])))";
        let mut command = peers::mortal(peers::python());
        command.arg("-c").arg(script).arg(peers::workspace().join("models/meso/model.onnx"));
        let output = peers::Guarded::output(command, std::time::Duration::from_secs(120));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    })
}

async fn predict(app: &TestApp, key: &str, body: &Value) -> Answer {
    app.post("/v1/models/meso/predict").bearer(key).json(body).send().await
}

#[tokio::test]
async fn the_schema_says_what_a_row_holds() {
    let app = app().await;
    let schema = app
        .get("/v1/models/meso_xgb/schema")
        .bearer(&app.key(Role::Worker).await)
        .send()
        .await
        .is(200)
        .json();
    assert_eq!(schema["model"]["id"], "meso");
    assert_eq!(schema["threshold"], 0.29);
    assert_eq!(schema["features"].as_array().unwrap().len(), 11);
    assert_eq!(
        schema["features"][0],
        json!({ "name": "age", "unit": "a", "min": 0.0, "max": 120.0, "missing": "nan" })
    );
    assert_eq!(schema["derived"][1]["expression"], "pleural_protein / (total_protein + 1e-6)");
    assert_eq!(schema["selected"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn a_row_is_answered_with_the_bits_of_the_model() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    let answer = predict(&app, &key, &json!({ "data": [example(), { "age": 165 }] })).await;
    let timing = answer.header("server-timing").to_owned();
    let answer = answer.is(200).json();
    assert_eq!(answer["rows"][0]["probability"].as_f64().unwrap().to_bits(), reference().to_bits());
    assert_eq!(answer["rows"][0]["label"], u8::from(reference() >= 0.29));
    assert!(answer["rows"][0].get("warnings").is_none(), "{answer}");
    let warnings = answer["rows"][1]["warnings"].as_array().unwrap();
    assert_eq!(warnings[0], "age is 165 a, the model is made for 0 to 120");
    assert_eq!(warnings[1], "duration_of_symptoms is missing");
    assert_eq!(warnings.len(), 11);
    assert_eq!(answer["model"]["version"], "0.1.0");
    assert_eq!(answer["model"]["digest"].as_str().unwrap().len(), 64);
    assert!(timing.contains("predict;dur="), "{timing}");
}

#[tokio::test]
async fn rows_of_a_patient_are_kept_before_they_are_answered() {
    let app = app().await;
    app.account("kim", Role::Doctor).await;
    let token = app.sign_in("kim").await["access_token"].as_str().unwrap().to_owned();
    let body = json!({ "patient_id": 12, "data": [example(), { "age": 40 }] });
    let answer = app
        .post("/v1/models/meso_xgb/predict")
        .bearer(&token)
        .header("x-request-id", "REQ_1")
        .json(&body)
        .send()
        .await
        .is(200)
        .json();
    let rows =
        app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(10)).await.unwrap().rows;
    assert_eq!(rows.len(), 2);
    let first = &rows[1];
    assert_eq!(answer["rows"][0]["prediction_id"], first.id.0);
    assert_eq!((first.patient_id.as_str(), first.doctor.as_deref()), ("12", Some("kim")));
    assert_eq!((first.actor.as_str(), first.model_name.as_str()), ("account:kim", "meso_xgb"));
    assert_eq!(first.request_id.as_deref(), Some("REQ_1"));
    assert_eq!(first.input, example());
    assert_eq!(first.answer["probability"], answer["rows"][0]["probability"]);
    assert_eq!(rows[0].input, json!({ "age": 40 }));
    // What is stored is enough to ask again and to hear the same.
    let again = predict(&app, &token, &json!({ "data": [first.input, rows[0].input] })).await.is(200).json();
    for row in 0..2 {
        assert_eq!(again["rows"][row]["probability"], answer["rows"][row]["probability"]);
    }
    let trail =
        app.ledger.audit(&ledger::AuditFilter::default(), &PageRequest::first(10)).await.unwrap().rows;
    let calls: Vec<_> = trail.iter().filter(|row| row.action == "model.predict").collect();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[1].subject.as_str(), calls[1].detail["rows"].as_u64()), ("meso@0.1.0", Some(2)));
    assert_eq!(calls[1].detail["call"], answer["call"]);
}

#[tokio::test]
async fn the_history_is_for_those_who_may_see_it() {
    let app = app().await;
    let (service, admin) = (app.key(Role::Service).await, app.key(Role::Admin).await);
    for patient in ["P 1", "P 2", "P 1"] {
        predict(&app, &service, &json!({ "patient_id": patient, "data": [example()] })).await.is(200);
    }
    let page = app.get("/v1/predictions?limit=2").bearer(&service).send().await.is(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["items"][0]["patient_id"], "P 1");
    let next = format!("/v1/predictions?limit=2&cursor={}", page["next"].as_str().unwrap());
    let rest = app.get(&next).bearer(&service).send().await.is(200).json();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert!(rest.get("next").is_none());
    let of = app.get("/v1/predictions?patient_id=P%201&label=0&from=2020-01-01T00:00:00Z").bearer(&service);
    let other = app.get("/v1/predictions?patient_id=P%201&label=1&to=2030-01-01T00:00:00Z").bearer(&service);
    let (of, other) = (of.send().await.is(200).json(), other.send().await.is(200).json());
    assert_eq!(of["items"].as_array().unwrap().len() + other["items"].as_array().unwrap().len(), 2);
    let text = app.get("/v1/predictions").bearer(&admin).send().await.is(200).text();
    assert!(!text.contains("P 1") && text.contains("probability"), "{text}");
    app.get("/v1/predictions?patient_id=P%201").bearer(&admin).send().await.is_problem(403, "forbidden");
    for query in ["label=2", "from=yesterday", "cursor=x"] {
        let answer = app.get(&format!("/v1/predictions?{query}")).bearer(&service).send().await;
        answer.is_problem(400, "invalid_parameter");
    }
    let id = page["items"][0]["id"].as_i64().unwrap();
    let one = app.get(&format!("/v1/predictions/{id}")).bearer(&service).send().await.is(200).json();
    assert_eq!(one, page["items"][0]);
    app.get("/v1/predictions/99").bearer(&service).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_model_that_is_not_there_or_takes_no_rows_is_named() {
    let app = TestApp::with_models(roomy(), &["meso", "ct-brain-class"]).await;
    let key = app.key(Role::Service).await;
    for path in ["/v1/models/nobody/predict", "/v1/models/meso@9.9.9/predict"] {
        let answer = app.post(path).bearer(&key).json(&json!({ "data": [{}] })).send().await;
        answer.is_problem(404, "not_found");
    }
    let answer = app
        .post("/v1/models/ct-brain-class/predict")
        .bearer(&key)
        .json(&json!({ "data": [{}] }))
        .send()
        .await;
    answer.is_problem(422, "unprocessable");
    app.post("/v1/models/meso/predict")
        .bearer(&key)
        .body("application/xml", "<a/>")
        .send()
        .await
        .is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_hundred_thousand_rows_of_csv_come_back_in_order() {
    const ROWS: usize = 100_000;
    let app = app().await;
    let key = app.key(Role::Service).await;
    let mut file = String::from("\u{feff}note,age,\"duration_of_asbestos_exposure\"\r\n");
    for row in 0..ROWS {
        file.push_str(&format!("\"row, {row}\",{},{}\r\n", row % 120, if row == 7 { "" } else { "20" }));
    }
    let answer = app.post("/v1/models/meso/predict").bearer(&key).body("text/csv", file).send().await;
    answer.is(200);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let text = answer.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), ROWS + 1);
    assert_eq!(lines[0], "row,probability,label,threshold,model,warnings,problem");
    let json = json!({ "data": [{ "age": 64, "duration_of_asbestos_exposure": 20 }] });
    let one = predict(&app, &key, &json).await.is(200).json();
    let fields: Vec<&str> = lines[64 + 1].split(',').collect();
    assert_eq!(fields[0], "65");
    assert_eq!(fields[1].parse::<f64>().unwrap(), one["rows"][0]["probability"].as_f64().unwrap());
    assert_eq!((fields[2].parse().ok(), fields[4]), (one["rows"][0]["label"].as_u64(), "meso@0.1.0"));
    assert!(lines[8].contains("duration_of_asbestos_exposure is missing"), "{}", lines[8]);
    assert!(lines[ROWS].starts_with("100000,"), "{}", lines[ROWS]);
}

#[tokio::test]
async fn rows_of_csv_are_kept_like_any_others() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    let mut file = String::from("age\n");
    for row in 0..2500 {
        file.push_str(&format!("{}\n", row % 100));
    }
    let call = app.post("/v1/models/meso/predict?patient_id=12").bearer(&key).body("text/csv", file);
    call.send().await.is(200);
    let filter = PredictionFilter { patient_id: Some("12".to_owned()), ..PredictionFilter::default() };
    let rows = app.ledger.predictions(&filter, &PageRequest::first(1000)).await.unwrap().rows;
    assert_eq!((rows.len(), rows[0].row_number), (1000, 2500));
    assert_eq!(rows[0].input, json!({ "age": 99 }));
    let trail =
        app.ledger.audit(&ledger::AuditFilter::default(), &PageRequest::first(10)).await.unwrap().rows;
    assert_eq!(trail.iter().filter(|row| row.action == "model.predict").count(), 1);
}

#[tokio::test]
async fn a_reload_takes_a_new_version_and_keeps_the_old_one_when_it_is_spoilt() {
    let app = app().await;
    let (admin, service) = (app.key(Role::Admin).await, app.key(Role::Service).await);
    let reload = || app.post("/v1/models/reload").bearer(&admin).send();
    let report = reload().await.is(200).json();
    assert_eq!(report["unchanged"], json!(["meso@0.1.0"]));
    app.post("/v1/models/reload").bearer(&service).send().await.is_problem(403, "forbidden");

    let manifest = app.models.join("meso/model.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("threshold = 0.29", "threshold = 2")).unwrap();
    let report = reload().await.is(200).json();
    assert_eq!(report["refused"][0]["still_serving"], "meso@0.1.0");
    let answer = predict(&app, &service, &json!({ "data": [example()] })).await.is(200).json();
    assert_eq!(answer["threshold"], 0.29);

    let newer = text.replace("version = \"0.1.0\"", "version = \"0.2.0\"").replace("0.29", "0.5");
    std::fs::write(&manifest, newer).unwrap();
    let report = reload().await.is(200).json();
    assert_eq!((&report["added"], &report["removed"]), (&json!(["meso@0.2.0"]), &json!(["meso@0.1.0"])));
    let answer = predict(&app, &service, &json!({ "data": [example()] })).await.is(200).json();
    assert_eq!((&answer["threshold"], &answer["model"]["version"]), (&json!(0.5), &json!("0.2.0")));
}

#[tokio::test]
async fn a_row_tells_what_each_column_did_to_its_answer_and_so_does_the_history() {
    let app = app().await;
    let doctor = app.signed_in("kim", Role::Doctor).await["access_token"].as_str().unwrap().to_owned();
    let body = json!({ "data": [example(), { "age": 40 }], "patient_id": "12" });
    let path = "/v1/models/meso/predict?contributions=true";
    let answer = app.post(path).bearer(&doctor).json(&body).send().await.is(200).json();
    for row in answer["rows"].as_array().unwrap() {
        let told = &row["contributions"];
        assert_eq!(told["scale"], "probability");
        let columns = told["columns"].as_array().unwrap();
        assert_eq!((columns.len(), &columns[0]["name"]), (8, &json!("exposure_age_ratio")));
        let total: f64 = columns.iter().map(|column| column["contribution"].as_f64().unwrap()).sum();
        let answered = row["probability"].as_f64().unwrap() - told["base"].as_f64().unwrap();
        assert!((total - answered).abs() < 1e-9, "{total} and {answered}");
        assert!(columns.iter().any(|column| column["contribution"].as_f64().unwrap().abs() > 0.01), "{told}");
    }
    let id = &answer["rows"][0]["prediction_id"];
    let kept = app.get(&format!("/v1/predictions/{id}?contributions=true")).bearer(&doctor).send().await;
    assert_eq!(kept.is(200).json()["contributions"], answer["rows"][0]["contributions"]);
    let plain = app.get(&format!("/v1/predictions/{id}")).bearer(&doctor).send().await.is(200).json();
    assert!(plain.get("contributions").is_none());

    let many = json!({ "data": vec![example(); 101] });
    app.post(path).bearer(&doctor).json(&many).send().await.is_problem(422, "unprocessable");
    let csv = app.post(path).bearer(&doctor).body("text/csv", "age\n40\n").send().await;
    csv.is_problem(422, "unprocessable");
    // Another package under the same version: what answered then is not here any more.
    let file = app.models.join("meso/model.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("threshold = 0.29", "threshold = 0.3")).unwrap();
    let admin = app.key(Role::Admin).await;
    app.post("/v1/models/reload").bearer(&admin).send().await.is(200);
    let gone = app.get(&format!("/v1/predictions/{id}?contributions=true")).bearer(&doctor).send().await;
    gone.is_problem(409, "conflict");
}
