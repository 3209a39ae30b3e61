//! The registry: who serves, who is refused, what a reload changes.

use std::{fs, sync::Arc};

use inference::{Demonstrations, ModelId, Registry, RegistryOptions};

use crate::{
    fixture::{Folder, HEAD, runtime, segmentation, threads},
    parity::table,
};

fn load(folder: &Folder, allow_demonstration: Demonstrations) -> Registry {
    let options = RegistryOptions { allow_demonstration, device: inference::Device::Cpu, threads: threads() };
    Registry::load(folder.path(), &runtime(), options).unwrap()
}

fn nobody() -> Demonstrations {
    Demonstrations::Named(Vec::new())
}

fn manifest() -> String {
    segmentation("", "")
}

fn active(registry: &Registry) -> Vec<String> {
    registry.active().iter().map(|model| model.package().full_name()).collect()
}

#[test]
fn the_highest_version_serves_and_the_others_answer_to_their_own() {
    let folder = Folder::new();
    folder.install("tiny", "threshold.onnx", &manifest());
    folder.install("tiny@1.10.0", "threshold.onnx", &manifest().replace("1.0.0", "1.10.0"));
    let shadow = manifest().replace("1.0.0", "2.0.0") + "[writes]\npolicy = \"shadow\"\n";
    folder.install("tiny@2.0.0", "threshold.onnx", &shadow);
    let registry = load(&folder, nobody());
    assert_eq!(active(&registry), ["tiny@1.10.0"]);
    assert_eq!(registry.get("tiny").unwrap().package().full_name(), "tiny@1.10.0");
    assert_eq!(registry.get("tiny@1.0.0").unwrap().package().full_name(), "tiny@1.0.0");
    assert_eq!(registry.shadows()[0].package().full_name(), "tiny@2.0.0");
    assert!(registry.get("other").is_none() && registry.get("tiny@9.9.9").is_none());
}

#[test]
fn demonstrations_serve_only_when_they_are_named() {
    let folder = Folder::new();
    let manifest = manifest().replace("\"for tests\"", "\"demonstration\"\naliases = [\"T1\"]");
    folder.install("tiny", "threshold.onnx", &manifest);
    let registry = load(&folder, nobody());
    assert!(registry.active().is_empty());
    assert!(registry.refused().is_empty(), "a demonstration that nobody named is no fault");
    assert_eq!(registry.held_back()[0].id, ModelId::new("tiny"));
    assert_eq!(active(&load(&folder, Demonstrations::Named(vec![ModelId::new("T1")]))), ["tiny@1.0.0"]);
    assert_eq!(active(&load(&folder, Demonstrations::All)), ["tiny@1.0.0"]);
}

#[test]
fn a_version_that_fails_its_self_test_never_replaces_the_one_that_serves() {
    let folder = Folder::new();
    folder.install("tiny", "threshold.onnx", &manifest());
    let registry = load(&folder, nobody());
    let serving = registry.get("tiny").unwrap();

    let dir = folder.install("tiny", "threshold.onnx", &manifest().replace("1.0.0", "1.0.1"));
    let expected = dir.join("selftest/expected.npy");
    let off = inference::npy::read(&expected).unwrap().mapv(|value| value + 0.5);
    inference::npy::write_f64(&expected, &off).unwrap();
    let report = registry.reload().unwrap();

    assert_eq!(report.unchanged, ["tiny@1.0.0"]);
    assert!(report.added.is_empty() && report.removed.is_empty());
    let refused = &registry.refused()[0];
    assert!(refused.reason.starts_with("the self-test failed: the output is off by 5"), "{}", refused.reason);
    assert_eq!(refused.still_serving.as_deref(), Some("tiny@1.0.0"));
    assert!(Arc::ptr_eq(&serving, &registry.get("tiny").unwrap()));
}

#[test]
fn a_reload_opens_only_what_changed_and_drops_what_is_gone() {
    let folder = Folder::new();
    folder.install("tiny", "threshold.onnx", &manifest());
    let other = manifest().replace("id = \"tiny\"", "id = \"other\"");
    folder.install("other", "threshold.onnx", &other);
    let registry = load(&folder, nobody());
    let held = registry.get("other").unwrap();

    fs::remove_dir_all(folder.path().join("other")).unwrap();
    folder.install("tiny", "threshold.onnx", &manifest().replace("1.0.0", "1.1.0"));
    let report = registry.reload().unwrap();

    assert_eq!(report.added, ["tiny@1.1.0"]);
    assert_eq!(report.removed, ["other@1.0.0", "tiny@1.0.0"]);
    assert!(registry.get("other").is_none());
    // A run that holds the model finishes on it.
    assert!(held.self_test().is_err(), "its files are gone");
    assert_eq!(held.package().full_name(), "other@1.0.0");
}

#[test]
fn two_models_may_not_share_a_name() {
    let folder = Folder::new();
    folder.install(
        "alpha",
        "threshold.onnx",
        &manifest().replace("id = \"tiny\"", "id = \"alpha\"\naliases = [\"M1\"]"),
    );
    folder.install(
        "beta",
        "threshold.onnx",
        &manifest().replace("id = \"tiny\"", "id = \"beta\"\naliases = [\"M1\"]"),
    );
    folder.install("alpha@copy", "threshold.onnx", &manifest().replace("id = \"tiny\"", "id = \"alpha\""));
    let registry = load(&folder, nobody());
    let reasons = registry.refused().into_iter().map(|refused| refused.reason).collect::<Vec<_>>();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("alpha@1.0.0 is there twice: also in "), "{reasons:?}");
    assert_eq!(reasons[1], "the name \"M1\" belongs to alpha@1.0.0");
}

fn fusion(id: &str, needs: &str) -> String {
    let head = HEAD.replace("id = \"tiny\"", &format!("id = \"{id}\""));
    format!(
        "task = \"fusion\"\n{head}\n[[fusion.feature]]\nname = \"risk\"\nmodel = \"{needs}\"\nmeasure = \"probability\"\n\
         [tabular]\n[[tabular.feature]]\nname = \"age\"\n[[tabular.feature]]\nname = \"dose\"\n\
         [input]\ntensor = \"selected\"\n[output]\ntensor = \"probability\"\n"
    )
}

#[test]
fn a_circle_of_fusions_is_refused_and_the_way_is_named() {
    let folder = Folder::new();
    folder.install("one", "forest.onnx", &fusion("one", "two"));
    folder.install("two", "forest.onnx", &fusion("two", "one"));
    folder.install("three", "forest.onnx", &fusion("three", "tiny"));
    folder.install("tiny", "forest.onnx", &table());
    let registry = load(&folder, nobody());
    assert_eq!(active(&registry), ["three@1.0.0", "tiny@1.0.0"]);
    let reasons = registry.refused().into_iter().map(|refused| refused.reason).collect::<Vec<_>>();
    assert_eq!(reasons, ["a circle of fusions: one → two → one", "a circle of fusions: two → one → two"]);
}

#[test]
fn a_fusion_takes_findings_and_names_what_is_missing() {
    use std::collections::BTreeMap;

    use inference::{Findings, Outcome, Prediction};

    let folder = Folder::new();
    folder.install("three", "forest.onnx", &fusion("three", "tiny"));
    let registry = load(&folder, nobody());
    let model = registry.get("three").unwrap();
    let row = BTreeMap::from([("age".to_owned(), 60.0), ("dose".to_owned(), 1.0)]);
    let none = model.fuse(&BTreeMap::new(), &row).unwrap();
    assert_eq!(
        none,
        Outcome::NotAnalysed { reason: "risk needs the findings of tiny, there are none".into() }
    );

    let risk = Prediction { probability: 0.9, label: 1, threshold: 0.5, warnings: Vec::new() };
    let findings = BTreeMap::from([(ModelId::new("tiny"), Findings::Tabular(risk))]);
    let Outcome::Findings(answer) = model.fuse(&findings, &row).unwrap() else { panic!("analysed") };
    // Trees: 0.9 > 0.3 → 1; 60 > 50 → 1; 1 ≤ 2.5 → 0.75; 0.9 > 0.7 → 1.
    assert_eq!(answer.probability, 3.75 / 4.0);
}

#[test]
fn every_shipped_package_passes_its_self_test() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let options = RegistryOptions {
        allow_demonstration: Demonstrations::All,
        device: inference::Device::Cpu,
        threads: threads(),
    };
    let registry = Registry::load(&models, &runtime(), options).unwrap();
    assert_eq!(registry.refused(), []);
    let computed_by = |id: &str| registry.get(id).unwrap().computed_by();
    assert_eq!(computed_by("meso"), "300 trees in process, with the bits of ONNX Runtime");
    assert_eq!(computed_by("mm-fusion"), "150 trees in process, with the bits of ONNX Runtime");
    assert!(computed_by("mg-expression").starts_with("ONNX Runtime on cpu: "));
    assert_eq!(computed_by("mr-brain-seg"), "ONNX Runtime on cpu");
}

#[test]
fn a_registry_without_models_stays_empty() {
    let registry = Registry::empty();
    registry.reload().unwrap();
    assert!(registry.active().is_empty() && registry.get("tiny").is_none());
}
