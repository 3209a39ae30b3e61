//! Models that are trained anew from reviewed cases.

use std::{path::PathBuf, time::Duration};

use ledger::{AuditFilter, BootId, NewRetraining, NodeId, PageRequest, RetrainingId, RetrainingState, Role};
use serde_json::{Value, json};

use crate::{
    app::{TestApp, roomy},
    predict::example,
};

const SECRET_PATIENT: &str = "PATIENT-4711";
const LIMIT: Duration = Duration::from_secs(120);

/// An application with meso in service and `rows` reviewed rows of as many patients.
async fn reviewed(rows: u32) -> (TestApp, String, String) {
    let app = TestApp::with_models(roomy(), &["meso"]).await;
    std::os::unix::fs::symlink(peers::workspace().join("models/scripts"), app.models.join("scripts"))
        .unwrap();
    let doctor = app.signed_in("kim", Role::Doctor).await["access_token"].as_str().unwrap().to_owned();
    let admin = app.key(Role::Admin).await;
    for number in 0..rows {
        let mut row = example();
        row["age"] = json!(40 + number % 40);
        let body = json!({ "patient_id": format!("{SECRET_PATIENT}-{number}"), "data": [row] });
        app.post("/predict").bearer(&doctor).json(&body).send().await.is(200);
        // Every third answer was wrong.
        let review = json!({ "prediction_id": number + 1, "correct": number % 3 > 0 });
        app.post("/feedback").bearer(&doctor).json(&review).send().await.is(200);
    }
    (app, admin, doctor)
}

fn command(app: &TestApp, command: &[&str]) {
    let file = app.models.join("meso/model.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (text, _) = text.split_once("[retrain]").unwrap();
    std::fs::write(
        &file,
        format!("{text}[retrain]\ncommand = {command:?}\ncases_min = 2\ntimeout_seconds = 60\n"),
    )
    .unwrap();
}

/// Lets the runner work until no run is open, and gives the state of `id`.
async fn ended(app: &TestApp, admin: &str, id: &str) -> Value {
    let runner = tokio::spawn(api::run_retrainings(app.state.clone()));
    let ended = tokio::time::timeout(LIMIT, async {
        loop {
            let view = app.get(&format!("/v1/retrainings/{id}")).bearer(admin).send().await.is(200).json();
            if !["queued", "running"].contains(&view["state"].as_str().unwrap()) {
                break view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let ended = ended.await.expect("the run ends");
    runner.abort();
    ended
}

async fn asked(app: &TestApp, admin: &str) -> String {
    let view = app.post("/v1/models/meso/retrain").bearer(admin).send().await.is(202).json();
    view["id"].as_str().unwrap().to_owned()
}

fn versions(app: &TestApp) -> (Vec<String>, Vec<String>) {
    let names = |models: Vec<std::sync::Arc<inference::Model>>| {
        models.iter().map(|model| model.package().full_name()).collect()
    };
    (names(app.state.registry.active()), names(app.state.registry.shadows()))
}

#[tokio::test]
async fn a_shipped_package_is_trained_anew_watches_and_serves_once_it_is_promoted() {
    let (app, admin, doctor) = reviewed(30).await;
    let id = asked(&app, &admin).await;
    app.post("/v1/models/meso/retrain").bearer(&admin).send().await.is_problem(409, "conflict");
    let run = ended(&app, &admin, &id).await;
    assert_eq!((&run["state"], &run["new_version"]), (&json!("shadow"), &json!("0.1.1")), "{run}");
    assert_eq!(versions(&app), (vec!["meso@0.1.0".to_owned()], vec!["meso@0.1.1".to_owned()]));
    let comparison = &run["report"]["comparison"];
    assert_eq!((&comparison["all"]["cases"], &comparison["left_out"]), (&json!(30), &json!(0)));
    assert_eq!(comparison["all"]["old"]["agreement"], json!(20.0 / 30.0), "every third answer was wrong");
    assert!(comparison["held_out"]["cases"].as_u64().unwrap() > 0, "{comparison}");
    let trained = 30 - comparison["held_out"]["cases"].as_u64().unwrap();
    let output = run["report"]["output"].as_str().unwrap();
    assert!(output.starts_with(&format!("fitted with {trained} reviewed rows")), "{output}");
    assert!(!run.to_string().contains(SECRET_PATIENT));
    // Nothing of the run is left where it was made.
    assert!(!app.models.join(".retrain").join(&id).exists());

    let promote = || app.post(&format!("/v1/retrainings/{id}/promote"));
    promote().bearer(&doctor).header("if-match", "\"3\"").send().await.is_problem(403, "forbidden");
    promote().bearer(&admin).send().await.is_problem(428, "precondition_required");
    promote().bearer(&admin).header("if-match", "\"1\"").send().await.is_problem(412, "precondition_failed");
    let tag = format!("\"{}\"", run["number"]);
    let promoted = promote().bearer(&admin).header("if-match", &tag).send().await.is(200).json();
    assert_eq!(promoted["state"], "promoted");
    assert_eq!(versions(&app), (vec!["meso@0.1.1".to_owned()], vec![]));
    let tag = format!("\"{}\"", promoted["number"]);
    promote().bearer(&admin).header("if-match", &tag).send().await.is_problem(409, "conflict");
    let filter = AuditFilter { action: Some("model.".to_owned()), ..AuditFilter::default() };
    let rows = app.ledger.audit(&filter, &PageRequest::first(99)).await.unwrap().rows;
    let deeds: Vec<&str> =
        rows.iter().map(|row| row.action.as_str()).filter(|action| *action != "model.predict").collect();
    assert_eq!(deeds, ["model.promote", "model.retrain"]);
    // The next one begins with the version that serves now.
    let next = asked(&app, &admin).await;
    let next = app.get(&format!("/v1/retrainings/{next}")).bearer(&admin).send().await.is(200).json();
    assert_eq!((&next["base_version"], &next["new_version"]), (&json!("0.1.1"), &json!("0.1.2")));
}

#[tokio::test]
async fn what_may_not_be_trained_is_refused_by_name() {
    let (app, admin, _) = reviewed(3).await;
    let refused = async |model: &str| {
        let answer = app.post(&format!("/v1/models/{model}/retrain")).bearer(&admin).send().await;
        (answer.status.as_u16(), answer.json()["detail"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused("none").await.0, 404);
    assert_eq!(
        refused("meso").await,
        (409, "there are 3 reviewed cases of meso, its package asks for 20".to_owned())
    );
    command(&app, &["true", "{cases}", "{out}"]);
    let file = app.models.join("meso/model.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split_once("[retrain]").unwrap().0).unwrap();
    app.post("/v1/models/reload").bearer(&admin).send().await.is(200);
    assert_eq!(
        refused("meso").await,
        (409, "the package of meso names no command that trains it".to_owned())
    );
}

/// What a package's command may leave behind, and what is said of it.
const FAULTS: &[(&str, &str)] = &[
    ("raise SystemExit('no memory')", "the command ended with exit status: 1"),
    ("pass", "the new version cannot be used"),
    ("copy(); write('model.onnx', b'half')", "the new version cannot be used"),
    (
        "copy(); write('selftest/expected.npy', open(old + '/selftest/input.npy', 'rb').read())",
        "the new version cannot be used",
    ),
    ("copy()", "the new version has another version than it must have"),
    ("copy(); toml(('0.1.0', version), ('\"demonstration\"', '\"everything\"'))", "another intended use"),
    ("copy(); toml(('0.1.0', version), ('tolerance = 0.0', 'tolerance = 1.0'))", "tolerates more"),
    (
        "copy(); toml(('0.1.0', version)); os.remove(out + '/model.onnx'); os.symlink(old + '/model.onnx', out + '/model.onnx')",
        "no plain file",
    ),
];
const PRELUDE: &str = "import os, shutil, sys
old, cases, out, version = sys.argv[1:]
assert os.path.exists(cases + '/predictions.csv')
assert 'PATIENT-4711' not in open(cases + '/predictions.csv').read()
def copy(): shutil.copytree(old, out, dirs_exist_ok=True)
def write(name, bytes): open(out + '/' + name, 'wb').write(bytes)
def toml(*changes):
    text = open(out + '/model.toml').read()
    for a, b in changes:
        assert a in text
        text = text.replace(a, b)
    open(out + '/model.toml', 'w').write(text)
";

#[tokio::test]
async fn a_version_that_is_not_whole_never_comes_into_service() {
    let (app, admin, _) = reviewed(3).await;
    for (fault, reason) in FAULTS {
        let script = format!("{PRELUDE}{fault}\n");
        command(&app, &["python3", "-c", &script, "{package}", "{cases}", "{out}", "{version}"]);
        app.post("/v1/models/reload").bearer(&admin).send().await.is(200);
        let id = asked(&app, &admin).await;
        let run = ended(&app, &admin, &id).await;
        assert_eq!(run["state"], "failed", "{fault}: {run}");
        let failure = run["failure"].as_str().unwrap();
        assert!(failure.contains(reason), "{fault}: {failure}");
        assert_eq!(versions(&app), (vec!["meso@0.1.0".to_owned()], vec![]), "{fault}");
        assert!(!app.models.join("meso@0.1.1").exists(), "{fault}");
    }
}

/// A run that a process which was killed had begun.
async fn begun(app: &TestApp, times: u32) -> RetrainingId {
    let new = NewRetraining {
        model_id: "meso".to_owned(),
        base_version: "0.1.0".to_owned(),
        new_version: "0.1.1".to_owned(),
        actor: "account:root".to_owned(),
        request_id: None,
    };
    let id = app.ledger.add_retraining(&new, &app.audit_key, app.now()).await.unwrap().unwrap();
    for boot in 0..times {
        let (node, boot) = (NodeId::new("node"), BootId::new(format!("dead {boot}")));
        app.ledger.claim_retraining(&node, &boot, app.now(), app.now()).await.unwrap().unwrap();
    }
    id
}

fn workshop(app: &TestApp, id: RetrainingId) -> PathBuf {
    app.models.join(".retrain").join(id.to_string())
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_and_at_the_third_time_is_named() {
    let (app, admin, _) = reviewed(3).await;
    let script = format!("{PRELUDE}copy(); toml(('0.1.0', version))\n");
    command(&app, &["python3", "-c", &script, "{package}", "{cases}", "{out}", "{version}"]);
    app.post("/v1/models/reload").bearer(&admin).send().await.is(200);
    let id = begun(&app, 1).await;
    let half = workshop(&app, id).join("meso@0.1.1");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("model.toml"), "half").unwrap();
    let run = ended(&app, &admin, &id.to_string()).await;
    assert_eq!(run["state"], "shadow", "{run}");
    let tag = format!("\"{}\"", run["number"]);
    let discard = app.post(&format!("/v1/retrainings/{id}/discard")).bearer(&admin).header("if-match", &tag);
    assert_eq!(discard.send().await.is(200).json()["state"], "discarded");
    assert_eq!(versions(&app), (vec!["meso@0.1.0".to_owned()], vec![]));
    assert!(!app.models.join("meso@0.1.1").exists());

    let id = begun(&app, 3).await;
    let run = ended(&app, &admin, &id.to_string()).await;
    assert_eq!(run["failure"], "the service ended 3 times while it ran");
}

#[tokio::test]
async fn killed_between_the_folder_and_its_row_a_run_ends_as_if_nothing_had_happened() {
    let (app, admin, _) = reviewed(3).await;
    let script = format!("{PRELUDE}raise SystemExit('it must not run again')\n");
    command(&app, &["python3", "-c", &script, "{package}", "{cases}", "{out}", "{version}"]);
    app.post("/v1/models/reload").bearer(&admin).send().await.is(200);
    let id = begun(&app, 1).await;
    let place = app.models.join("meso@0.1.1");
    std::fs::create_dir_all(place.join("selftest")).unwrap();
    for file in ["model.toml", "model.onnx", "selftest/input.npy", "selftest/expected.npy"] {
        std::fs::copy(app.models.join("meso").join(file), place.join(file)).unwrap();
    }
    let toml = std::fs::read_to_string(place.join("model.toml")).unwrap();
    std::fs::write(place.join("model.toml"), toml.replace("0.1.0", "0.1.1")).unwrap();
    std::fs::write(place.join("retraining.json"), "{\"comparison\":{\"all\":{\"cases\":3}}}").unwrap();
    inference::Package::mark_shadow(&place, &id.to_string()).unwrap();
    let run = ended(&app, &admin, &id.to_string()).await;
    assert_eq!((&run["state"], &run["report"]["comparison"]["all"]["cases"]), (&json!("shadow"), &json!(3)));
    assert_eq!(versions(&app).1, ["meso@0.1.1"]);

    // A promotion that was decided and not carried out is carried out at the next start.
    let seen = u32::try_from(run["number"].as_u64().unwrap()).unwrap();
    let row = ledger::NewAudit {
        at: app.now(),
        actor: "account:root".to_owned(),
        action: "model.promote".to_owned(),
        subject: "meso".to_owned(),
        request_id: None,
        detail: json!({}),
    };
    let to = RetrainingState::Promoted;
    app.ledger.decide_retraining(id, seen, to, &row, &app.audit_key).await.unwrap().unwrap();
    let runner = tokio::spawn(api::run_retrainings(app.state.clone()));
    let serves = tokio::time::timeout(LIMIT, async {
        while versions(&app).0 != ["meso@0.1.1"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    serves.await.expect("it serves");
    runner.abort();
}
