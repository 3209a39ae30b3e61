//! More than one run for one answer: flips, ensembles, neighbouring slices; and versions side by side while reloading.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use inference::{
    Control, Demonstrations, Device, Model, Outcome, Package, Registry, RegistryOptions, Segmentation,
};
use ndarray::{Array3, s};
use sha2::{Digest as _, Sha256};

use crate::fixture::{
    Folder, open, reference, reference_volume, runtime, segmentation, threads, volume, with_label,
};

fn segment(model: &Model, voxels: Array3<f32>) -> Segmentation {
    match model.segment(vec![volume(voxels)], &Control::unattended()).unwrap() {
        Outcome::Findings(found) => found,
        Outcome::NotAnalysed { reason } => panic!("{reason}"),
    }
}

#[test]
fn flips_give_the_label_map_of_numpy() {
    let folder = Folder::new();
    let manifest = with_label(&segmentation("", "overlap = 0.25"), 2)
        .replace("activation = \"softmax\"", "activation = \"softmax\"\ntest_time_flips = [\"x\", \"z\"]");
    let found = segment(&folder.model("conv.onnx", &manifest), reference_volume("windows_input.npy"));
    let expected = reference("flips.npy").mapv(|label| label as u8);
    let plain = reference("windows_25.npy").mapv(|label| label as u8);
    let differ =
        |other: &ndarray::ArrayD<u8>| found.labels.labels.iter().zip(other).filter(|(a, b)| a != b).count();
    assert_eq!(differ(&expected), 0);
    assert!(differ(&plain) > 1000, "the flips matter here");
}

/// A package of two graphs.
fn ensemble(folder: &Folder, graph: &str, manifest: &str) -> Model {
    let weights = fs::read(format!("{}/tests/models/{graph}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let digest = Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let second = format!("[[weights]]\nfile = \"second.onnx\"\nsha256 = \"{digest}\"\n[selftest]");
    let dir = folder.write("tiny", "threshold.onnx", &manifest.replacen("[selftest]", &second, 1));
    fs::write(dir.join("second.onnx"), weights).unwrap();
    open(&dir)
}

#[test]
fn an_ensemble_answers_with_the_mean_of_its_members() {
    let mut voxels = Array3::zeros((20, 20, 20));
    voxels.slice_mut(s![2..6, .., ..]).fill(0.6);
    voxels.slice_mut(s![10..14, .., ..]).fill(0.7);
    let (alone, both) = (Folder::new(), Folder::new());
    let manifest = segmentation("", "");
    let one = segment(&alone.model("threshold.onnx", &manifest), voxels.clone());
    assert_eq!(one.findings.segments[0].measures.unwrap().voxels, 2 * 4 * 400);
    // One turns at 0.5, the other at 0.8: the mean of both at 0.65.
    let mean = segment(&ensemble(&both, "later.onnx", &manifest), voxels);
    let found = mean.findings.segments[0].measures.unwrap();
    assert_eq!((found.voxels, found.bounding_box.first[2]), (4 * 400, 10));
}

#[test]
fn members_whose_outputs_do_not_match_are_refused_and_not_added() {
    let folder = Folder::new();
    let model = ensemble(&folder, "conv.onnx", &segmentation("", ""));
    let error = model.segment(vec![volume(Array3::zeros((16, 16, 16)))], &Control::unattended()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model's output has the shape [1, 3, 16, 16, 16]: expected [1, 2, 16, 16, 16]"
    );
}

#[test]
fn a_slice_is_seen_with_its_neighbours() {
    let mut voxels = Array3::zeros((12, 20, 20));
    voxels.slice_mut(s![4..7, 3..8, 5..9]).fill(1.0);
    voxels.slice_mut(s![0, 15.., 15..]).fill(1.0);
    let folder = Folder::new();
    let manifest = segmentation("neighbours = 1", "")
        .replace("dimensions = 3", "dimensions = 2")
        .replace("[window]\nroi = [16, 16, 16]\n", "");
    let found = segment(&folder.model("before.onnx", &manifest), voxels.clone());
    // Label 1 where the slice before is bright; before the first slice stands the first again.
    let mut expected = Array3::zeros((12, 20, 20));
    expected.slice_mut(s![1.., .., ..]).assign(&voxels.slice(s![..11, .., ..]));
    expected.slice_mut(s![0, .., ..]).assign(&voxels.slice(s![0, .., ..]));
    assert_eq!(found.labels.labels, expected.mapv(|value| value as u8));
}

#[test]
fn a_device_that_the_runtime_lacks_is_an_error_and_never_the_cpu_in_silence() {
    let folder = Folder::new();
    let dir = folder.write("tiny", "threshold.onnx", &segmentation("", ""));
    for device in ["cuda", "tensorrt", "tensorrt:1", "openvino"] {
        let device: Device = device.parse().unwrap();
        let error = Model::open(&runtime(), Package::read(&dir).unwrap(), device, threads()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the device {device} cannot be used: this ONNX Runtime has no provider for it, or its driver is missing"
            )
        );
    }
}

#[test]
fn whoever_asks_during_a_reload_finds_one_whole_version() {
    let folder = Folder::new();
    let version = |number: usize| segmentation("", "").replace("1.0.0", &format!("1.0.{number}"));
    folder.install("tiny", "threshold.onnx", &version(0));
    let options = RegistryOptions {
        allow_demonstration: Demonstrations::Named(Vec::new()),
        device: Device::Cpu,
        threads: threads(),
    };
    let registry = Registry::load(folder.path(), &runtime(), options).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut last = None;
            while !over.load(Ordering::Relaxed) {
                let model = registry.get("tiny").expect("some version always serves");
                assert_eq!(registry.active().len(), 1);
                let version = model.package().version;
                assert!(last.is_none_or(|last| last <= version), "an older version came back");
                last = Some(version);
            }
        });
        for number in 1..=6 {
            folder.install("tiny", "threshold.onnx", &version(number));
            assert_eq!(registry.reload().unwrap().added, [format!("tiny@1.0.{number}")]);
            // Half written: what serves goes on.
            fs::write(folder.path().join("tiny/model.onnx"), "half").unwrap();
            let report = registry.reload().unwrap();
            assert_eq!(report.unchanged, [format!("tiny@1.0.{number}")]);
            assert_eq!(report.refused.len(), 1);
        }
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
}

#[test]
fn a_shadow_version_stands_beside_the_one_that_writes_and_never_answers_for_it() {
    let folder = Folder::new();
    folder.install("tiny", "threshold.onnx", &segmentation("", ""));
    let shadow = segmentation("", "").replace("1.0.0", "2.0.0") + "[writes]\npolicy = \"shadow\"\n";
    folder.install("tiny@2.0.0", "later.onnx", &shadow);
    let options =
        RegistryOptions { allow_demonstration: Demonstrations::All, device: Device::Cpu, threads: threads() };
    let registry = Registry::load(folder.path(), &runtime(), options).unwrap();
    let voxels = Array3::from_elem((16, 16, 16), 0.6);
    let found = |model: &Model| segment(model, voxels.clone()).findings.segments[0].is_present();
    assert!(found(&registry.get("tiny").unwrap()));
    assert!(!found(&registry.shadows()[0]), "the shadow turns at 0.8");
    assert!(!found(&registry.get("tiny@2.0.0").unwrap()));
    fs::remove_dir_all(folder.path().join("tiny")).unwrap();
    registry.reload().unwrap();
    assert!(registry.get("tiny").is_none(), "a shadow does not take the place of what is gone");
}
