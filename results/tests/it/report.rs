//! Structured reports, read by others.

use std::path::PathBuf;

use imaging::Code;
use results::{
    ClassProbability, Classification, Encoded, Finding, IntendedUse, Measurement, Point, Production,
    Quantity, ReportInput, SegmentFinding,
};

use crate::{
    programs,
    segmentation::{Written, production, segments, written},
    sources,
};

/// Findings as the pipeline has them: two segments with measurements, one label that is absent.
pub(crate) fn findings(written: &Written) -> Vec<Finding> {
    let measurements = |volume| {
        vec![
            Measurement { quantity: Quantity::Volume, value: volume },
            Measurement { quantity: Quantity::LongestDiameter, value: 17.5 },
            Measurement { quantity: Quantity::PerpendicularDiameter, value: 12.25 },
            Measurement { quantity: Quantity::Mean, value: 431.0 / 3.0 },
            Measurement { quantity: Quantity::StandardDeviation, value: 12.0 },
        ]
    };
    let places = [Point { frame: 4, row: 14, column: 12 }, Point { frame: 8, row: 26, column: 25 }];
    let mut findings: Vec<Finding> = segments()
        .into_iter()
        .zip(places)
        .enumerate()
        .map(|(index, (segment, point))| {
            let number = written.segmentation.numbers[index].expect("the segment is there");
            let segmentation = Some((written.segmentation.encoded.reference.clone(), number));
            Finding::Segment(SegmentFinding {
                segment,
                segmentation,
                point,
                measurements: measurements(10.5),
            })
        })
        .collect();
    findings.push(Finding::Absent(segments().remove(2)));
    findings
}

pub(crate) fn classification() -> Finding {
    let class = |value: &str, meaning: &str, probability| ClassProbability {
        class: Code::new(value, "SCT", meaning),
        probability,
    };
    Finding::Classification(Classification {
        id: "tumour".into(),
        question: Code::new("121071", "DCM", "Finding"),
        classes: vec![
            class("393564001", "Glioma", 0.07),
            class("1163375002", "Meningioma", 0.9),
            class("17621005", "Normal", 0.03),
        ],
        chosen: 1,
        threshold: Some(0.5),
        calibration: Some("temperature 1.3".into()),
        region: Some(Code::new("12738006", "SCT", "Brain")),
        point: Some(Point { frame: 3, row: 5, column: 7 }),
        heatmap: None,
    })
}

pub(crate) fn report(production: &Production, written: &Written, findings: &[Finding]) -> Encoded {
    let input =
        ReportInput { production, source: &written.source, procedure: None, findings, predecessor: None };
    results::report(&input).expect("the report is written")
}

pub(crate) fn save(written: &Written, name: &str, encoded: &Encoded) -> PathBuf {
    let path = written.folder.path().join(name);
    std::fs::write(&path, &encoded.bytes).unwrap();
    path
}

/// Every kind of report of one source.
fn kinds(written: &Written) -> Vec<(&'static str, Vec<Finding>)> {
    vec![
        ("segments", findings(written)),
        ("class", vec![classification()]),
        ("absent", segments().into_iter().map(Finding::Absent).collect()),
        ("not-analysed", vec![Finding::NotAnalysed { reason: "fewer than 8 slices".into() }]),
    ]
}

#[test]
fn reports_have_no_dciodvfy_error() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        for (kind, findings) in kinds(&written) {
            let path = save(&written, kind, &report(&production(), &written, &findings));
            programs::dciodvfy(&path);
        }
    }
}

#[test]
fn highdicom_reads_every_report() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        for (kind, findings) in kinds(&written) {
            let path = save(&written, kind, &report(&production(), &written, &findings));
            let read = programs::python("sr_read.py", &[&path]);
            let groups = findings
                .iter()
                .filter(|finding| matches!(finding, Finding::Segment(_) | Finding::Classification(_)));
            assert!(read.starts_with(&format!("{} groups", groups.count())), "{}: {kind}: {read}", spec.name);
        }
    }
}

#[test]
fn the_tree_of_a_segment_report_is_as_the_template_says() {
    let written = written(&sources::named("mr-axial"), &production());
    let path = save(&written, "sr.dcm", &report(&production(), &written, &findings(&written)));
    insta::assert_snapshot!(programs::dsrdump(&path));
}

#[test]
fn the_tree_of_a_classification_report_is_as_the_template_says() {
    let written = written(&sources::named("mr-enhanced"), &production());
    let path = save(&written, "sr.dcm", &report(&production(), &written, &[classification()]));
    insta::assert_snapshot!(programs::dsrdump(&path));
}

#[test]
fn demonstrations_say_so_in_description_and_text() {
    let demonstration = Production { intended_use: IntendedUse::Demonstration, ..production() };
    let written = written(&sources::named("mr-axial"), &demonstration);
    let path = save(&written, "sr.dcm", &report(&demonstration, &written, &findings(&written)));
    let tree = programs::dsrdump(&path);
    assert!(tree.contains("\"Comment\")=\"DEMONSTRATION, NOT FOR CLINICAL USE\""), "{tree}");
    assert!(tree.contains("DEMONSTRATION, NOT FOR CLINICAL USE: Probe structures"), "{tree}");
}

#[test]
fn two_runs_of_one_job_write_the_same_report() {
    let first = written(&sources::named("mr-axial"), &production());
    let second = written(&sources::named("mr-axial"), &production());
    assert_eq!(
        report(&production(), &first, &findings(&first)),
        report(&production(), &second, &findings(&second))
    );
}
