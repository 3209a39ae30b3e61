//! Turns an analysis into the objects that are kept and sent; blocking.
//!
//! Same job, same bytes: dates are those of the job, UIDs are derived from its key.

use std::path::PathBuf;

use imaging::{Code, MANUFACTURER};
use inference::{Classified, Findings, Measures, Package, SegmentFinding as Found, package::SegKind};
use ndarray::{Array3, Axis};
use results::{
    Algorithm, ClassProbability, Classification, EncodeError, Encoded, Finding, HeatmapInput, Identity,
    IntendedUse, Measurement, Point, Production, Profile, Quantity, Reference, ReportInput, Segment,
    SegmentFinding, SegmentationInput, SegmentationType, Source, SourceError, SummaryInput,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::analysis::{Analysis, Answer};

/// Everything beside the analysis that the objects are made from.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) identity: Identity,
    /// The job's time, never that of encoding.
    pub(crate) written_at: OffsetDateTime,
    pub(crate) package: &'a Package,
    /// Files of the first channel.
    pub(crate) files: &'a [PathBuf],
    /// The report that is in force for the same question over an older input.
    pub(crate) predecessor: Option<Reference>,
}

/// A result before it is kept.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) outcome: ledger::Outcome,
    pub(crate) findings: Value,
    pub(crate) objects: Vec<Object>,
}

/// One object of a result.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) encoded: Encoded,
    pub(crate) role: &'static str,
    pub(crate) profile: String,
    pub(crate) part: u32,
}

/// Why there are no objects; the same would happen again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("cannot read the source of the results")]
    Source(#[from] SourceError),
    #[error("cannot write a result")]
    Encode(#[from] EncodeError),
    #[error("cannot write the findings as JSON")]
    Findings(#[from] serde_json::Error),
}

pub(crate) fn make(order: &Order<'_>, analysis: &Analysis) -> Result<Made, MakeError> {
    let production = production(order);
    let mut source = Source::read(order.files)?;
    if !analysis.frames.is_empty() {
        source = source.arranged(&analysis.frames)?;
    }
    match &analysis.answer {
        Answer::Segmentation(found) => segmentation(order, &production, &source, found),
        Answer::Classification(found) => {
            classification(order, &production, &source, found, analysis.underlay.as_ref())
        }
        Answer::NotAnalysed { reason } => not_analysed(order, &production, &source, reason),
    }
}

fn segmentation(
    order: &Order<'_>,
    production: &Production,
    source: &Source,
    found: &inference::Segmentation,
) -> Result<Made, MakeError> {
    let segments: Vec<Segment> = found.findings.segments.iter().map(segment).collect();
    let mut objects = Vec::new();
    let mut written = vec![None; segments.len()];
    if order.package.writes.seg.is_some() {
        let input = SegmentationInput { production, source, segments: &segments, probabilities: None };
        for (part, made) in (0_u32..).zip(results::segmentation(&input, found.labels.labels.view())?) {
            for (place, number) in written.iter_mut().zip(&made.numbers) {
                if let Some(number) = number {
                    *place = Some((made.encoded.reference.clone(), *number));
                }
            }
            objects.push(object(made.encoded, "seg", &production.profile, part));
        }
    }
    let findings: Vec<Finding> = found
        .findings
        .segments
        .iter()
        .zip(segments)
        .zip(written)
        .map(|((found, segment), segmentation)| segment_finding(found, segment, segmentation))
        .collect();
    objects.extend(statements(order, production, source, &findings)?);
    let findings = serde_json::to_value(Findings::Segmentation(found.findings.clone()))?;
    Ok(Made { outcome: ledger::Outcome::Findings, findings, objects })
}

pub(crate) fn segment(found: &Found) -> Segment {
    let mut segment =
        Segment::new(u16::from(found.value), &found.name, found.category.clone(), found.kind.clone());
    segment.region.clone_from(&found.region);
    segment.color = found.color.map(|color| color.0);
    segment
}

fn segment_finding(found: &Found, segment: Segment, segmentation: Option<(Reference, u16)>) -> Finding {
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

fn classification(
    order: &Order<'_>,
    production: &Production,
    source: &Source,
    classified: &Classified,
    underlay: Option<&Array3<f32>>,
) -> Result<Made, MakeError> {
    let found = &classified.findings;
    let mut objects = Vec::new();
    if let Some(heatmap) = classified.heatmap.as_ref().filter(|_| order.package.writes.heatmap) {
        let slices = heatmap.first_slice..heatmap.first_slice + heatmap.values.len_of(Axis(0));
        let input = HeatmapInput {
            production,
            source,
            id: "answer",
            title: &found.classes[found.winner].name,
            first_frame: heatmap.first_slice,
            heat: heatmap.values.view(),
            underlay: underlay.map(|voxels| voxels.slice_axis(Axis(0), slices.into())),
        };
        objects.push(object(results::heatmap(&input)?, "heatmap", &production.profile, 0));
    }
    let finding = Finding::Classification(Classification {
        id: "answer".to_owned(),
        question: question(),
        classes: found
            .classes
            .iter()
            .map(|class| ClassProbability { class: class.code.clone(), probability: class.probability })
            .collect(),
        chosen: found.winner,
        threshold: None,
        calibration: None,
        region: None,
        point: Some(Point { frame: found.key_slice, row: source.rows() / 2, column: source.columns() / 2 }),
        heatmap: objects.first().map(|object: &Object| object.encoded.reference.clone()),
    });
    objects.extend(statements(order, production, source, &[finding])?);
    let findings = serde_json::to_value(Findings::Classification(found.clone()))?;
    Ok(Made { outcome: ledger::Outcome::Findings, findings, objects })
}

/// What a classifier is asked, as its report and its correction name it.
pub(crate) fn question() -> Code {
    Code::new("121071", "DCM", "Finding")
}

fn not_analysed(
    order: &Order<'_>,
    production: &Production,
    source: &Source,
    reason: &str,
) -> Result<Made, MakeError> {
    let finding = Finding::NotAnalysed { reason: reason.to_owned() };
    let objects = statements(order, production, source, &[finding])?;
    let findings = json!({ "outcome": "not_analysed", "reason": reason });
    Ok(Made { outcome: ledger::Outcome::NotAnalysed, findings, objects })
}

/// The report, and the summary page where the package asks for one.
fn statements(
    order: &Order<'_>,
    production: &Production,
    source: &Source,
    findings: &[Finding],
) -> Result<Vec<Object>, MakeError> {
    let mut objects = Vec::new();
    if order.package.writes.sr {
        let predecessor = order.predecessor.as_ref();
        let input = ReportInput { production, source, procedure: None, findings, predecessor };
        objects.push(object(results::report(&input)?, "sr", &production.profile, 0));
    }
    if order.package.writes.summary {
        let input = SummaryInput { production, source, findings };
        objects.push(object(results::summary(&input)?, "summary", &production.profile, 0));
    }
    Ok(objects)
}

fn object(encoded: Encoded, role: &'static str, profile: &Profile, part: u32) -> Object {
    Object { encoded, role, profile: profile.name.clone(), part }
}

pub(crate) fn production(order: &Order<'_>) -> Production {
    let package = order.package;
    let segmentation = match package.writes.seg {
        Some(SegKind::Labelmap) => SegmentationType::LabelMap,
        Some(SegKind::Fractional) => SegmentationType::Fractional,
        Some(SegKind::Binary) | None => SegmentationType::Binary,
    };
    Production {
        identity: order.identity.clone(),
        algorithm: Algorithm {
            id: package.id.to_string(),
            name: package.name.clone(),
            version: package.version.to_string(),
            manufacturer: MANUFACTURER.to_owned(),
            digest: package.digest.clone(),
            parameters: Vec::new(),
        },
        written_at: order.written_at,
        intended_use: if package.is_demonstration() {
            IntendedUse::Demonstration
        } else {
            IntendedUse::Stated
        },
        profile: Profile { segmentation, ..Profile::default() },
    }
}
