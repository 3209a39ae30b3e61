//! From weights to a package in service, with no code; and a model on a file that is no DICOM.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use peers::{Guarded, python};
use serde_json::Value;

use crate::{service::Site, study::Study};

/// A script in the peers' Python, which may take its time on a busy machine.
fn python_says(script: &str, args: &[&OsStr]) -> Output {
    let mut command = Command::new(python());
    command.args(["-c", script]).args(args);
    Guarded::output(command, Duration::from_secs(120))
}

fn run(site: &Site, args: &[&str]) -> (bool, String) {
    let output = site.run(args);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn check_leads_from_a_skeleton_to_a_package_in_service() {
    let site = Site::new("");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let weights = repository.join("inference/tests/models/threshold.onnx");
    let dir = site.path().join("my-model").to_string_lossy().into_owned();
    assert!(run(&site, &["model", "new", &dir]).0);
    let (is_again, said) = run(&site, &["model", "new", &dir]);
    assert!(!is_again && said.contains("is there already"), "{said}");

    let check = || run(&site, &["model", "check", "--record", &dir]);
    let manifest = Path::new(&dir).join("model.toml");
    let replace = |old: &str, new: &str| {
        let text = std::fs::read_to_string(&manifest).expect("a description");
        assert!(text.contains(old), "{text}");
        std::fs::write(&manifest, text.replace(old, new)).expect("written");
    };

    let (is_ok, said) = check();
    assert!(!is_ok && said.contains("model.onnx") && said.contains("there is no such file"), "{said}");
    std::fs::copy(&weights, Path::new(&dir).join("model.onnx")).expect("copied");
    let (is_ok, said) = check();
    assert!(!is_ok && said.contains("has the SHA-256"), "{said}");
    let digest = said.split("has the SHA-256 ").nth(1).and_then(|rest| rest.get(..64)).expect("a digest");
    replace(&"0".repeat(64), digest);
    replace("tensor = \"logits\"", "tensor = \"scores\"");
    let (is_ok, said) = check();
    assert!(!is_ok && said.contains("its outputs are \"logits\""), "{said}");
    replace("tensor = \"scores\"", "tensor = \"logits\"");
    let (is_ok, said) = check();
    assert!(is_ok && said.contains("ok: description, digests, graph and self-test"), "{said}");
    // What was recorded is what the next check compares.
    let (is_ok, said) = run(&site, &["model", "check", &dir]);
    assert!(is_ok, "{said}");
}

#[test]
fn a_nifti_file_gives_the_findings_of_its_dicom_series() {
    let site = Site::new("");
    let study = Study::small(4);
    let input = study.path().to_string_lossy().into_owned();
    let nifti = site.path().join("t1.nii.gz").to_string_lossy().into_owned();
    let convert = r#"
import sys, glob, numpy, pydicom, nibabel
files = [pydicom.dcmread(p) for p in glob.glob(sys.argv[1] + "/**/*", recursive=True) if not __import__("os").path.isdir(p)]
files = [f for f in files if f.SeriesInstanceUID == sys.argv[3]]
row, column = (numpy.array(files[0].ImageOrientationPatient[i:i + 3], float) for i in (0, 3))
files.sort(key=lambda f: numpy.dot(numpy.cross(row, column), f.ImagePositionPatient))
origin = numpy.array(files[0].ImagePositionPatient, float)
step = (numpy.array(files[-1].ImagePositionPatient, float) - origin) / (len(files) - 1)
spacing = files[0].PixelSpacing
affine = numpy.eye(4)
affine[:3] = numpy.stack([row * spacing[1], column * spacing[0], step, origin], 1)
affine[:2] *= -1
voxels = numpy.stack([f.pixel_array * float(f.get("RescaleSlope", 1)) + float(f.get("RescaleIntercept", 0)) for f in files])
nibabel.save(nibabel.Nifti1Image(voxels.transpose(2, 1, 0).astype(numpy.float32), affine), sys.argv[2])
"#;
    let series = study.truth["series_uid"].as_str().expect("a series");
    let made = python_says(convert, &[input.as_ref(), nifti.as_ref(), series.as_ref()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let findings = |input: &str, out: &str| -> Value {
        let output = site.run(&["run", "--model", "mr-brain-seg", "--in", input, "--out", out, "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let (of_dicom, of_nifti) = (findings(&input, "dicom"), findings(&nifti, "nifti"));
    let segment = |said: &Value| said["findings"]["segments"][0]["measures"].clone();
    for measure in ["volume_ml", "mean"] {
        let (one, other) = (segment(&of_dicom)[measure].as_f64(), segment(&of_nifti)[measure].as_f64());
        let (one, other) = (one.expect("a lesion"), other.expect("a lesion"));
        assert!((one - other).abs() < 1e-3 * one, "{measure}: {one} and {other}");
    }
    assert!(of_nifti["series_uid"].is_null());

    let names = |said: &Value| -> Vec<String> {
        let files = said["files"].as_array().expect("files").iter();
        let name = |file: &Value| file.as_str().and_then(|file| file.rsplit('/').next()).map(str::to_owned);
        files.filter_map(name).collect()
    };
    assert!(!names(&of_nifti).iter().any(|name| name.ends_with(".dcm")), "{of_nifti}");
    for (said, folder) in [(&of_dicom, "dicom"), (&of_nifti, "nifti")] {
        assert!(names(said).contains(&"preview-1.png".to_owned()), "{said}");
        let picture = site.path().join(folder).join("preview-1.png");
        let look = "import sys, PIL.Image as I, numpy; a = numpy.array(I.open(sys.argv[1])); print(*a.shape, int((a == [0xd7, 0x30, 0x1f]).all(-1).sum()))";
        let seen = python_says(look, &[picture.as_ref()]);
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        let numbers: Vec<usize> = seen.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // The slice, the notice below it, and the edge of the lesion in its colour.
        assert!(numbers.len() == 4 && numbers[0] > 256 && numbers[1] == 256 && numbers[3] > 10, "{seen}");
    }
}
