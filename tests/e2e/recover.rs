//! A database that is lost comes back from the spool.

use std::time::Duration;

use peers::{Guarded, mortal, python, wait_until};
use serde_json::Value;

use crate::{
    service::{COMMAND_LIMIT, Site, refusal},
    study::Study,
};

/// What the ledger says of every instance, short of when and by whom it came.
fn rows(site: &Site) -> String {
    let script = "import sqlite3, sys\n\
        query = 'select sop_instance_uid, study_uid, series_uid, sop_class_uid, transfer_syntax_uid, digest, size_bytes, header'\n\
        for row in sqlite3.connect(sys.argv[1]).execute(query + ' from instance order by 1'): print(*row)";
    let mut command = mortal(python());
    command.args(["-c", script]).arg(site.path().join("data/ledger.db"));
    let output = Guarded::output(command, COMMAND_LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("rows are text")
}

fn recover(site: &Site) -> Value {
    let output = site.run(&["recover", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_lost_database_is_rebuilt_from_the_spool() {
    let site = Site::new("");
    let study = Study::small(8);
    let mut service = site.serve();
    study.dcmsend(site.dicom_port());
    let (code, said) = refusal(&site.run(&["recover"]));
    assert!(code == 1 && said.contains("stop it"), "{said}");
    service.process.terminate();
    wait_until("the service to end", Duration::from_secs(60), || {
        (!service.process.is_running()).then_some(())
    });
    let before = rows(&site);
    assert_eq!(before.lines().count(), 40, "{before}");

    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let path = site.path().join("data").join(name);
        assert!(!path.exists() || std::fs::remove_file(path).is_ok());
    }
    for _ in 0..2 {
        assert_eq!(recover(&site)["instances"], 40);
        assert_eq!(rows(&site), before);
    }

    let stray = site.path().join("data/spool/00/1.2/1.3");
    std::fs::create_dir_all(&stray).expect("a folder in our folder");
    std::fs::write(stray.join("1.4.dcm"), "no instance").expect("a file in our folder");
    let output = site.run(&["recover", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1));
    assert!(said["passed_over"][0].as_str().is_some_and(|line| line.contains("1.4.dcm")), "{said}");
    assert_eq!(rows(&site), before);
}
