//! Starting, being watched and stopping.

use std::{process::Command, time::Duration};

use peers::{dcmtk, wait_until};
use serde_json::Value;

use crate::{service::Site, study::Study};

#[test]
fn probes_and_metrics_tell_how_it_is() {
    let site = Site::new("");
    let service = site.serve();
    let anybody = peers::Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    assert_eq!(anybody.get("/livez").status, 200);
    let ready = anybody.get("/ready").json();
    let lines = ready["lines"].as_array().expect("a line for each thing");
    let models = lines.iter().find(|line| line["name"] == "models").expect("a line for the models");
    assert_eq!(models["reason"], "1 in service", "{ready}");

    let echo = Command::new(dcmtk("echoscu"))
        .args(["-aec", "OVERREAD", "127.0.0.1", &site.dicom_port().to_string()])
        .output();
    assert!(echo.is_ok_and(|output| output.status.success()));

    let metrics = service.api.get("/metrics").text();
    for name in ["overread_http_requests_total", "process_resident_memory_bytes", "overread_jobs"] {
        assert!(metrics.contains(name), "without {name}:\n{metrics}");
    }
}

#[test]
fn a_wrong_address_of_an_archive_shows_before_anything_is_sent_to_it() {
    let site = Site::new("[[destination]]\nkind = 'orthanc'\nname = 'pacs'\nurl = 'http://127.0.0.1:1'\n");
    let _process = site.spawn();
    let anybody = peers::Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
    wait_until("the log to name it", Duration::from_secs(60), || {
        site.log().contains("destination pacs cannot be used").then_some(())
    });
    let key = site.key("watch", "admin");
    let metrics = wait_until("the metric", Duration::from_secs(60), || {
        let text = anybody.clone().with_bearer(&key).try_get("/metrics").ok()?.text();
        text.contains("overread_destination_up").then_some(text)
    });
    assert!(metrics.contains("overread_destination_up{destination=\"pacs\"} 0"), "{metrics}");
    let ready = anybody.get("/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("destination:pacs"), "{}", ready.text());
}

#[test]
fn sigterm_ends_it_in_time_and_a_new_start_goes_on() {
    let site = Site::new("");
    let mut service = site.serve();
    let study = Study::small(2);
    study.dcmsend(site.dicom_port());
    wait_until("a job", Duration::from_secs(30), || {
        let jobs = service.api.get("/v1/jobs").json();
        jobs["items"].as_array().is_some_and(|jobs| !jobs.is_empty()).then_some(())
    });
    service.process.terminate();
    let status = wait_until("the service to end", Duration::from_secs(30), || {
        service.process.0.try_wait().ok().flatten()
    });
    assert!(status.success(), "{status}: {}", site.log());
    drop(service);

    let service = site.serve();
    wait_until("the job to be done", Duration::from_secs(180), || {
        let jobs = service.api.get("/v1/jobs").json();
        (jobs["items"][0]["state"] == "done").then_some(())
    });
    assert_eq!(service.api.get("/v1/jobs").json()["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn no_patient_is_named_in_the_log() {
    let site = Site::new("[log]\nfilter = 'debug'\nformat = 'json'\n");
    let service = site.serve();
    let study = Study::small(3);
    study.dcmsend(site.dicom_port());
    wait_until("the job to be done", Duration::from_secs(180), || {
        let jobs = service.api.get("/v1/jobs").json();
        (jobs["items"][0]["state"] == "done").then_some(())
    });
    // An administrator does not see patients; who works with them does.
    let technician = site.key("look", "technician");
    let row =
        service.api.clone().with_bearer(&technician).get(&format!("/v1/studies/{}", study.study_uid)).json();
    let patient = &row["patient"];
    let log = site.log();
    assert!(log.contains(&study.study_uid), "the log tells of the study");
    for field in ["name", "id", "birth_date"] {
        let value = patient[field].as_str().unwrap_or_default();
        assert!(!value.is_empty(), "the study has a {field}");
        assert!(!log.contains(value), "the {field} stands in the log");
    }
}

#[test]
fn config_prints_what_is_in_force_without_secrets() {
    let site = Site::new(
        "[[destination]]\nkind = 'orthanc'\nname = 'pacs'\nurl = 'http://127.0.0.1:1'\nusername = 'u'\npassword = 'secret-word'\n",
    );
    let output = site.run(&["config", "--json", "--set", "readiness.quiet_seconds=9"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("secret-word"));
    let config: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(config["readiness"]["quiet_seconds"], 9);
    assert_eq!(config["destination"][0]["password"], "***");
}

#[test]
fn doctor_says_line_by_line_what_is_well_and_what_to_do() {
    let well = Site::new("");
    let output = well.run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["database", "spool", "ONNX Runtime", "mr-brain-seg", "disk", "clock"] {
        assert!(text.contains(line), "without {line}:\n{text}");
    }
    let ill = Site::new("[[destination]]\nkind = 'orthanc'\nname = 'pacs'\nurl = 'http://127.0.0.1:1'\n");
    let output = ill.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let checks: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let failed: Vec<&Value> =
        checks.as_array().expect("a list").iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{checks}");
    assert!(failed[0]["check"].as_str().is_some_and(|name| name.contains("pacs")), "{checks}");
    assert!(failed[0]["what_to_do"].as_str().is_some_and(|text| !text.is_empty()), "{checks}");
}
