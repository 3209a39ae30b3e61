//! Contract B: the gateway in front of the model server, request by request.

use std::collections::BTreeMap;

use api::GatewayTokens;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use ledger::{PageRequest, PredictionFilter, Role};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    app::{START, TestApp, roomy},
    compat_model_server::{example_answer, schema},
    predict::example,
};

pub(crate) const DJANGO_KEY: &[u8] = b"django-insecure-a-key-of-more-than-32-bytes";

/// A gateway whose user 12 is our doctor kim and whose user 13 is somebody who left.
async fn app() -> TestApp {
    let users = [("12", "kim"), ("13", "gone")].map(|(user, name)| (user.to_owned(), name.to_owned()));
    let mut http = roomy();
    http.compat.django = Some(GatewayTokens::new(DJANGO_KEY, BTreeMap::from(users)).unwrap());
    let app = TestApp::with_models(http, &["meso"]).await;
    app.account("kim", Role::Doctor).await;
    app
}

/// A token as SimpleJWT makes it.
fn token(key: &[u8], claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

pub(crate) fn access(user: u64) -> String {
    let exp = START.0 / 1000 + 3 * 60 * 60;
    let iat = START.0 / 1000;
    token(
        DJANGO_KEY,
        &json!({ "token_type": "access", "exp": exp, "iat": iat, "jti": "4f1d", "user_id": user }),
    )
}

#[tokio::test]
async fn any_signed_in_user_reads_the_schema() {
    let app = app().await;
    let ours = app.sign_in("kim").await["access_token"].as_str().unwrap().to_owned();
    for token in [ours, access(12), access(99)] {
        for path in ["/api/ml/schema", "/api/ml/schema/"] {
            assert_eq!(app.get(path).bearer(&token).send().await.is(200).json(), schema());
        }
    }
}

#[tokio::test]
async fn a_prediction_for_a_patient_is_kept_with_doctor_user_and_name_of_the_model() {
    let app = app().await;
    let body = json!({ "patient_id": 12, "model_name": "meso_xgb_v1", "data": [example(), { "age": 40 }] });
    for path in ["/api/ml/predict/", "/ml/v1/predict"] {
        let answer = app.post(path).bearer(&access(12)).json(&body).send().await.is(200).json();
        assert_eq!(answer["pred_proba"][0], example_answer()["pred_proba"][0]);
        assert_eq!(answer["pred_label"].as_array().unwrap().len(), 2);
        let rows =
            app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(2)).await.unwrap().rows;
        for (row, index) in rows.iter().rev().zip(0..) {
            assert_eq!((row.patient_id.as_str(), row.doctor.as_deref()), ("12", Some("kim")));
            assert_eq!((row.actor.as_str(), row.model_name.as_str()), ("account:kim", "meso_xgb_v1"));
            assert_eq!(row.label.map(u64::from), answer["pred_label"][index].as_u64());
            assert_eq!(row.answer["probability"], answer["pred_proba"][index]);
        }
        assert_eq!((&rows[1].input, &rows[0].input), (&example(), &json!({ "age": 40 })));
    }
    assert_eq!(
        app.ledger
            .predictions(&PredictionFilter::default(), &PageRequest::first(9))
            .await
            .unwrap()
            .rows
            .len(),
        4
    );
}

#[tokio::test]
async fn a_user_whom_nobody_mapped_is_a_technician() {
    let app = app().await;
    let body = json!({ "patient_id": "A-7", "data": [example()] });
    app.post("/api/ml/predict").bearer(&access(99)).json(&body).send().await.is(200);
    let rows =
        app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(1)).await.unwrap().rows;
    assert_eq!((rows[0].actor.as_str(), rows[0].doctor.as_deref()), ("gateway:99", None));
    let me = app.get("/v1/me").bearer(&access(99)).send().await.is(200).json();
    assert_eq!((&me["kind"], &me["role"]), (&json!("gateway"), &json!("technician")));
}

#[tokio::test]
async fn tokens_that_are_not_for_this_open_nothing() {
    let app = app().await;
    let exp = START.0 / 1000 + 60;
    let claims = |kind: &str, exp: i64| json!({ "token_type": kind, "exp": exp, "user_id": 12 });
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims("access", exp).to_string())
    );
    for bad in [
        token(DJANGO_KEY, &claims("refresh", exp)),
        token(DJANGO_KEY, &claims("access", START.0 / 1000)),
        token(b"another key that has 32 bytes or more", &claims("access", exp)),
        unsigned,
        access(13),
    ] {
        let answer = app.get("/api/ml/schema").bearer(&bad).send().await.is(401).json();
        assert_eq!(
            answer,
            json!({ "detail": "Given token not valid for any token type", "code": "token_not_valid" })
        );
    }
    let nobody = app.get("/api/ml/schema").send().await;
    assert_eq!(nobody.is(401).json(), json!({ "detail": "Authentication credentials were not provided." }));
    let without_gateway = TestApp::with_models(roomy(), &["meso"]).await;
    without_gateway.get("/api/ml/schema").bearer(&access(12)).send().await.is(401);
}

#[tokio::test]
async fn only_an_administrator_reloads_and_retrains() {
    let app = app().await;
    let admin = app.key(Role::Admin).await;
    for path in ["/api/ml/reload", "/ml/v1/retrain"] {
        let answer = app.post(path).bearer(&access(12)).send().await.is(403).json();
        assert_eq!(answer, json!({ "detail": "You do not have permission to perform this action." }));
    }
    let answer = app.post("/api/ml/reload/").bearer(&admin).send().await;
    assert_eq!(answer.is(200).json(), json!({ "detail": "reloaded" }));
    app.post("/ml/v1/retrain").bearer(&admin).send().await.is(409);
}

#[tokio::test]
async fn the_second_naming_has_status_model_info_and_a_history() {
    let app = app().await;
    let status = app.get("/ml/v1/status").bearer(&access(12)).send().await.is(200).json();
    assert_eq!(status, app.get("/health").send().await.json());
    let info = app.get("/ml/v1/model-info/").bearer(&access(12)).send().await.is(200).json();
    assert_eq!(info["schema"], schema()["schema"]);
    for patient in [1, 2, 3] {
        let body = json!({ "patient_id": patient, "data": [example()] });
        app.post("/ml/v1/predict").bearer(&access(12)).json(&body).send().await.is(200);
    }
    let page = app.get("/ml/v1/history/?limit=2").bearer(&access(12)).send().await.is(200).json();
    let patients: Vec<_> = page["results"].as_array().unwrap().iter().map(|row| &row["patient_id"]).collect();
    assert_eq!(patients, ["3", "2"]);
    let newest = &page["results"][0];
    assert_eq!(newest["probability"], example_answer()["pred_proba"][0]);
    assert_eq!(
        (&newest["doctor"], &newest["user"], &newest["input"]),
        (&json!("kim"), &json!("account:kim"), &example())
    );
    let next = format!("/ml/v1/history?limit=2&cursor={}", page["next"].as_str().unwrap());
    let rest = app.get(&next).bearer(&access(12)).send().await.is(200).json();
    assert_eq!((&rest["results"][0]["patient_id"], &rest["next"]), (&json!("1"), &Value::Null));
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_is_given_all_the_same_and_v1_refuses_it() {
    let app = app().await;
    let token = access(99);
    let body = json!({ "patient_id": 12, "data": [example()] });
    // A user without an account is read from the token alone: the database is not needed for him.
    app.ledger.close().await;
    let answer = app.post("/api/ml/predict").bearer(&token).json(&body).send().await;
    assert_eq!(answer.is(200).json(), example_answer());
    let refused = app.post("/v1/models/meso/predict").bearer(&token).json(&body).send().await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    let metrics = app.get("/metrics").send().await.text();
    assert!(metrics.contains("overread_predictions_not_stored_total"), "{metrics}");
}
