//! A doctor signs in and decides; what the decision says arrives in a real PACS, once.

use std::{path::Path, process::Stdio, time::Duration};

use peers::{Guarded, Http, Orthanc, dcmtk, mortal, python, wait_until, workspace};
use serde_json::{Value, json};

use crate::{
    delivery::{destination, instances_of},
    refusals::copy,
    service::{COMMAND_LIMIT, Site},
    study::Study,
};

const PASSWORD: &str = "correct horse battery staple";
const COMPUTED: Duration = Duration::from_secs(180);

/// A site whose only model has the policy `policy`.
fn site(orthanc: &Orthanc, policy: &str) -> Site {
    let site = Site::new(&destination(orthanc));
    let shipped = workspace().join("models");
    let models = site.path().join("models");
    std::fs::create_dir(&models).expect("a folder in our folder");
    copy(&shipped.join("mr-brain-seg"), &models);
    replace(&models.join("mr-brain-seg/model.toml"), "policy = \"write\"", &format!("policy = \"{policy}\""));
    replace(&site.path().join("overread.toml"), &format!("{shipped:?}"), "\"models\"");
    add_doctor(&site);
    site.keep_out_of_logs(PASSWORD);
    site
}

#[track_caller]
fn replace(file: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(file).expect("a file in our folder");
    assert!(text.contains(old), "{} has no {old}", file.display());
    std::fs::write(file, text.replace(old, new)).expect("a file in our folder");
}

pub(crate) fn add_doctor(site: &Site) {
    std::fs::write(site.path().join("password"), PASSWORD).expect("a file in our folder");
    let add = "\"$0\" user add kim --role doctor --full-name '김^영희' --organization '서울병원' --password-stdin < password";
    let mut command = mortal("sh");
    command.args(["-c", add, env!("CARGO_BIN_EXE_overread")]).current_dir(site.path());
    let output = Guarded::output(command, COMMAND_LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The service as the doctor sees it.
pub(crate) fn sign_in(site: &Site) -> Http {
    Http::new(&format!("http://127.0.0.1:{}", site.http_port())).with_bearer(&sign_in_for_a_token(site))
}

pub(crate) fn sign_in_for_a_token(site: &Site) -> String {
    let api = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    let tokens = api.post("/v1/auth/login", &json!({ "name": "kim", "password": PASSWORD })).json();
    tokens["access_token"].as_str().expect("a token").to_owned()
}

/// The result of the only job, and its ETag.
pub(crate) fn seen(api: &Http) -> (String, String) {
    let id = wait_until("a result", COMPUTED, || {
        let results = api.get("/v1/results").json();
        results["items"][0]["id"].as_str().map(str::to_owned)
    });
    let answer = api.get(&format!("/v1/results/{id}"));
    let etag = answer.headers["etag"].to_str().expect("text").to_owned();
    (format!("/v1/results/{id}"), etag)
}

fn decide(api: &Http, (result, etag): &(String, String), decision: &Value) -> peers::Answer {
    api.clone().with_header("If-Match", etag).post(&format!("{result}/reviews"), decision)
}

fn wait_for(orthanc: &Orthanc, study: &Study, modality: &str, count: usize) -> Vec<String> {
    wait_until(&format!("{count} {modality} in the PACS"), Duration::from_secs(60), || {
        let found = instances_of(orthanc, &study.study_uid, modality);
        (found.len() == count).then_some(found)
    })
}

/// Reads each object with a program of somebody else.
fn read(orthanc: &Orthanc, ids: &[String], program: impl Fn(&Path) -> std::process::Command) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let read_one = |id: &String| {
        let file = folder.path().join(format!("{id}.dcm"));
        std::fs::write(&file, orthanc.get_bytes(&format!("/instances/{id}/file"))).expect("a file of ours");
        let output = Guarded::output(program(&file), COMMAND_LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ids.iter().map(read_one).collect()
}

fn dsrdump(file: &Path) -> std::process::Command {
    let mut command = mortal(dcmtk("dsrdump"));
    command.arg("+U8").arg(file);
    command
}

fn highdicom(file: &Path) -> std::process::Command {
    let mut command = mortal(python());
    command.arg(workspace().join("results/tests/it/scripts/sr_read.py")).arg(file);
    command
}

#[test]
fn a_held_result_arrives_verified_when_a_doctor_accepts_it() {
    let orthanc = Orthanc::start();
    let site = site(&orthanc, "hold-for-review");
    let service = site.serve();
    let study = Study::small(11);
    study.dcmsend(site.dicom_port());
    let doctor = sign_in(&site);
    let seen = seen(&doctor);
    assert!(orthanc.get("/instances").as_array().is_some_and(Vec::is_empty), "it left before its review");

    // A key is nobody's presence, whatever its role.
    let key = service.api.clone().with_bearer(&site.key("robot", "doctor"));
    assert_eq!(decide(&key, &seen, &json!({ "decision": "accept" })).status, 403);
    let unseen = doctor.post(&format!("{}/reviews", seen.0), &json!({ "decision": "accept" }));
    assert_eq!(unseen.status, 428, "{}", unseen.text());

    let review = decide(&doctor, &seen, &json!({ "decision": "accept", "comment": "agreed" }));
    assert_eq!(review.json_of(201)["full_name"], "김^영희");
    assert_eq!(decide(&doctor, &seen, &json!({ "decision": "accept", "comment": "agreed" })).status, 200);
    let late = decide(&doctor, &seen, &json!({ "decision": "reject", "reason": "quality" }));
    assert_eq!((late.status, late.headers["etag"].to_str().ok()), (412, Some("\"1\"")), "{}", late.text());

    wait_for(&orthanc, &study, "SEG", 1);
    let reports = wait_for(&orthanc, &study, "SR", 2);
    let trees = read(&orthanc, &reports, dsrdump);
    let verified = trees.iter().position(|tree| tree.contains("Verification Flag   : VERIFIED"));
    let verified = verified.unwrap_or_else(|| panic!("none is verified: {trees:?}"));
    for expected in ["김^영희, 서울병원", "Predecessor Docs    : 1", "agreed"] {
        assert!(trees[verified].contains(expected), "without {expected}:\n{}", trees[verified]);
    }
    let groups = read(&orthanc, &reports[verified..=verified], highdicom).remove(0);
    assert!(groups.contains("groups VERIFIED"), "{groups}");
}

#[test]
fn a_rejection_arrives_as_key_object_note_and_report() {
    let orthanc = Orthanc::start();
    let site = site(&orthanc, "write");
    let _service = site.serve();
    let study = Study::small(12);
    study.dcmsend(site.dicom_port());
    let doctor = sign_in(&site);
    let first = seen(&doctor);
    wait_for(&orthanc, &study, "SEG", 1);

    let rejection = json!({ "decision": "reject", "reason": "quality", "comment": "it drew a ventricle" });
    decide(&doctor, &first, &rejection).json_of(201);
    let notes = wait_for(&orthanc, &study, "KO", 1);
    let note = read(&orthanc, &notes, dsrdump).remove(0);
    for expected in ["Rejected for Quality Reasons", "it drew a ventricle", "김^영희"] {
        assert!(note.contains(expected), "without {expected}:\n{note}");
    }
    let reports = read(&orthanc, &wait_for(&orthanc, &study, "SR", 2), dsrdump);
    assert!(reports.iter().any(|tree| tree.contains("113001,DCM")), "{reports:?}");

    // Taken back, and rejected again for the other reason.
    decide(&doctor, &seen(&doctor), &json!({ "decision": "undo" })).json_of(201);
    wait_for(&orthanc, &study, "KO", 2);
    let rejection = json!({ "decision": "reject", "reason": "patient-safety" });
    decide(&doctor, &seen(&doctor), &rejection).json_of(201);
    let notes = read(&orthanc, &wait_for(&orthanc, &study, "KO", 3), dsrdump);
    assert!(notes.iter().any(|tree| tree.contains("Rejected for Patient Safety Reasons")), "{notes:?}");
}

/// The service, which aborts when it passes `point`.
fn serve_until(site: &Site, point: &str) -> Guarded {
    let mut command = mortal(env!("CARGO_BIN_EXE_overread"));
    command.arg("serve").current_dir(site.path()).env("OVERREAD_KILL_AT", point);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Guarded::spawn(command);
    let api = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    wait_until("the service to be ready", Duration::from_secs(60), || {
        api.try_get("/ready").ok().filter(|answer| answer.status == 200)
    });
    process
}

#[test]
fn a_review_that_was_killed_before_or_after_its_commit_leads_to_one_verified_report() {
    let orthanc = Orthanc::start();
    let site = site(&orthanc, "write");
    let study = Study::small(13);
    let accept = json!({ "decision": "accept" });

    // SEG and SR are the first two objects that are kept; the third is the review's.
    let mut process = serve_until(&site, "kept:3");
    study.dcmsend(site.dicom_port());
    let doctor = sign_in(&site);
    let first = seen(&doctor);
    wait_for(&orthanc, &study, "SR", 1);
    let path = format!("{}/reviews", first.0);
    let answer = doctor.clone().with_header("If-Match", &first.1).try_post(&path, &accept);
    assert!(answer.is_err(), "it was answered before it was true: {answer:?}");
    wait_until("the abort", Duration::from_secs(30), || process.0.try_wait().ok().flatten());

    // Claims of a delivery begin anew: the first of this process is the verified report's.
    let mut process = serve_until(&site, "delivery-claimed:1");
    let doctor = sign_in(&site);
    let again = seen(&doctor);
    assert_eq!(again, first, "nothing was decided");
    // Committed; whether the answer still comes through is a race with the abort.
    doctor.clone().with_header("If-Match", &again.1).try_post(&path, &accept).ok();
    wait_until("the abort", Duration::from_secs(30), || process.0.try_wait().ok().flatten());
    assert_eq!(instances_of(&orthanc, &study.study_uid, "SR").len(), 1);

    let _service = site.serve();
    let reports = wait_for(&orthanc, &study, "SR", 2);
    let verified = read(&orthanc, &reports, dsrdump)
        .into_iter()
        .filter(|tree| tree.contains("Verification Flag   : VERIFIED"))
        .count();
    assert_eq!(verified, 1);
    let doctor = sign_in(&site);
    assert_eq!(decide(&doctor, &again, &accept).status, 200, "the same again is the same");
    assert_eq!(doctor.get(&path).json().as_array().map(Vec::len), Some(1));
}
