//! Whoever changes the audit trail is found out by `overread audit verify`.

use peers::{Guarded, mortal};

use crate::service::{COMMAND_LIMIT, Site};

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

#[test]
fn a_changed_row_a_cut_tail_and_a_missing_row_are_each_found() {
    let site = Site::new("");
    let mut service = site.serve();
    for _ in 0..5 {
        service.api.get("/v1/results/018bcfe5-6800-7000-8000-000000000000");
        service.api.post("/v1/auth/login", &serde_json::json!({ "name": "nobody", "password": "wrong" }));
    }
    // A stop notes the end of the trail outside the database.
    service.process.terminate();
    let stopped = || service.process.0.try_wait().ok().flatten();
    peers::wait_until("the service to end", std::time::Duration::from_secs(30), stopped);
    let (whole, said) = verify(&site);
    assert!(whole && said.contains("6 rows are whole, and fit"), "{said}");
    let listed = site.run(&["audit", "list", "--action", "auth.", "--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(5), "{rows}");
    let exported = site.run(&["audit", "export"]);
    assert_eq!(String::from_utf8_lossy(&exported.stdout).lines().count(), 6);

    let saved = std::fs::read(site.path().join("data/ledger.db")).expect("our own file");
    for (statement, found) in [
        (
            "update audit set actor = 'account:somebody-else' where seq = 3",
            "row 3 of the audit trail was changed",
        ),
        ("delete from audit where seq = 3", "row 3 of the audit trail is missing"),
        ("delete from audit where seq > 4", "ends with row 4; row 6 was there once"),
        ("delete from audit", "ends with row 0; row 6 was there once"),
    ] {
        tamper(&site, statement);
        let (whole, said) = verify(&site);
        assert!(!whole && said.contains(found), "{statement}: {said}");
        std::fs::write(site.path().join("data/ledger.db"), &saved).expect("our own file");
    }
    assert!(verify(&site).0, "what was put back is whole");
}
