//! Commands that need no server.

use std::process::Command;

use peers::{dcmtk, python};
use serde_json::Value;

use crate::{refusals::copy, service::Site, study::Study};

#[test]
fn run_writes_what_the_service_would_have_written() {
    let site = Site::new("");
    let study = Study::small(4);
    let input = study.path().to_string_lossy().into_owned();
    let output = site.run(&["run", "--model", "mr-brain-seg", "--in", &input, "--out", "out", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["series_uid"], study.truth["series_uid"]);
    for file in ["seg.dcm", "sr.dcm", "mask.nii.gz", "findings.json"] {
        assert!(site.path().join("out").join(file).is_file(), "{file} was not written");
    }
    let script = r#"
import sys, nibabel, numpy, highdicom
mask = nibabel.load(sys.argv[1]); seg = highdicom.seg.segread(sys.argv[2])
print(int(numpy.count_nonzero(mask.get_fdata())), int(numpy.count_nonzero(seg.pixel_array)))
"#;
    let out = site.path().join("out");
    let read = Command::new(python())
        .args(["-c", script])
        .args([out.join("mask.nii.gz"), out.join("seg.dcm")])
        .output()
        .expect("Python runs");
    let counts = String::from_utf8_lossy(&read.stdout).into_owned();
    let counts: Vec<u64> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 2 && counts[0] > 0 && counts[0] == counts[1], "{counts:?} {read:?}");
}

#[test]
fn a_package_that_asks_for_a_summary_page_gets_one() {
    let site = Site::new("");
    let study = Study::small(4);
    let package = site.path().join("mr-brain-seg");
    copy(&peers::workspace().join("models/mr-brain-seg"), &package);
    let manifest = package.join("model.toml");
    let text = std::fs::read_to_string(&manifest).expect("a copied package");
    std::fs::write(&manifest, text.replace("[writes]", "[writes]\nsummary = true")).expect("our own copy");
    let input = study.path().to_string_lossy().into_owned();
    let output = site.run(&["run", "--model", "./mr-brain-seg", "--in", &input, "--out", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = "import sys, pydicom; d = pydicom.dcmread(sys.argv[1]); print(d.SOPClassUID, d.pixel_array.shape, d.PatientID)";
    let read = Command::new(python()).args(["-c", script]).arg(site.path().join("out/summary.dcm")).output();
    let read = String::from_utf8_lossy(&read.expect("Python runs").stdout).into_owned();
    assert!(read.starts_with("1.2.840.10008.5.1.4.1.1.7 (") && read.contains(", 800, 3)"), "{read}");
}

#[test]
fn a_model_that_does_not_suit_says_which_condition_failed() {
    let site = Site::new("");
    let study = Study::small(4);
    let input = study.path().to_string_lossy().into_owned();
    let output = site.run(&["run", "--model", "ct-brain-class", "--in", &input, "--out", "out"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("modality") && said.contains("MR") && said.contains("CT"), "{said}");
}

#[test]
fn seg_writes_a_label_map_that_highdicom_reads() {
    let site = Site::new("");
    let study = Study::small(5);
    let labels = site.path().join("labels.npy");
    let make = "import sys, numpy; a = numpy.zeros((40, 256, 256), numpy.uint8); a[10:12, 100:110, 90:95] = 1; numpy.save(sys.argv[1], a)";
    let made = Command::new(python()).args(["-c", make]).arg(&labels).status();
    assert!(made.is_ok_and(|status| status.success()));
    std::fs::write(
        site.path().join("labels.toml"),
        "[[output.label]]\nvalue = 1\nname = \"Box\"\ncolor = \"#ff0000\"\n\
         category = [\"49755003\", \"SCT\", \"Morphologically Abnormal Structure\"]\n\
         type = [\"52988006\", \"SCT\", \"Lesion\"]\n",
    )
    .expect("a file in our folder");
    let source = study.path().to_string_lossy().into_owned();
    let arguments = [
        "seg",
        "--source",
        &source,
        "--labels",
        "labels.npy",
        "--describe",
        "labels.toml",
        "--out",
        "seg.dcm",
    ];
    let output = site.run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = peers::workspace().join("tests/e2e/read_seg.py");
    let read = Command::new(python()).arg(script).arg(site.path().join("seg.dcm")).arg(study.path()).output();
    let read: Value = serde_json::from_slice(&read.expect("Python runs").stdout).expect("JSON");
    assert_eq!(read["frames_without_source"], 0, "{read}");
    assert_eq!(read["segments"][0]["voxels"], 2 * 10 * 5, "{read}");
}

#[test]
fn only_label_maps_are_compressed() {
    let site = Site::new("");
    let arguments = ["seg", "--source", ".", "--labels", "l.npy", "--describe", "l.toml", "--out", "seg.dcm"];
    let output = site.run(&[&arguments[..], &["--rle"]].concat());
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--kind labelmap"));
}

#[test]
fn send_and_echo_work_against_dcmtk() {
    let site = Site::new("");
    let study = Study::small(6);
    let port = peers::free_port();
    let inbox = site.path().join("inbox");
    std::fs::create_dir(&inbox).expect("a folder in our folder");
    let mut storescp = peers::mortal(dcmtk("storescp"));
    storescp.args(["--output-directory", &inbox.to_string_lossy(), &port.to_string()]);
    let _storescp = peers::Guarded::spawn(storescp);
    let address = format!("127.0.0.1:{port}");
    peers::wait_until("storescp to answer an echo", std::time::Duration::from_secs(20), || {
        site.run(&["echo", &address, "--called", "ANY-SCP"]).status.success().then_some(())
    });
    let source = study.path().to_string_lossy().into_owned();
    let output =
        site.run(&["send", &address, &source, "--called", "ANY-SCP", "--associations", "2", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["sent"], 40, "{report}");
    assert_eq!(std::fs::read_dir(&inbox).expect("our folder").count(), 40);
}
