//! The shipped fusion end to end: volumes that `mr-brain-seg` measures, an expression and clinical values, one answer.

use std::time::Duration;

use peers::{Http, wait_until};
use pipeline::KILL_AT_VARIABLE;
use serde_json::{Map, Value, json};

use crate::{service::Site, study::Study};

/// A segmentation in a debug build, on a busy machine.
const COMPUTED_WITHIN: Duration = Duration::from_secs(240);

fn genes() -> Map<String, Value> {
    (1..=320).map(|gene| (format!("GENE_{gene:03}"), json!(f64::from(gene % 17) / 2.0))).collect()
}

fn clinical() -> Map<String, Value> {
    Map::from_iter([("age".to_owned(), json!(61)), ("karnofsky".to_owned(), json!(70))])
}

fn fuse(api: &Http, study: &Study, values: Map<String, Value>) -> Value {
    let body = json!({ "model": "MM", "values": values });
    let answer = api.post(&format!("/v1/studies/{}/fusions", study.study_uid), &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()
}

/// The results of a model in the study that no other replaces.
fn in_force(api: &Http, study: &Study, model: &str) -> Vec<Value> {
    let found = api.get(&format!("/v1/results?study={}&model={model}", study.study_uid)).json();
    let items = found["items"].as_array().cloned().unwrap_or_default();
    let standing = items.iter().filter(|result| result["superseded_by"].is_null());
    standing
        .map(|result| api.get(&format!("/v1/results/{}", result["id"].as_str().unwrap_or_default())).json())
        .collect()
}

#[test]
fn volumes_expression_and_clinical_values_become_one_answer_though_the_process_dies_between() {
    let site = Site::unlimited(&["mr-brain-seg", "mg-expression", "mm-fusion"]);
    let key = site.key("fuse", "technician");
    let anybody = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    // Dies right after a result is kept and before the question is asked that follows from it.
    let mut process = site.spawn_with(&[(KILL_AT_VARIABLE, "completed")]);
    wait_until("the service to be ready", Duration::from_secs(60), || {
        assert!(process.is_running(), "the service ended:\n{}", site.log());
        anybody.try_get("/ready").ok().filter(|answer| answer.status == 200)
    });
    let api = anybody.with_bearer(&key);
    let study = Study::small(4);
    study.dcmsend(site.dicom_port());
    wait_until("the study to be known", COMPUTED_WITHIN, || {
        api.try_get(&format!("/v1/studies/{}", study.study_uid)).ok().filter(|answer| answer.status == 200)
    });
    let all: Map<String, Value> = genes().into_iter().chain(clinical()).collect();
    let body = json!({ "model": "mm-fusion", "values": all });
    // It may be dead before it answers.
    let _asked_or_dead = api.try_post(&format!("/v1/studies/{}/fusions", study.study_uid), &body);
    wait_until("the process to die", COMPUTED_WITHIN, || (!process.is_running()).then_some(()));
    drop(process);

    let service = site.serve();
    let api = service.api.clone().with_bearer(&key);
    fuse(&api, &study, all.clone());
    let answered = wait_until("the answer", COMPUTED_WITHIN, || {
        let found = in_force(&api, &study, "mm-fusion");
        found.into_iter().find(|result| result["outcome"] == "findings")
    });
    let part = in_force(&api, &study, "mr-brain-seg");
    assert_eq!(part.len(), 1, "one result of the part");
    // The same by the way of the older clients, which computes it at once.
    let body = json!({ "study_uid": study.study_uid, "expression": genes(), "clinical": clinical() });
    let at_once = api.post("/api/v1/mm/inference", &body).json();
    assert_eq!(answered["findings"]["probability"], at_once["probability"], "{answered} {at_once}");

    // What is missing is named, and the same again is the same job.
    for (values, reason) in
        [(clinical(), "no values for mg-expression were given"), (genes(), "age is missing")]
    {
        let job = fuse(&api, &study, values.clone());
        assert_eq!(fuse(&api, &study, values)["id"], job["id"]);
        wait_until("the reason", COMPUTED_WITHIN, || {
            let found = in_force(&api, &study, "mm-fusion");
            found.into_iter().find(|result| result["findings"]["reason"] == reason)
        });
    }
    assert_eq!(in_force(&api, &study, "mm-fusion").len(), 1, "the last word alone is in force");
}
