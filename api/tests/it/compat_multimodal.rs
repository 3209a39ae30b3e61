//! The multimodal model: findings of others and clinical values in, one answer out.

use std::collections::BTreeMap;

use inference::{Findings, ModelId, Outcome};
use ledger::{PredictionId, Role};
use serde_json::{Value, json};

use crate::{
    app::{Answer, TestApp, roomy},
    seed,
};

/// A segmentation that found a core of 7.5 ml and no oedema.
pub(crate) fn segmentation() -> Value {
    let code = |value: &str| json!({ "value": value, "scheme": "SCT", "meaning": "a thing" });
    let line = json!({ "length_mm": 20.0, "ends_lps": [[0.0, 0.0, 0.0], [20.0, 0.0, 0.0]], "ends": [[0, 0, 0], [20, 0, 0]] });
    let segment = |number: u32, name: &str, measures: Value| {
        json!({
            "number": number, "value": number, "name": name, "category": code("49755003"), "type": code("4147007"),
            "region": null, "color": null, "measures": measures,
        })
    };
    let measures = json!({
        "voxels": 7500, "volume_ml": 7.5, "longest_diameter": line, "perpendicular_diameter": line,
        "centroid_lps": [0.0, 0.0, 0.0], "bounding_box": { "first": [0, 0, 0], "last": [20, 20, 20] },
        "mean": 1.0, "sd": 0.0, "min": 1.0, "max": 1.0, "touches_edge": false, "key_point": [1, 1, 1],
    });
    json!({
        "task": "segmentation", "windows_run": 1, "windows_skipped": 0,
        "segments": [segment(1, "Lesion core", measures), segment(2, "Oedema", Value::Null)],
    })
}

pub(crate) fn clinical() -> Value {
    json!({ "age": 61, "karnofsky": 80 })
}

pub(crate) fn expression() -> Value {
    json!({ "GENE_001": 9.5, "GENE_002": 3.0, "NOT_A_GENE": 1.0, "GENE_003": null })
}

/// What the models say when nothing lies between them and the values.
pub(crate) fn expected(app: &TestApp) -> inference::Prediction {
    let open = |name: &str| crate::app::open(inference::Package::read(&app.models.join(name)).unwrap());
    let row = [("GENE_001", 9.5), ("GENE_002", 3.0)].map(|(name, value)| (name.to_owned(), value));
    let Outcome::Findings(risk) = open("mg-expression").predict(&[row.into()]).unwrap().remove(0) else {
        panic!("the expression is not analysed")
    };
    let findings = BTreeMap::from([
        (ModelId::new("mr-brain-seg"), serde_json::from_value::<Findings>(segmentation()).unwrap()),
        (ModelId::new("mg-expression"), Findings::Tabular(risk)),
    ]);
    let row = [("age", 61.0), ("karnofsky", 80.0)].map(|(name, value)| (name.to_owned(), value));
    match open("mm-fusion").fuse(&findings, &row.into()).unwrap() {
        Outcome::Findings(found) => found,
        Outcome::NotAnalysed { reason } => panic!("{reason}"),
    }
}

async fn app() -> TestApp {
    TestApp::with_models(roomy(), &["mg-expression", "mm-fusion"]).await
}

async fn infer(app: &TestApp, key: &str, body: &Value) -> Answer {
    app.post("/api/v1/mm/inference").bearer(key).json(body).send().await
}

#[tokio::test]
async fn findings_of_a_study_an_expression_and_clinical_values_give_one_answer_that_is_kept() {
    let app = app().await;
    let doctor = app.signed_in("kim", Role::Doctor).await["access_token"].as_str().unwrap().to_owned();
    let seeded = seed::study(&app, 1).await;
    let result = seed::findings(&app, &seeded, "mr-brain-seg", segmentation()).await;
    let body = json!({
        "patient_id": 12, "study_uid": "1.2.3.1", "expression": expression(), "clinical": clinical(),
    });
    let answer = infer(&app, &doctor, &body).await.is(200).json();
    let expected = expected(&app);
    assert_eq!(
        (&answer["probability"], &answer["label"]),
        (&json!(expected.probability), &json!(expected.label))
    );
    assert_eq!(answer["sources"]["mr-brain-seg"]["result_id"], json!(result));
    let row = app
        .ledger
        .prediction(PredictionId(answer["prediction_id"].as_i64().unwrap()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.patient_id.as_str(), row.doctor.as_deref()), ("12", Some("kim")));
    assert_eq!((&row.input["clinical"], row.model.id.as_str()), (&clinical(), "mm-fusion"));

    // The same from an answer about the expression that was kept for this patient.
    let rows = json!({ "patient_id": 12, "data": [expression()] });
    app.post("/api/v1/mg/inference").bearer(&doctor).json(&rows).send().await.is(200);
    let kept = row.id.0 + 1;
    let body = |patient: u32| json!({ "patient_id": patient, "study_uid": "1.2.3.1", "prediction_id": kept, "clinical": clinical() });
    let same = infer(&app, &doctor, &body(12)).await.is(200).json();
    assert_eq!(same["probability"], answer["probability"]);
    let of_another = infer(&app, &doctor, &body(13)).await.is(400).json();
    let detail = format!("there is no prediction {kept} of mg-expression for this patient");
    assert_eq!(of_another, json!({ "detail": detail }));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let app = app().await;
    let key = app.key(Role::Technician).await;
    let seeded = seed::study(&app, 1).await;
    let without_result = infer(&app, &key, &json!({ "study_uid": "1.2.3.1", "clinical": clinical() })).await;
    assert_eq!(without_result.is(400).json()["detail"], "the study has no result of mr-brain-seg yet");
    seed::findings(&app, &seeded, "mr-brain-seg", segmentation()).await;
    for (body, detail) in [
        (json!({}), "study_uid is needed for the findings of mr-brain-seg"),
        (
            json!({ "study_uid": "1.2.3.1", "clinical": clinical() }),
            "expression or prediction_id is needed for the answer of mg-expression",
        ),
        (
            json!({ "study_uid": "1.2.3.1", "expression": {}, "clinical": { "age": 61 } }),
            "prediction failed: karnofsky is missing",
        ),
    ] {
        assert_eq!(infer(&app, &key, &body).await.is(400).json(), json!({ "detail": detail }), "{body}");
    }
    infer(&app, &key, &json!({ "model_name": "mg-expression" })).await.is(400);
    let mut whole = json!({ "study_uid": "1.2.3.1", "expression": expression(), "clinical": clinical() });
    assert_eq!(infer(&app, &key, &whole).await.is(200).header("warning"), "");
    whole["model_name"] = json!("mm-v9");
    let warning = "299 overread \"no model mm-v9: mm-fusion@0.1.0 answered\"";
    assert_eq!(infer(&app, &key, &whole).await.is(200).header("warning"), warning);
    let empty = TestApp::start().await;
    let key = empty.key(Role::Technician).await;
    assert_eq!(infer(&empty, &key, &json!({})).await.is(503).json(), json!({ "detail": "Model not loaded" }));
}
