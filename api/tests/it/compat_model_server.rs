//! Contract A: the tabular model server, request by request.

use api::{HttpConfig, Plain};
use ledger::{PageRequest, PredictionFilter, Role};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, roomy},
    predict::{example, reference},
};

pub(crate) const BASE: [&str; 11] = [
    "age",
    "duration_of_symptoms",
    "platelet_count_(PLT)",
    "cell_count_(WBC)",
    "blood_lactic_dehydrogenise_(LDH)",
    "pleural_lactic_dehydrogenise",
    "pleural_protein",
    "total_protein",
    "albumin",
    "C-reactive_protein_(CRP)",
    "duration_of_asbestos_exposure",
];

/// The answer to `GET /schema`, as the contract shows it.
pub(crate) fn schema() -> Value {
    json!({
        "algorithm": "RandomForest",
        "threshold": 0.29,
        "schema": {
            "base_features": BASE,
            "derived_features": ["LDH_ratio", "protein_ratio", "exposure_age_ratio"],
            "selected_features": [
                "exposure_age_ratio", "age", "platelet_count_(PLT)", "duration_of_symptoms", "LDH_ratio",
                "pleural_protein", "albumin", "C-reactive_protein_(CRP)",
            ],
        },
    })
}

/// The answer to the worked example row.
pub(crate) fn example_answer() -> Value {
    json!({
        "base_features": BASE,
        "threshold": 0.29,
        "pred_proba": [reference()],
        "pred_label": [u8::from(reference() >= 0.29)],
    })
}

pub(crate) async fn app() -> TestApp {
    TestApp::with_models(roomy(), &["meso"]).await
}

#[tokio::test]
async fn health_tells_of_the_default_model_to_anybody() {
    let app = app().await;
    for path in ["/health", "/health/"] {
        let health = app.get(path).send().await.is(200).json();
        assert_eq!(
            health,
            json!({
                "status": "ok", "started_at": "2023-11-14T22:13:20.000Z", "https_required": true,
                "allowed_origins": [], "model_path": "meso@0.1.0", "info_path": "meso@0.1.0",
                "algorithm": "RandomForest", "threshold": 0.29, "base_features_count": 11,
                "selected_features_count": 8,
            })
        );
    }
    let empty = TestApp::start().await;
    let health = empty.get("/health").send().await.is(503).json();
    assert_eq!(health["status"], "uninitialized");
    assert_eq!(health["model_path"], Value::Null);
}

#[tokio::test]
async fn the_schema_is_that_of_the_contract() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    for path in ["/schema", "/schema/"] {
        assert_eq!(app.get(path).bearer(&key).send().await.is(200).json(), schema());
        assert_eq!(app.get(path).header("x-api-key", &key).send().await.is(200).json(), schema());
    }
}

#[tokio::test]
async fn the_worked_example_is_answered_in_the_shape_of_the_contract() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    for path in ["/predict", "/predict/", "/api/v1/predict"] {
        let body = json!({ "data": [example()] });
        assert_eq!(app.post(path).bearer(&key).json(&body).send().await.is(200).json(), example_answer());
    }
    // The content type is nobody's condition here.
    let call = app.post("/predict").header("x-api-key", &key);
    let answer = call.body("text/plain", json!({ "data": [example()] }).to_string()).send().await;
    assert_eq!(answer.is(200).json(), example_answer());
}

#[tokio::test]
async fn rows_are_answered_in_order_unknown_columns_ignored_and_missing_ones_not_zero() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    let mut odd = example();
    odd["hospital"] = json!("General");
    odd["cell_count_(WBC)"] = Value::Null;
    let mut zero = example();
    zero["albumin"] = json!(0);
    let mut missing = example();
    missing.as_object_mut().unwrap().remove("albumin");
    let body = json!({ "data": [odd, zero, missing, { "albumin": Value::Null }, {}] });
    let answer = app.post("/predict").bearer(&key).json(&body).send().await.is(200).json();
    let proba: Vec<f64> =
        answer["pred_proba"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    assert_eq!(proba.len(), 5);
    // The white cells are a base feature that the model does not select.
    assert_eq!(proba[0].to_bits(), reference().to_bits());
    assert_eq!(proba[3].to_bits(), proba[4].to_bits());
    let nan = app.post("/v1/models/meso/predict").bearer(&key).json(&body).send().await.is(200).json();
    assert_eq!(nan["rows"][2]["warnings"], json!(["albumin is missing"]));
    assert!(nan["rows"][1].get("warnings").is_none(), "zero is a value: {nan}");
}

#[tokio::test]
async fn a_key_comes_as_bearer_first_and_as_x_api_key_second() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    let forbidden = json!({ "detail": "Forbidden" });
    for path in ["/schema", "/api/v1/status", "/api/v1/model-info"] {
        assert_eq!(app.get(path).send().await.is(403).json(), forbidden);
        assert_eq!(app.get(path).bearer("wrong").send().await.is(403).json(), forbidden);
        let both = app.get(path).bearer("wrong").header("x-api-key", &key);
        assert_eq!(both.send().await.is(403).json(), forbidden);
        let both = app.get(path).bearer(&key).header("x-api-key", "wrong");
        both.send().await.is(200);
    }
    for path in ["/predict", "/reload", "/api/v1/predict", "/api/v1/retrain"] {
        assert_eq!(app.post(path).send().await.is(403).json(), forbidden);
    }
    assert_eq!(app.post("/reload").bearer(&key).send().await.is(403).json(), forbidden);
}

#[tokio::test]
async fn plain_http_is_refused_unless_a_trusted_proxy_says_https() {
    let mut http = roomy();
    http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let app = TestApp::with_models(http, &["meso"]).await;
    let key = app.key(Role::Service).await;
    let from = |peer: &str, proto: Option<&str>| {
        let call = app.get("/schema").bearer(&key).peer(peer);
        match proto {
            Some(proto) => call.header("x-forwarded-proto", proto),
            None => call,
        }
    };
    let refusal = json!({ "detail": "HTTPS required" });
    assert_eq!(from("192.0.2.7:1", None).send().await.is(403).json(), refusal);
    assert_eq!(from("192.0.2.7:1", Some("https")).send().await.is(403).json(), refusal);
    assert_eq!(from("10.0.0.1:1", Some("http")).send().await.is(403).json(), refusal);
    from("10.0.0.1:1", Some("https")).send().await.is(200);

    let insecure = HttpConfig { plain: Plain::Everywhere, ..roomy() };
    let app = TestApp::with_models(insecure, &["meso"]).await;
    let key = app.key(Role::Service).await;
    app.get("/schema").bearer(&key).peer("192.0.2.7:1").send().await.is(200);
    assert_eq!(app.get("/health").peer("192.0.2.7:1").send().await.json()["https_required"], false);
}

#[tokio::test]
async fn refusals_have_the_words_of_the_contract() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    let post = |body: &'static str| app.post("/predict").bearer(&key).body("application/json", body).send();
    for body in ["", "{", "data", "{\"data\": [{\"age\": NaN}]}", "{\"data\": [}"] {
        assert_eq!(post(body).await.is(400).json(), json!({ "detail": "invalid JSON" }), "{body}");
    }
    for body in
        ["{}", "[]", "{\"data\": []}", "{\"data\": 7}", "{\"data\": {\"age\": 1}}", "{\"data\": null}"]
    {
        assert_eq!(post(body).await.is(400).json(), json!({ "detail": "data list required" }), "{body}");
    }
    let text = post("{\"data\": [{}, {\"age\": \"65\"}]}").await.is(400).json();
    assert_eq!(text, json!({ "detail": "row 2: age is not a number" }));

    let empty = TestApp::start().await;
    let key = empty.key(Role::Service).await;
    let body = json!({ "data": [example()] });
    let answer = empty.post("/predict").bearer(&key).json(&body).send().await;
    assert_eq!(answer.is(503).json(), json!({ "detail": "Model not loaded" }));
    let answer = empty.get("/schema").bearer(&key).send().await;
    assert_eq!(answer.is(503).json(), json!({ "detail": "Model metadata not loaded" }));
}

#[tokio::test]
async fn a_row_that_the_model_refuses_is_a_prediction_that_failed() {
    let app = app().await;
    let (key, admin) = (app.key(Role::Service).await, app.key(Role::Admin).await);
    let manifest = app.models.join("meso/model.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("outside = \"warn\"", "outside = \"refuse\"")).unwrap();
    app.post("/reload").bearer(&admin).send().await.is(200);
    let mut row = example();
    row["age"] = json!(500);
    for path in ["/predict", "/api/v1/predict", "/api/ml/predict", "/ml/v1/predict"] {
        let answer = app.post(path).bearer(&key).json(&json!({ "data": [example(), row] })).send().await;
        let detail = answer.is(500).json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("prediction failed: row 2: "), "{path}: {detail}");
    }
}

#[tokio::test]
async fn an_unknown_model_runs_the_default_one_is_stored_as_sent_and_warned_of() {
    let app = app().await;
    let key = app.key(Role::Service).await;
    for (name, warning) in [
        ("meso_xgb_v1", ""),
        ("meso", ""),
        ("lung \"v2\"\u{e9}", "299 overread \"no model lung??v2??: meso@0.1.0 answered\""),
    ] {
        // The name comes behind the rows: nothing may depend on the order of members.
        let body =
            format!("{{\"data\": [{}], \"model_name\": {}, \"patient_id\": 12}}", example(), json!(name));
        let answer = app.post("/predict").bearer(&key).body("application/json", body).send().await;
        assert_eq!(answer.is(200).json(), example_answer());
        assert_eq!(answer.header("warning"), warning);
        let rows =
            app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(1)).await.unwrap();
        assert_eq!((rows.rows[0].model_name.as_str(), rows.rows[0].model.id.as_str()), (name, "meso"));
    }
}

#[tokio::test]
async fn a_reload_says_so_and_a_failed_one_leaves_the_old_model_in_service() {
    let app = app().await;
    let (admin, service) = (app.key(Role::Admin).await, app.key(Role::Service).await);
    let answer = app.post("/reload").bearer(&admin).send().await;
    assert_eq!(answer.is(200).json(), json!({ "detail": "reloaded" }));
    std::fs::write(app.models.join("meso/model.toml"), "format = 1\n").unwrap();
    let answer = app.post("/reload/").bearer(&admin).send().await.is(500).json();
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.starts_with("reload failed: ") && detail.contains("model.toml"), "{detail}");
    let answer = app.post("/predict").bearer(&service).json(&json!({ "data": [example()] })).send().await;
    assert_eq!(answer.is(200).json(), example_answer());
}

#[tokio::test]
async fn the_second_naming_means_the_same_things() {
    let app = app().await;
    let (admin, service) = (app.key(Role::Admin).await, app.key(Role::Service).await);
    let status = app.get("/api/v1/status").bearer(&service).send().await.is(200).json();
    assert_eq!(status, app.get("/health").send().await.json());
    let info = app.get("/api/v1/model-info").bearer(&service).send().await.is(200).json();
    assert_eq!((&info["model_name"], &info["model_version"]), (&json!("meso"), &json!("0.1.0")));
    assert_eq!((&info["schema"], &info["threshold"]), (&schema()["schema"], &json!(0.29)));
    let retrain = app.post("/api/v1/retrain").bearer(&admin).send().await.is(409).json();
    assert_eq!(retrain, json!({ "detail": "there are 0 reviewed cases of meso, its package asks for 20" }));
}

#[tokio::test]
async fn each_kind_of_request_has_a_limit_of_its_own() {
    let mut http = HttpConfig::default();
    http.limits.requests_per_minute = 5.try_into().unwrap();
    http.limits.schemas_per_minute = 4.try_into().unwrap();
    http.limits.predicts_per_minute = 3.try_into().unwrap();
    http.limits.reloads_per_minute = 2.try_into().unwrap();
    let app = TestApp::with_models(http, &["meso"]).await;
    let (one, other) = (app.key(Role::Admin).await, app.key(Role::Admin).await);
    let body = json!({ "data": [{}] });
    for (path, method, limit) in [
        ("/schema", axum::http::Method::GET, 4),
        ("/predict", axum::http::Method::POST, 3),
        ("/reload", axum::http::Method::POST, 2),
        ("/api/v1/status", axum::http::Method::GET, 5),
    ] {
        let call = |key: &str, language: &str| {
            app.call(method.clone(), path).bearer(key).header("accept-language", language).json(&body).send()
        };
        for _ in 0..limit {
            call(&one, "en").await.is(200);
        }
        let refusal = call(&one, "en").await;
        assert_eq!(
            refusal.is(429).json(),
            json!({ "detail": "Too many requests. Please try again later." }),
            "{path}"
        );
        let wait: u64 = refusal.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{path}: {wait}");
        let korean = call(&one, "ko-KR").await.is(429).json();
        assert_eq!(korean, json!({ "detail": "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요." }));
        call(&other, "en").await.is(200);
    }
    let defaults = HttpConfig::default().limits;
    let defaults = [
        defaults.schemas_per_minute,
        defaults.predicts_per_minute,
        defaults.reloads_per_minute,
        defaults.requests_per_minute,
    ];
    assert_eq!(defaults.map(std::num::NonZeroU32::get), [60, 30, 10, 100]);
}
