//! `overread route`: which model would be run on what, before anything is run.

use peers::wait_until;
use serde_json::Value;

use crate::{
    orthanc::{Examination, bright},
    service::{COMMAND_LIMIT, Site},
    study::dcmsend,
};

const RULE: &str = "[[site_rule]]\nmodel = 'bright'\nseries_description_not = '(?i)^t1$'\n";

#[track_caller]
fn routed(site: &Site, args: &[&str]) -> Value {
    let output = site.run(&[&["route", "--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_choice_is_explained_for_files_studies_and_the_last_ones() {
    let site = Site::with_models(&bright(), "");
    let examination = Examination::new(1);
    let (folder, study) = (examination.path(), examination.uid());

    let of_folder = routed(&site, &[folder]);
    assert_eq!(of_folder[0]["models"][0]["jobs"][0][0]["slices"], 12, "{of_folder}");

    let service = site.serve();
    dcmsend(&examination.files, site.dicom_port());
    wait_until("the study to be known", COMMAND_LIMIT, || {
        let answer = service.api.get(&format!("/v1/studies/{study}"));
        (answer.status == 200 && answer.json()["looked_at"] == true).then_some(())
    });
    let of_study = routed(&site, &[&study]);
    assert_eq!(of_study[0]["models"][0]["jobs"][0][0]["slices"], 12, "{of_study}");
    assert_eq!(routed(&site, &["--last", "5"])[0]["study"], study.as_str());

    // A rule is tried on what has come, before the service has it.
    site.also(RULE);
    let ruled = routed(&site, &["--last", "5"]);
    assert_eq!(ruled[0]["models"][0]["jobs"].as_array().map(Vec::len), Some(0), "{ruled}");
    let because = &ruled[0]["models"][0]["not_chosen"][0]["because"];
    assert_eq!(because["condition"], "site rule series_description_not");
    let text = site.run(&["route", &study]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("no job"), "{text:?}");
}

#[test]
fn a_rule_that_cannot_be_meant_is_refused() {
    for (rule, says) in [
        ("series_description = '('", "regular expression"),
        ("destinations = ['nowhere']", "nowhere"),
        ("colour = 'red'", "colour"),
    ] {
        let site = Site::with_models(&bright(), "");
        site.also(&format!("[[site_rule]]\nmodel = 'bright'\n{rule}\n"));
        let output = site.run(&["config"]);
        assert_eq!(output.status.code(), Some(64), "{rule}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{rule}: {output:?}");
    }
}
