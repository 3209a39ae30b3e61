//! Whoever changes the audit trail is found out by `overread audit verify`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use peers::{Guarded, Http, mortal, wait_until};
use serde_json::{Value, json};

use crate::service::{COMMAND_LIMIT, Service, Site};

/// Changes the database behind the service's back.
fn tamper(site: &Site, statement: &str) {
    let script =
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()";
    let mut command = mortal(peers::python());
    command.args(["-c", script]).arg(site.path().join("data/ledger.db")).arg(statement);
    let output = Guarded::output(command, COMMAND_LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn verify(site: &Site) -> (bool, String) {
    let output = site.run(&["audit", "verify"]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn stop(service: &mut Service) {
    service.process.terminate();
    let stopped = || service.process.0.try_wait().ok().flatten();
    wait_until("the service to end", Duration::from_secs(30), stopped);
}

#[test]
fn a_changed_row_a_cut_tail_and_a_missing_row_are_each_found() {
    let site = Site::new("");
    let mut service = site.serve();
    for _ in 0..5 {
        service.api.get("/v1/results/018bcfe5-6800-7000-8000-000000000000");
        service.api.post("/v1/auth/login", &serde_json::json!({ "name": "nobody", "password": "wrong" }));
    }
    // A stop notes the end of the trail outside the database.
    stop(&mut service);
    let (whole, said) = verify(&site);
    assert!(whole && said.contains("8 rows are whole, and fit"), "{said}");
    let listed = site.run(&["audit", "list", "--action", "auth.", "--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(5), "{rows}");
    let exported = site.run(&["audit", "export"]);
    assert_eq!(String::from_utf8_lossy(&exported.stdout).lines().count(), 8);

    let saved = std::fs::read(site.path().join("data/ledger.db")).expect("our own file");
    for (statement, found) in [
        (
            "update audit set actor = 'account:somebody-else' where seq = 3",
            "row 3 of the audit trail was changed",
        ),
        ("delete from audit where seq = 3", "row 3 of the audit trail is missing"),
        ("delete from audit where seq > 4", "ends with row 4; row 8 was there once"),
        ("delete from audit", "ends with row 0; row 8 was there once"),
    ] {
        tamper(&site, statement);
        let (whole, said) = verify(&site);
        assert!(!whole && said.contains(found), "{statement}: {said}");
        std::fs::write(site.path().join("data/ledger.db"), &saved).expect("our own file");
    }
    assert!(verify(&site).0, "what was put back is whole");
}

/// Asks until nobody answers, for a patient every second time; gives the request ids of what was answered, and the
/// numbers of stored rows that were told.
fn predict_until_killed(client: &Http, caller: usize, calls: &AtomicUsize) -> (Vec<String>, Vec<i64>) {
    let (mut answered, mut stored) = (Vec::new(), Vec::new());
    let until = Instant::now() + Duration::from_secs(60);
    for number in (0..).take_while(|_| Instant::now() < until) {
        let id = format!("call-{caller}-{number}");
        let mut body = json!({ "data": [{ "age": 65, "crp": 15 }] });
        if number % 2 == 1 {
            body["patient_id"] = json!(format!("p{caller}"));
        }
        let client = client.clone().with_header("X-Request-Id", &id);
        let Ok(answer) = client.try_post("/v1/models/meso/predict", &body) else { break };
        assert_eq!(answer.status, 200, "{}", answer.text());
        stored.extend(answer.json()["rows"][0]["prediction_id"].as_i64());
        answered.push(id);
        calls.fetch_add(1, Ordering::Relaxed);
    }
    (answered, stored)
}

#[test]
fn answered_prediction_is_audited_after_a_kill() {
    let site = Site::unlimited(&["meso"]);
    let mut answered = Vec::new();
    for (round, enough) in [60, 17, 133].into_iter().enumerate() {
        let mut service = site.serve();
        let client = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
        let client = client.with_bearer(&site.key("ward", "service"));
        let calls = AtomicUsize::new(0);
        let stored = std::thread::scope(|scope| {
            let ask = |caller| predict_until_killed(&client, round * 10 + caller, &calls);
            let callers: Vec<_> = (0..8).map(|caller| scope.spawn(move || ask(caller))).collect();
            wait_until("calls to be answered", Duration::from_secs(60), || {
                (calls.load(Ordering::Relaxed) >= enough).then_some(())
            });
            service.process.0.kill().expect("it was running");
            service.process.0.wait().expect("it ends");
            let told = callers.into_iter().map(|caller| caller.join().expect("a caller ends well"));
            let (ids, stored): (Vec<_>, Vec<_>) = told.unzip();
            answered.extend(ids.into_iter().flatten());
            stored.into_iter().flatten().collect::<Vec<_>>()
        });
        let exported = site.run(&["audit", "export", "--action", "model.predict"]);
        let rows = String::from_utf8_lossy(&exported.stdout).into_owned();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let found: Vec<String> =
            rows.map(|row| row["request_id"].as_str().expect("named").to_owned()).collect();
        let once: HashSet<&String> = found.iter().collect();
        assert_eq!(once.len(), found.len(), "a call is in the trail twice");
        let lost: Vec<_> = answered.iter().filter(|id| !once.contains(id)).collect();
        assert!(lost.is_empty(), "of {} answered calls {} are lost: {lost:?}", answered.len(), lost.len());
        let (whole, said) = verify(&site);
        assert!(whole, "{said}");

        let service = site.serve();
        for id in &stored {
            assert_eq!(service.api.get(&format!("/v1/predictions/{id}")).status, 200, "prediction {id}");
        }
        assert!(!stored.is_empty(), "no row was stored");
    }
}

#[test]
fn a_command_after_a_power_cut_adds_its_row_behind_the_calls_that_were_answered_before() {
    let site = Site::unlimited(&["meso"]);
    // Who has an account is offered no first login: its row is flushed, and no power cut takes that.
    assert!(site.run(&["user", "add", "ada", "--role", "admin"]).status.success());
    stop(&mut site.serve());
    let database = site.path().join("data/ledger.db");
    let before = std::fs::read(&database).expect("our own file");
    let mut service = site.serve();
    for _ in 0..5 {
        let answer = service.api.post("/predict", &json!({ "data": [{ "age": 65, "crp": 15 }] }));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    service.process.0.kill().expect("it was running");
    service.process.0.wait().expect("it ends");
    // As a power cut leaves them: the journal of now, and the database of before.
    std::fs::write(&database, before).expect("our own file");
    for beside in ["ledger.db-wal", "ledger.db-shm"] {
        std::fs::remove_file(site.path().join("data").join(beside)).expect("left by the kill");
    }

    site.key("later", "service");
    let exported = site.run(&["audit", "export"]);
    let rows = String::from_utf8_lossy(&exported.stdout).into_owned();
    // Newest first: the new key, the calls, and what was there before them: a key, and an account.
    let actions: Vec<_> =
        rows.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON")["action"].clone()).collect();
    let calls = ["model.predict"; 5];
    assert_eq!(actions, [&["key.add"], &calls[..], &["key.add", "user.add"]].concat());
    let (whole, said) = verify(&site);
    assert!(whole, "{said}");
}
