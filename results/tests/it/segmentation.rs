//! Segmentations, read back by others.

use std::path::{Path, PathBuf};

use imaging::Code;
use ndarray::Array3;
use results::{
    Algorithm, Identity, IntendedUse, Production, Profile, Segment, Segmentation, SegmentationInput,
    SegmentationType, Source,
};
use tempfile::TempDir;
use time::macros::datetime;

use crate::{
    programs,
    sources::{self, Patient, Spec},
};

pub(crate) fn production() -> Production {
    Production {
        identity: Identity { installation: uuid::Uuid::from_u128(0x0123_4567_89ab), job_key: "job 1".into() },
        algorithm: Algorithm {
            id: "probe-seg".into(),
            name: "Probe structures".into(),
            version: "1.2".into(),
            manufacturer: "Overread".into(),
            digest: "abc".into(),
            parameters: vec!["overlap=0.5".into()],
        },
        written_at: datetime!(2024-05-06 08:09:10 UTC),
        intended_use: IntendedUse::Stated,
        profile: Profile::default(),
    }
}

pub(crate) fn segments() -> Vec<Segment> {
    let anatomical = || Code::new("123037004", "SCT", "Anatomical Structure");
    let brain = Code::new("12738006", "SCT", "Brain");
    vec![
        Segment {
            color: Some([255, 0, 0]),
            region: Some(brain.clone()),
            ..Segment::new(
                1,
                "Lesion",
                Code::new("49755003", "SCT", "Morphologically Abnormal Structure"),
                Code::new("108369006", "SCT", "Neoplasm"),
            )
        },
        Segment { color: Some([0, 255, 0]), ..Segment::new(2, "Brain", anatomical(), brain) },
        Segment::new(5, "Never there", anatomical(), Code::new("10200004", "SCT", "Liver")),
        Segment {
            type_modifier: Some(Code::new("7771000", "SCT", "Left")),
            ..Segment::new(7, "Kidney", anatomical(), Code::new("64033007", "SCT", "Kidney"))
        },
    ]
}

pub(crate) fn segment(production: &Production, source: &Source, labels: &Array3<u8>) -> Vec<Segmentation> {
    let input = SegmentationInput { production, source, segments: &segments(), probabilities: None };
    results::segmentation(&input, labels.view()).expect("the segmentation is written")
}

/// One source on disk with its segmentation beside it.
pub(crate) struct Written {
    pub(crate) folder: TempDir,
    pub(crate) sources: Vec<PathBuf>,
    pub(crate) source: Source,
    pub(crate) seg: PathBuf,
    pub(crate) segmentation: Segmentation,
}

pub(crate) fn written(spec: &Spec, production: &Production) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let dicom = folder.path().join("dicom");
    std::fs::create_dir(&dicom).unwrap();
    let sources = spec.write(&dicom);
    let source = Source::read(&sources).unwrap();
    let segmentation = segment(production, &source, &sources::labels()).remove(0);
    let seg = folder.path().join("seg.dcm");
    std::fs::write(&seg, &segmentation.encoded.bytes).unwrap();
    Written { folder, sources, source, seg, segmentation }
}

pub(crate) fn save_labels(labels: &Array3<u8>, folder: &Path) -> PathBuf {
    let path = folder.join("labels.u8");
    std::fs::write(&path, labels.as_slice().unwrap()).unwrap();
    path
}

#[test]
fn binary_segmentations_have_no_dciodvfy_error() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        programs::dciodvfy(&written.seg);
    }
}

#[test]
fn highdicom_reads_the_same_voxels_at_the_same_positions() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        let labels = save_labels(&sources::labels(), written.folder.path());
        let dicom = written.sources[0].parent().unwrap();
        programs::python("seg_voxels.py", &[&written.seg, dicom, &labels]);
    }
}

#[test]
fn patient_and_study_stay_the_entities_of_the_source() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        let before = programs::dcentvfy(&written.sources);
        let mut all = written.sources.clone();
        all.push(written.seg.clone());
        // dcentvfy compares bytes, and a Korean name has other bytes in Unicode
        let same_text = |line: &String| spec.patient == Patient::Korean && line.contains("<PatientName>");
        let after: Vec<String> =
            programs::dcentvfy(&all).into_iter().filter(|line| !same_text(line)).collect();
        assert_eq!(after, before, "{}", spec.name);
    }
}

#[test]
fn a_korean_name_is_readable_in_the_segmentation() {
    let written = written(&sources::named("mr-korean"), &production());
    let name = programs::python("patient_name.py", &[&written.seg]);
    assert_eq!(name.trim(), "Hong^Gildong=洪^吉洞=홍^길동");
}

#[test]
fn dcmqi_reads_the_segmentation() {
    for spec in sources::all() {
        let read = read_by_dcmqi(&written(&spec, &production()));
        assert_eq!(read.images, 3, "{}: one image for each segment that is there", spec.name);
        assert_eq!(read.labels, ["Lesion", "Brain", "Kidney"], "{}", spec.name);
    }
}

#[test]
fn dcmqi_reads_the_label_map() {
    let mut production = production();
    production.profile.segmentation = SegmentationType::LabelMap;
    let read = read_by_dcmqi(&written(&sources::named("mr-oblique"), &production));
    assert_eq!(read.images, 1, "one image for all segments");
    assert_eq!(read.labels, ["Lesion", "Brain", "Kidney"]);
}

struct ReadByDcmqi {
    images: usize,
    labels: Vec<String>,
}

#[track_caller]
fn read_by_dcmqi(written: &Written) -> ReadByDcmqi {
    let out = written.folder.path().join("itk");
    std::fs::create_dir(&out).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    programs::python_command(
        "segimage2itkimage",
        &["--inputDICOM", &path(&written.seg), "--outputDirectory", &path(&out), "--outputType", "nifti"],
    );
    let mut images = 0;
    let mut labels = Vec::new();
    for entry in std::fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => images += 1,
            Some("json") => {
                let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let groups = meta["segmentAttributes"].as_array().unwrap().iter();
                let segments = groups.flat_map(|group| group.as_array().unwrap());
                labels.extend(segments.map(|one| one["SegmentLabel"].as_str().unwrap().to_owned()));
            }
            _ => {}
        }
    }
    ReadByDcmqi { images, labels }
}

#[test]
fn absent_segments_are_left_out_and_the_rest_is_numbered_from_one() {
    let written = written(&sources::named("mr-axial"), &production());
    assert_eq!(written.segmentation.numbers, [Some(1), Some(2), None, Some(3)]);
}

#[test]
fn two_runs_of_one_job_write_the_same_bytes() {
    let spec = sources::named("mr-oblique");
    for kind in [SegmentationType::Binary, SegmentationType::LabelMap, SegmentationType::Fractional] {
        let mut production = production();
        production.profile.segmentation = kind;
        let first = written(&spec, &production).segmentation.encoded;
        assert_eq!(first, written(&spec, &production).segmentation.encoded);
    }
}
