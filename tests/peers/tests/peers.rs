//! The peers themselves start, answer and end.

use std::time::Duration;

use peers::{Guarded, Orthanc, Postgres, dcmtk, mortal, wait_until};

#[test]
fn orthanc_answers_and_keeps_its_data_over_a_kill() {
    let mut orthanc = Orthanc::start();
    assert!(orthanc.get("/system")["Version"].is_string());
    orthanc.kill();
    orthanc.restart();
    assert_eq!(orthanc.get("/patients"), serde_json::json!([]));
}

#[test]
fn postgres_gives_databases() {
    let postgres = Postgres::start();
    assert_ne!(postgres.database(), postgres.database());
}

#[test]
fn a_guarded_child_ends_with_its_value() {
    let mut command = mortal("sleep");
    command.arg("1000");
    let child = Guarded::spawn(command);
    let process = std::path::PathBuf::from(format!("/proc/{}", child.0.id()));
    assert!(process.exists());
    drop(child);
    wait_until("the child to be gone", Duration::from_secs(5), || (!process.exists()).then_some(()));
}

#[test]
fn dcmtk_is_there() {
    assert!(dcmtk("dcmsend").is_file());
}
