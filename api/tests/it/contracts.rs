//! The contracts of older clients, request by request. The list below *is* the contract: each
//! request as those clients send it, and the answer that they read, in shape and value.
//!
//! In an answer `<moment>`, `<number>`, `<text>` and `<base64>` stand for any of the kind, and
//! `<any>` for anything; everything else is literal, and an object has no other members.

use std::{collections::BTreeSet, num::NonZeroU32};

use api::{GatewayTokens, PollingWorker};
use ledger::Role;
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, roomy},
    compat_gateway::{DJANGO_KEY, access},
    compat_imaging::{BOUNDARY, ct_files, form},
    compat_model_server::{example_answer, schema},
    compat_multimodal::{clinical, expected, expression, segmentation},
    predict::example,
    seed,
};

/// Who asks, as the old clients show it.
#[derive(Debug, Clone, Copy)]
enum Who {
    Nobody,
    /// `Authorization: Bearer KEY`
    Bearer,
    /// `X-API-KEY: KEY`
    ApiKey,
    AdminKey,
    /// A token of the old gateway, of a user who is our doctor.
    Gateway,
    Worker,
}

#[derive(Debug)]
enum Body {
    Empty,
    Json(Value),
    Text(&'static str),
    /// A form with a DICOM file.
    Image(&'static [(&'static str, &'static str)]),
    NoImage,
}

#[derive(Debug)]
struct Asked {
    who: Who,
    method: &'static str,
    address: &'static str,
    body: Body,
    status: u16,
    answer: Value,
}

fn get(who: Who, address: &'static str, status: u16, answer: Value) -> Asked {
    Asked { who, method: "GET", address, body: Body::Empty, status, answer }
}

fn post(who: Who, address: &'static str, body: Body, status: u16, answer: Value) -> Asked {
    Asked { who, method: "POST", address, body, status, answer }
}

/// Answered by nothing but its status.
fn put(who: Who, address: &'static str, body: Value) -> Asked {
    Asked { who, method: "PUT", address, body: Body::Json(body), status: 204, answer: Value::Null }
}

fn rows() -> Body {
    Body::Json(json!({ "data": [example()] }))
}

fn rows_of_patient() -> Body {
    Body::Json(json!({ "patient_id": 12, "model_name": "meso_xgb_v1", "data": [example()] }))
}

fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

fn health() -> Value {
    json!({
        "status": "ok", "started_at": "<moment>", "https_required": true, "allowed_origins": [],
        "model_path": "meso@0.1.0", "info_path": "meso@0.1.0", "algorithm": "RandomForest", "threshold": 0.29,
        "base_features_count": 11, "selected_features_count": 8,
    })
}

fn model_info() -> Value {
    let mut info = schema();
    for (name, value) in [("model_name", "meso"), ("model_version", "0.1.0")] {
        info[name] = json!(value);
    }
    for name in ["digest", "description", "intended_use"] {
        info[name] = json!("<text>");
    }
    info
}

fn model_server() -> Vec<Asked> {
    use Who::{AdminKey, ApiKey, Bearer, Nobody};
    vec![
        get(Nobody, "/health", 200, health()),
        get(Bearer, "/api/v1/status", 200, health()),
        get(Bearer, "/api/v1/model-info", 200, model_info()),
        get(ApiKey, "/schema", 200, schema()),
        get(Nobody, "/schema", 403, detail("Forbidden")),
        post(Bearer, "/predict", rows(), 200, example_answer()),
        post(ApiKey, "/predict/", rows(), 200, example_answer()),
        post(Bearer, "/api/v1/predict", rows_of_patient(), 200, example_answer()),
        post(Nobody, "/predict", rows(), 403, detail("Forbidden")),
        post(Bearer, "/predict", Body::Text("{not json"), 400, detail("invalid JSON")),
        post(Bearer, "/predict", Body::Json(json!({})), 400, detail("data list required")),
        post(Bearer, "/predict", Body::Json(json!({ "data": {} })), 400, detail("data list required")),
        post(Bearer, "/predict", Body::Json(json!({ "data": [] })), 400, detail("data list required")),
        post(AdminKey, "/reload", Body::Empty, 200, detail("reloaded")),
        post(Bearer, "/reload", Body::Empty, 403, detail("Forbidden")),
        post(
            AdminKey,
            "/api/v1/retrain",
            Body::Empty,
            409,
            detail("there are 0 reviewed cases of meso, its package asks for 20"),
        ),
    ]
}

fn gateway() -> Vec<Asked> {
    use Who::{AdminKey, Bearer, Gateway, Nobody};
    let stored = json!({
        "id": 2, "patient_id": "12", "doctor": "kim", "user": "account:kim", "model_name": "meso_xgb_v1",
        "model_version": "0.1.0", "input": example(), "label": example_answer()["pred_label"][0],
        "probability": example_answer()["pred_proba"][0], "created_at": "<moment>",
    });
    let no_permission = || detail("You do not have permission to perform this action.");
    vec![
        get(Gateway, "/api/ml/schema", 200, schema()),
        get(Nobody, "/api/ml/schema", 401, detail("Authentication credentials were not provided.")),
        // Number 1 is of the model server's client above.
        post(Gateway, "/api/ml/predict", rows_of_patient(), 200, example_answer()),
        get(Gateway, "/ml/v1/history?limit=1", 200, json!({ "next": "<text>", "results": [stored] })),
        post(Gateway, "/ml/v1/predict", rows(), 200, example_answer()),
        get(Bearer, "/ml/v1/status", 200, health()),
        get(Gateway, "/ml/v1/model-info", 200, model_info()),
        post(AdminKey, "/api/ml/reload", Body::Empty, 200, detail("reloaded")),
        post(Gateway, "/api/ml/reload", Body::Empty, 403, no_permission()),
        post(Gateway, "/ml/v1/retrain", Body::Empty, 403, no_permission()),
        post(
            AdminKey,
            "/ml/v1/retrain",
            Body::Empty,
            409,
            detail("there are 0 reviewed cases of meso, its package asks for 20"),
        ),
    ]
}

fn classified(number: i64, cached: bool) -> Value {
    json!({
        "prediction_id": number, "status": "PENDING_REVIEW", "patient_id": "12",
        "model": { "id": "ct-brain-class", "version": "0.1.0", "digest": "<text>" },
        "class": "<text>", "confidence": "<number>", "probabilities": "<any>", "key_slice": 0,
        "heatmap": { "png": "<base64>", "dicom": "<base64>" }, "cached": cached,
    })
}

fn imaging(app: &TestApp) -> Vec<Asked> {
    use Who::{Bearer, Gateway};
    const PATIENT: &[(&str, &str)] = &[("patient_id", "12"), ("xai", "true")];
    let bad_image = json!({ "error": {
        "code": "INVALID_IMAGE_FORMAT", "message": "This image format is not supported", "detail": "<text>",
    } });
    let reviewed = json!({
        "prediction_id": 3, "status": "REJECTED", "verified_by_doctor": true, "doctor_feedback": null,
        "verified_at": "<moment>",
    });
    let fused = expected(app);
    let study = || Body::Json(json!({ "study_uid": "1.2.3.1" }));
    let multimodal = json!({
        "patient_id": "12", "study_uid": "1.2.3.1", "expression": expression(), "clinical": clinical(),
    });
    vec![
        post(Bearer, "/predict/ct_classification", Body::Image(PATIENT), 200, classified(3, false)),
        post(Bearer, "/v1/predict/ct_classification", Body::Image(PATIENT), 200, classified(4, true)),
        post(Bearer, "/predict/ct_classification", Body::NoImage, 400, bad_image),
        post(
            Gateway,
            "/feedback",
            Body::Json(json!({ "prediction_id": 3, "correct": false, "actual_class": "Glioma" })),
            200,
            reviewed,
        ),
        post(Bearer, "/predict/mri_segmentation/async", study(), 202, json!({ "task_id": "1.2.3.1" })),
        post(
            Bearer,
            "/predict/mri_segmentation/async",
            Body::Json(json!({ "series_uid": "1.2.3.1.1" })),
            202,
            json!({ "task_id": "1.2.3.1" }),
        ),
        put(Gateway, "/v1/me/devices", json!({ "tokens": ["a-registration-token"] })),
        put(Bearer, "/v1/patients/12/recipients", json!({ "tokens": ["an-apps-token"] })),
        post(Bearer, "/api/v1/m1/inference", study(), 202, json!({ "task_id": "1.2.3.1" })),
        get(
            Bearer,
            "/task/1.2.3.1",
            200,
            json!({
                "status": "COMPLETED", "progress": 100,
                "result": { "result_id": "<text>", "findings": segmentation(), "mask": "<text>" },
            }),
        ),
        post(
            Bearer,
            "/api/v1/mg/inference",
            Body::Json(json!({ "data": [expression()] })),
            200,
            json!({ "base_features": "<any>", "threshold": 0.5, "pred_proba": ["<number>"], "pred_label": "<any>" }),
        ),
        post(
            Bearer,
            "/api/v1/mm/inference",
            Body::Json(multimodal),
            200,
            json!({
                "prediction_id": 5, "patient_id": "12",
                "model": { "id": "mm-fusion", "version": "0.1.0", "digest": "<text>" },
                "probability": fused.probability, "label": fused.label, "threshold": 0.5, "warnings": [],
                "sources": "<any>",
            }),
        ),
    ]
}

fn workers() -> Vec<Asked> {
    use Who::{Bearer, Worker};
    let request = |status: &str, progress: u32, worker: Value, result: Value| {
        json!({
            "request_id": 1, "series_id": "0a49bedc-11223344", "status": status, "progress": progress,
            "worker": worker, "requested_by": "key:technician key", "created_at": "<moment>",
            "updated_at": "<moment>", "result": result, "error": null,
        })
    };
    let done = |mut request: Value| {
        request["success"] = json!(true);
        request
    };
    let by = || json!("key:worker key");
    let handed_in = || json!({ "seg_instance_id": "5d2a" });
    let list =
        |requests: Vec<Value>| json!({ "success": true, "count": requests.len(), "requests": requests });
    let pending = "/api/mri/segmentation/pending-requests?wait=0";
    vec![
        get(Worker, pending, 200, list(vec![])),
        post(
            Bearer,
            "/api/mri/segmentation/series/0a49bedc-11223344/segment",
            Body::Empty,
            200,
            done(request("pending", 0, Value::Null, Value::Null)),
        ),
        get(Worker, pending, 200, list(vec![request("pending", 0, by(), Value::Null)])),
        post(
            Worker,
            "/api/mri/segmentation/update-status/1",
            Body::Json(json!({ "status": "processing", "progress": 30 })),
            200,
            done(request("processing", 30, by(), Value::Null)),
        ),
        post(
            Worker,
            "/api/mri/segmentation/complete-request/1",
            Body::Json(handed_in()),
            200,
            done(request("completed", 100, by(), handed_in())),
        ),
        get(
            Bearer,
            "/api/mri/segmentation/requests",
            200,
            list(vec![request("completed", 100, by(), handed_in())]),
        ),
    ]
}

struct Keys {
    technician: String,
    admin: String,
    worker: String,
}

async fn send(app: &TestApp, keys: &Keys, asked: &Asked) -> Answer {
    let call = app.call(asked.method.parse().unwrap(), asked.address).header("accept-language", "en");
    let call = match asked.who {
        Who::Nobody => call,
        Who::Bearer => call.bearer(&keys.technician),
        Who::ApiKey => call.header("x-api-key", &keys.technician),
        Who::AdminKey => call.bearer(&keys.admin),
        Who::Gateway => call.bearer(&access(12)),
        Who::Worker => call.header("x-api-key", &keys.worker),
    };
    let multipart = format!("multipart/form-data; boundary={BOUNDARY}");
    let call = match &asked.body {
        Body::Empty => call,
        Body::Json(body) => call.json(body),
        Body::Text(body) => call.body("application/json", *body),
        Body::Image(fields) => {
            call.body(&multipart, form(Some(&std::fs::read(&ct_files()[0]).unwrap()), fields))
        }
        Body::NoImage => call.body(&multipart, form(Some(b"no image"), &[("patient_id", "12")])),
    };
    call.send().await
}

/// Compares in shape and value; says where they differ.
fn differ(expected: &Value, found: &Value, place: &str) -> Option<String> {
    let is_a = |fits: bool| (!fits).then(|| format!("{place}: {found} is no {expected}"));
    match (expected, found) {
        (Value::String(kind), found) if kind == "<any>" => is_a(!found.is_null()),
        (Value::String(kind), found) if kind == "<number>" => is_a(found.is_number()),
        (Value::String(kind), found) if kind == "<text>" => {
            is_a(found.as_str().is_some_and(|text| !text.is_empty()))
        }
        (Value::String(kind), found) if kind == "<base64>" => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
            is_a(found.as_str().is_some_and(|text| text.len() > 100 && text.bytes().all(plain)))
        }
        (Value::String(kind), found) if kind == "<moment>" => {
            let rfc3339 = &time::format_description::well_known::Rfc3339;
            is_a(found.as_str().is_some_and(|text| time::OffsetDateTime::parse(text, rfc3339).is_ok()))
        }
        (Value::Object(expected), Value::Object(found)) => {
            let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
            names.into_iter().find_map(|name| match (expected.get(name), found.get(name)) {
                (Some(expected), Some(found)) => differ(expected, found, &format!("{place}.{name}")),
                (Some(_), None) => Some(format!("{place}.{name} is missing")),
                (None, _) => Some(format!("{place}.{name} is there")),
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.find_map(|(index, (expected, found))| differ(expected, found, &format!("{place}[{index}]")))
        }
        (Value::Number(expected), Value::Number(found)) if expected.as_f64() == found.as_f64() => None,
        (expected, found) if expected == found => None,
        (expected, found) => Some(format!("{place}: {found} is not {expected}")),
    }
}

/// Every address of the contracts, written off by hand from what the old clients call: what is missing in our own
/// document would not be missed in it.
const CONTRACT: &[(&str, &str)] = &[
    ("GET", "/health"),
    ("GET", "/schema"),
    ("POST", "/predict"),
    ("POST", "/reload"),
    ("POST", "/api/v1/predict"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/model-info"),
    ("POST", "/api/v1/retrain"),
    ("GET", "/api/ml/schema"),
    ("POST", "/api/ml/predict"),
    ("POST", "/api/ml/reload"),
    ("POST", "/ml/v1/predict"),
    ("GET", "/ml/v1/status"),
    ("GET", "/ml/v1/model-info"),
    ("POST", "/ml/v1/retrain"),
    ("GET", "/ml/v1/history"),
    ("POST", "/predict/ct_classification"),
    ("POST", "/v1/predict/ct_classification"),
    ("POST", "/predict/mri_segmentation/async"),
    ("GET", "/task/{id}"),
    ("POST", "/feedback"),
    ("POST", "/api/v1/m1/inference"),
    ("POST", "/api/v1/mg/inference"),
    ("POST", "/api/v1/mm/inference"),
    ("PUT", "/v1/me/devices"),
    ("PUT", "/v1/patients/{patient_id}/recipients"),
    ("POST", "/api/mri/segmentation/series/{series_id}/segment"),
    ("GET", "/api/mri/segmentation/pending-requests"),
    ("POST", "/api/mri/segmentation/update-status/{request_id}"),
    ("POST", "/api/mri/segmentation/complete-request/{request_id}"),
    ("GET", "/api/mri/segmentation/requests"),
];

/// What our own document says is of the contracts.
fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut all = BTreeSet::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"] == json!(["compat"]) {
                all.insert((method.to_uppercase(), route.clone()));
            }
        }
    }
    all
}

fn is_at(route: &str, asked: &Asked) -> bool {
    let address = asked.address.split('?').next().unwrap_or_default().trim_end_matches('/');
    let (wanted, parts): (Vec<_>, Vec<_>) = (route.split('/').collect(), address.split('/').collect());
    let fits = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
    wanted.len() == parts.len() && wanted.iter().zip(&parts).all(fits)
}

#[tokio::test]
async fn every_request_of_the_contracts_is_answered_as_they_say() {
    let mut http = roomy();
    let users = [("12".to_owned(), "kim".to_owned())];
    http.compat.django = Some(GatewayTokens::new(DJANGO_KEY, users.into()).unwrap());
    http.compat.polling_workers = vec![PollingWorker::Key("worker key".to_owned())];
    let models = ["meso", "ct-brain-class", "mg-expression", "mm-fusion"];
    let app = TestApp::with_models(http, &models).await;
    app.account("kim", Role::Doctor).await;
    let seeded = seed::study(&app, 1).await;
    seed::findings(&app, &seeded, "mr-brain-seg", segmentation()).await;
    let keys = Keys {
        technician: app.key(Role::Technician).await,
        admin: app.key(Role::Admin).await,
        worker: app.key(Role::Worker).await,
    };
    let contract: Vec<_> =
        [model_server(), gateway(), imaging(&app), workers()].into_iter().flatten().collect();
    for asked in &contract {
        let answer = send(&app, &keys, asked).await;
        let name = format!("{} {} as {:?}", asked.method, asked.address, asked.who);
        assert_eq!(answer.status.as_u16(), asked.status, "{name}: {}", answer.text());
        let found = if answer.bytes.is_empty() { Value::Null } else { answer.json() };
        if let Some(difference) = differ(&asked.answer, &found, "answer") {
            panic!("{name}: {difference}\nin {}", answer.text());
        }
    }
    let named: BTreeSet<_> = CONTRACT.iter().map(|(method, route)| (*method, *route)).collect();
    for (method, route) in &named {
        let is_tried = contract.iter().any(|asked| asked.method == *method && is_at(route, asked));
        assert!(is_tried, "{method} {route} is in the contracts and not tried");
    }
    let ours = documented();
    let strange = ours.iter().find(|(method, route)| !named.contains(&(method.as_str(), route.as_str())));
    assert_eq!(strange, None, "in no contract");
}

#[tokio::test]
async fn what_a_viewer_and_live_pages_ask_for_is_there() {
    let app = TestApp::start().await;
    let key = app.key(Role::Doctor).await;
    // No Orthanc runs here; a stream needs a socket: that the routes know the caller's request is what counts.
    for (path, status) in [("/api/orthanc/dicom-web/studies", 502), ("/ws/events", 400)] {
        app.get(path).bearer(&key).send().await.is(status);
    }
}

#[test]
fn the_limits_are_those_of_the_contract() {
    let limits = api::HttpConfig::default().limits;
    let all = [
        limits.schemas_per_minute,
        limits.predicts_per_minute,
        limits.reloads_per_minute,
        limits.requests_per_minute,
    ];
    assert_eq!(all.map(NonZeroU32::get), [60, 30, 10, 100]);
    assert_eq!(limits.predict_bytes, 100_000_000);
}
