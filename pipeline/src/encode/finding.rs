//! What a model found, in the words of a report.

use imaging::Code;
use inference::{
    ClassificationFindings, Measures, Package, Prediction, SegmentFinding as Found,
    package::{Positive, Task},
};
use results::{
    ClassProbability, Classification, Finding, Measurement, Point, Quantity, Reference, Segment,
    SegmentFinding,
};

pub(crate) fn segment(found: &Found) -> Segment {
    let mut segment =
        Segment::new(u16::from(found.value), &found.name, found.category.clone(), found.kind.clone());
    segment.region.clone_from(&found.region);
    segment.color = found.color.map(|color| color.0);
    segment
}

pub(super) fn of_segment(found: &Found, segment: Segment, segmentation: Option<(Reference, u16)>) -> Finding {
    let Some(measures) = &found.measures else { return Finding::Absent(segment) };
    let [column, row, slice] = measures.key_point;
    let small = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    Finding::Segment(SegmentFinding {
        segment,
        segmentation,
        point: Point { frame: slice, row: small(row), column: small(column) },
        measurements: measurements(measures),
    })
}

fn measurements(measures: &Measures) -> Vec<Measurement> {
    [
        (Quantity::Volume, measures.volume_ml),
        (Quantity::LongestDiameter, measures.longest_diameter.length_mm),
        (Quantity::PerpendicularDiameter, measures.perpendicular_diameter.length_mm),
        (Quantity::Mean, measures.mean),
        (Quantity::StandardDeviation, measures.sd),
        (Quantity::Minimum, measures.min),
        (Quantity::Maximum, measures.max),
    ]
    .into_iter()
    .map(|(quantity, value)| Measurement { quantity, value })
    .collect()
}

/// The answer of a classifier, with the image and the map that show where it looked.
pub(super) fn class(found: &ClassificationFindings, point: Point, heatmap: Option<Reference>) -> Finding {
    let classes = found.classes.iter();
    Finding::Classification(Classification {
        id: "answer".to_owned(),
        question: question(),
        classes: classes
            .map(|class| ClassProbability { class: class.code.clone(), probability: class.probability })
            .collect(),
        chosen: found.winner,
        threshold: None,
        calibration: None,
        region: None,
        point: Some(point),
        heatmap,
    })
}

/// The answer of a fusion: whether what label 1 means is there, with its probability.
pub(super) fn answer(package: &Package, found: &Prediction) -> Finding {
    let class = |code: Code, probability: f64| ClassProbability { class: code, probability };
    Finding::Classification(Classification {
        id: "answer".to_owned(),
        question: positive(package),
        classes: vec![
            class(Code::new("2667000", "SCT", "Absent"), 1.0 - found.probability),
            class(Code::new("52101004", "SCT", "Present"), found.probability),
        ],
        chosen: found.label.into(),
        threshold: Some(found.threshold),
        calibration: None,
        region: None,
        point: None,
        heatmap: None,
    })
}

/// What label 1 of a fusion means; a code of our own where the package gives none.
fn positive(package: &Package) -> Code {
    let Task::Fusion(fusion) = &package.task else { return question() };
    match &fusion.table.positive {
        Some(Positive { code: Some(code), .. }) => code.clone(),
        Some(Positive { name, code: None }) => Code::new(package.id.as_str(), "99OVERREAD", name),
        None => question(),
    }
}

/// What a classifier is asked, as its report and its correction name it.
pub(crate) fn question() -> Code {
    Code::new("121071", "DCM", "Finding")
}
