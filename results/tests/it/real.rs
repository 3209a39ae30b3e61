//! Real series of several vendors: what holds for synthetic ones must hold for them.

use std::path::{Path, PathBuf};

use ndarray::Array3;
use results::{Finding, Measurement, Point, Quantity, SegmentFinding, Source};

use crate::{
    programs,
    report::{report, save},
    segmentation::{Written, production, save_labels, segment, segments},
};

/// Files of a series, unpacked when it is an archive.
fn unpacked(name: &str, folder: &Path) -> Vec<PathBuf> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    let to = folder.join("dicom");
    std::fs::create_dir(&to).unwrap();
    if name.ends_with(".tar.xz") {
        let tar = peers::program("tar", &[], "tar");
        let status =
            std::process::Command::new(tar).arg("xJf").arg(&from).arg("-C").arg(&to).status().unwrap();
        assert!(status.success(), "tar xJf {}", from.display());
    } else {
        std::fs::copy(&from, to.join("image.dcm")).unwrap();
    }
    let mut files = Vec::new();
    collect(&to, &mut files);
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Two balls in the volume, one of them on its last slice.
fn balls(source: &Source) -> Array3<u8> {
    let shape = (source.frames().len(), source.rows() as usize, source.columns() as usize);
    let (slices, rows, columns) = (shape.0 as f64, shape.1 as f64, shape.2 as f64);
    Array3::from_shape_fn(shape, |(slice, row, column)| {
        let at = [slice as f64 / slices, row as f64 / rows, column as f64 / columns];
        let distance = |center: [f64; 3]| {
            at.iter().zip(center).map(|(at, center)| (at - center).powi(2)).sum::<f64>().sqrt()
        };
        if distance([0.4, 0.4, 0.4]) < 0.2 {
            1
        } else if distance([0.9, 0.6, 0.7]) < 0.15 {
            2
        } else {
            0
        }
    })
}

#[track_caller]
fn check(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let sources = unpacked(name, folder.path());
    let source = Source::read(&sources).unwrap();
    let labels = balls(&source);
    let segmentation = segment(&production(), &source, &labels).remove(0);
    let seg = folder.path().join("seg.dcm");
    std::fs::write(&seg, &segmentation.encoded.bytes).unwrap();
    programs::dciodvfy(&seg);
    let raw = save_labels(&labels, folder.path());
    programs::python("seg_voxels.py", &[&seg, sources[0].parent().unwrap(), &raw]);

    let written = Written { folder, sources, source, seg, segmentation };
    let frame = (written.source.frames().len() as f64 * 0.4) as usize;
    let point = Point { frame, row: written.source.rows() * 2 / 5, column: written.source.columns() * 2 / 5 };
    let finding = Finding::Segment(SegmentFinding {
        segment: segments().remove(0),
        segmentation: Some((written.segmentation.encoded.reference.clone(), 1)),
        point,
        measurements: vec![Measurement { quantity: Quantity::Mean, value: 41.5 }],
    });
    let sr = save(&written, "sr.dcm", &report(&production(), &written, &[finding]));
    programs::dciodvfy(&sr);
    assert!(programs::python("sr_read.py", &[&sr]).starts_with("1 groups UNVERIFIED"));

    check_entities(&written, sr);
}

/// What `dcentvfy` says of source and results together, beyond what it says of the source.
#[track_caller]
fn check_entities(written: &Written, sr: PathBuf) {
    let before = programs::dcentvfy(&written.sources);
    let mut all = written.sources.clone();
    all.extend([written.seg.clone(), sr]);
    let is_about_results = |line: &String| {
        // it has Accession Number in the series of images and in the study of reports, whoever writes them
        let is_its_own_view = line.contains("Different information entities for attribute");
        // what PS3.3 requires of a patient and the GE source lacks
        let is_repaired = ["<PatientBirthDate>", "<PatientSex>", "<DeidentificationMethod>"]
            .into_iter()
            .any(|element| line.contains(element))
            && (line.contains("not the other") || line.contains("is empty (zero length)"));
        !is_its_own_view && !is_repaired && !before.contains(line)
    };
    let after: Vec<String> = programs::dcentvfy(&all).into_iter().filter(is_about_results).collect();
    assert!(after.is_empty(), "{after:#?}");
}

#[test]
fn a_sagittal_brain_of_siemens() {
    check("mr-brain/siemens-prisma-t1-sag2d.tar.xz");
}

#[test]
fn a_head_ct_of_philips() {
    check("ct-head/philips-ingenuity-head-5mm.tar.xz");
}

#[test]
fn a_tilted_and_uneven_head_ct_of_ge() {
    check("ct-odd/ge-hispeed-head-tilt-uneven.tar.xz");
}

#[test]
fn an_enhanced_multi_frame_brain_of_siemens() {
    check("mr-enhanced/siemens-xa30-t1w-enhanced.dcm");
}
