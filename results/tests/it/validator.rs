//! Objects with one fault each: the validator must name it.

use results::{Violation, validate};

use crate::{
    report::{findings, report},
    segmentation::{Written, production, written},
    sources,
};

fn axial() -> Written {
    written(&sources::named("mr-axial"), &production())
}

/// Replaces the first `from` after the last `after` by `to`, which has the same length.
fn tampered(bytes: &[u8], after: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let find = |start: usize, text: &str| {
        bytes[start..].windows(text.len()).position(|window| window == text.as_bytes()).map(|at| start + at)
    };
    let start = find(0, after).unwrap_or_else(|| panic!("{after} is not there"));
    let at = find(start, from).unwrap_or_else(|| panic!("{from} is not there"));
    let mut tampered = bytes.to_vec();
    tampered[at..at + to.len()].copy_from_slice(to.as_bytes());
    tampered
}

#[track_caller]
fn check_segmentation(after: &str, from: &str, to: &str, expected: impl Fn(&Violation) -> bool) {
    let written = axial();
    let bytes = tampered(&written.segmentation.encoded.bytes, after, from, to);
    let found = validate(&bytes, Some(&written.source)).expect_err("the fault is found");
    assert!(found.iter().any(expected), "{found:?}");
}

/// Per-frame Functional Groups Sequence begins here.
const FRAMES: &str = "\0R0";

#[test]
fn a_frame_on_another_patients_image_is_found() {
    check_segmentation(FRAMES, "1.2.826.0.1.3680043.10.1.2", "1.2.826.0.1.3680043.10.1.x", |found| {
        matches!(found, Violation::NoSuchSource { frame: 1, .. })
    });
}

#[test]
fn a_frame_that_lies_elsewhere_is_found() {
    let position = sources::named("mr-axial").position_text(1);
    let moved = position.replace("-60.5", "-60.6");
    check_segmentation(FRAMES, &position, &moved, |found| *found == Violation::Misplaced { frame: 1 });
}

#[test]
fn two_frames_for_one_place_are_found() {
    let spec = sources::named("mr-axial");
    let (second, first) = ("1.2.826.0.1.3680043.10.1.3", "1.2.826.0.1.3680043.10.1.2");
    check_segmentation(&spec.position_text(1), second, first, |found| {
        *found == Violation::RepeatedFrame { first: 1, second: 2 }
    });
}

#[test]
fn another_patient_is_found() {
    check_segmentation("DICM", "PID1", "PID2", |found| matches!(found, Violation::NotOfSource { .. }));
}

#[test]
fn another_count_of_frames_is_found() {
    let written = axial();
    let frames = written.segmentation.encoded.bytes.windows(4).position(|window| window == b"\x28\0\x08\0");
    let at = frames.expect("Number of Frames is there") + 8;
    let mut bytes = written.segmentation.encoded.bytes;
    bytes[at] += 1;
    let found = validate(&bytes, Some(&written.source)).expect_err("the fault is found");
    assert!(found.iter().any(|found| matches!(found, Violation::FrameCount { .. })), "{found:?}");
}

#[test]
fn missing_pixels_are_found() {
    let written = axial();
    let bytes = &written.segmentation.encoded.bytes;
    let found = validate(&bytes[..bytes.len() - 2], Some(&written.source)).expect_err("the fault is found");
    assert!(matches!(found[..], [Violation::PixelLength { .. }]), "{found:?}");
}

#[test]
fn retired_codes_are_found() {
    check_segmentation("108369006", "SCT", "SRT", |found| matches!(found, Violation::RetiredScheme { .. }));
}

#[track_caller]
fn check_report(after: &str, from: &str, to: &str, expected: impl Fn(&Violation) -> bool) {
    let written = axial();
    let report = report(&production(), &written, &findings(&written));
    let bytes = tampered(&report.bytes, after, from, to);
    let found = validate(&bytes, Some(&written.source)).expect_err("the fault is found");
    assert!(found.iter().any(expected), "{found:?}");
}

#[test]
fn a_report_that_is_verified_by_nobody_is_found() {
    check_report("DICM", "UNVERIFIED", "VERIFIED  ", |found| matches!(found, Violation::Verification { .. }));
}

#[test]
fn a_measurement_group_without_a_point_is_found() {
    // every point of the first group becomes something that viewers do not draw
    let written = axial();
    let report = report(&production(), &written, &findings(&written));
    let mut all = report.bytes;
    while let Some(at) = all.windows(6).position(|window| window == b"SCOORD") {
        all[at..at + 6].copy_from_slice(b"TCOORD");
    }
    let found = validate(&all, Some(&written.source)).expect_err("the fault is found");
    assert!(found.contains(&Violation::Unplaced), "{found:?}");
}

#[test]
fn a_reference_that_no_evidence_lists_is_found() {
    check_report("SELECTED FROM", "1.2.826.0.1.3680043.10.1.5", "1.2.826.0.1.3680043.10.7.5", |found| {
        matches!(found, Violation::NotListed(_))
    });
}

#[test]
fn bytes_that_are_no_dicom_are_found() {
    assert_eq!(validate(b"no", None), Err(vec![Violation::Unreadable]));
}
