//! Label maps and descriptions as other programs write them.

use std::path::{Path, PathBuf};

use ndarray::Array3;
use results::{Description, LabelPlane, LabelsFileError, Source, open_labels};

use crate::{programs, segmentation::save_labels, sources};

/// A source, and its label map in every form.
struct Files {
    _folder: tempfile::TempDir,
    source: Source,
    out: PathBuf,
}

fn files(source: &str) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let dicom = folder.path().join("dicom");
    let out = folder.path().join("out");
    for each in [&dicom, &out] {
        std::fs::create_dir(each).unwrap();
    }
    let source = sources::named(source).read(&dicom);
    let labels = save_labels(&sources::labels(), folder.path());
    programs::python("label_files.py", &[&dicom, &labels, &out]);
    Files { _folder: folder, source, out }
}

#[track_caller]
fn read(path: &Path, source: &Source) -> Array3<u8> {
    let mut planes = open_labels(path, source).unwrap();
    let [slices, rows, columns] = planes.shape();
    let mut all = Vec::new();
    for slice in 0..slices {
        match planes.plane(slice).unwrap() {
            LabelPlane::Bytes(plane) => all.extend_from_slice(plane),
            LabelPlane::Words(_) => panic!("slice {slice} has no label above 255"),
        }
    }
    Array3::from_shape_vec((slices, rows, columns), all).unwrap()
}

#[test]
fn every_form_gives_the_same_labels() {
    for name in ["mr-axial", "mr-sagittal", "mr-oblique"] {
        let files = files(name);
        let forms = [
            "uint8.npy",
            "int16.npy",
            "big-endian.npy",
            "float64.npy",
            "uint8.nii",
            "int16.nii.gz",
            "flipped.nii.gz",
            "transposed.nii",
            "qform.nii.gz",
            "float32.nii",
        ];
        for form in forms {
            let read = read(&files.out.join(form), &files.source);
            assert!(read == sources::labels(), "{name}: {form}");
        }
    }
}

#[test]
fn a_volume_that_lies_elsewhere_is_refused_with_the_slice() {
    let files = files("mr-axial");
    let refused = open_labels(&files.out.join("shifted.nii"), &files.source).err();
    assert!(matches!(refused, Some(LabelsFileError::OffGrid { slice: 0, .. })), "{refused:?}");
}

#[test]
fn truncated_files_are_refused() {
    let files = files("mr-axial");
    for form in ["uint8.npy", "uint8.nii", "int16.nii.gz"] {
        let bytes = std::fs::read(files.out.join(form)).unwrap();
        let path = files.out.join(format!("cut-{form}"));
        std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        assert!(open_labels(&path, &files.source).is_err(), "{form}");
    }
}

#[test]
fn a_description_that_is_neither_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.json");
    std::fs::write(&path, r#"{"segmentAttributes": [[]]}"#).unwrap();
    let refused = Description::read(&path).unwrap_err().to_string();
    assert!(refused.ends_with("describes no label"), "{refused}");
}
