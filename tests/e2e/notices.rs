//! A subscriber that is written from the documentation alone is told what happens.

use std::{process::Stdio, time::Duration};

use peers::{Guarded, free_port, mortal, python, wait_until, workspace};
use serde_json::Value;

use crate::{
    orthanc::{Examination, bright},
    service::Site,
    study::dcmsend,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Far longer than anything takes, even on a busy machine.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn a_receiver_is_told_of_a_result_and_of_a_full_disk_by_signed_messages_without_a_patient() {
    let port = free_port();
    let site = Site::with_models(&bright(), "");
    let file = site.path().join("told");
    let output = std::fs::File::create(&file).expect("a file in our folder");
    let mut receiver = mortal(python());
    receiver.arg(workspace().join("tests/e2e/receive_webhooks.py")).args([&port.to_string(), SECRET]);
    receiver.stdin(Stdio::null()).stdout(output);
    let _receiver = Guarded::spawn(receiver);
    // More than is spared, less than twice of it.
    let free = rustix::fs::statvfs(site.path()).map(|disk| disk.f_bavail * disk.f_frsize).expect("a disk");
    site.also(&format!(
        "[spool]\nmin_free_bytes = {}\n\
         [[notify]]\nkind = 'webhook'\nname = 'ris'\nurl = 'http://127.0.0.1:{port}/told'\nsecret = '{SECRET}'\n",
        free * 7 / 10
    ));
    site.keep_out_of_logs(SECRET);
    let doctor = site.run(&["doctor"]);
    let lines = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(lines.lines().any(|line| line.contains("notify ris") && line.contains("answers")), "{lines}");

    let _service = site.serve();
    let examination = Examination::new(40);
    dcmsend(&examination.files, site.dicom_port());
    let told = wait_until("both messages", LONG, || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let told: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (told.len() == 2).then_some(told)
    });
    let of = |kind: &str| told.iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(of("diagnosis.ready")["data"]["study_uid"], examination.uid().as_str());
    assert!(of("disk.low")["data"]["free_bytes"].is_u64());
    let text = serde_json::to_string(&told).expect("JSON");
    assert!(!text.contains("Phantom") && !text.contains("P1"), "{text}");
}
