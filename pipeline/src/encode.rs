//! Turns an analysis into the objects that are kept and sent; blocking.
//!
//! Same job, same bytes: dates are those of the job, UIDs are derived from its key.

mod finding;

use std::path::PathBuf;

use imaging::MANUFACTURER;
use inference::{Classified, Findings, Package, Prediction};
use ndarray::{Array3, Axis};
use results::{
    Algorithm, EncodeError, Encoded, Finding, HeatmapInput, Identity, IntendedUse, ParametricMapInput, Point,
    Production, Reference, ReportInput, Segment, SegmentationInput, Source, SourceError, SummaryInput,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    analysis::{Analysis, Answer},
    form::Settled,
};

pub(crate) use finding::{question, segment};

/// Everything beside the analysis that the objects are made from.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) identity: Identity,
    /// The job's time, never that of encoding.
    pub(crate) written_at: OffsetDateTime,
    pub(crate) package: &'a Package,
    /// The forms to write; at least one.
    pub(crate) forms: &'a [Settled],
    /// Files of the first channel.
    pub(crate) files: &'a [PathBuf],
    pub(crate) predecessors: &'a [Predecessor],
}

/// A report that is in force for the same question over an older input.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) profile: String,
    pub(crate) report: Reference,
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
    #[error("there are no images that the result could refer to")]
    NoImages,
    #[error("cannot write the findings as JSON")]
    Findings(#[from] serde_json::Error),
    #[error("nobody says in which form to write the result")]
    NoForm,
}

pub(crate) fn make(order: &Order<'_>, analysis: &Analysis) -> Result<Made, MakeError> {
    if order.files.is_empty() {
        return without_images(&analysis.answer);
    }
    let mut source = Source::read(order.files)?;
    if !analysis.frames.is_empty() {
        source = source.arranged(&analysis.frames)?;
    }
    let (first, others) = order.forms.split_first().ok_or(MakeError::NoForm)?;
    let mut made = make_form(order, first, &source, analysis)?;
    for form in others {
        made.objects.extend(make_form(order, form, &source, analysis)?.objects);
    }
    Ok(made)
}

/// A result that has no series to stand beside has no objects.
fn without_images(answer: &Answer) -> Result<Made, MakeError> {
    let (outcome, findings) = match answer {
        Answer::NotAnalysed { reason } => (ledger::Outcome::NotAnalysed, unanswered(reason)),
        Answer::Prediction(found) => (ledger::Outcome::Findings, predicted(found)?),
        Answer::Segmentation(_) | Answer::Classification(_) => return Err(MakeError::NoImages),
    };
    Ok(Made { outcome, findings, objects: Vec::new() })
}

fn predicted(found: &Prediction) -> Result<Value, serde_json::Error> {
    serde_json::to_value(Findings::Tabular(found.clone()))
}

fn unanswered(reason: &str) -> Value {
    json!({ "outcome": "not_analysed", "reason": reason })
}

fn make_form(
    order: &Order<'_>,
    form: &Settled,
    source: &Source,
    analysis: &Analysis,
) -> Result<Made, MakeError> {
    let production = &production(order, form);
    let writing = Writing { order, form, production, source };
    match &analysis.answer {
        Answer::Segmentation(found) => writing.segmentation(found),
        Answer::Classification(found) => writing.classification(found, analysis.underlay.as_ref()),
        Answer::Prediction(found) => writing.prediction(found),
        Answer::NotAnalysed { reason } => writing.not_analysed(reason),
    }
}

/// One form of one result.
struct Writing<'a> {
    order: &'a Order<'a>,
    form: &'a Settled,
    production: &'a Production,
    source: &'a Source,
}

impl Writing<'_> {
    fn segmentation(&self, found: &inference::Segmentation) -> Result<Made, MakeError> {
        let segments: Vec<Segment> = found.findings.segments.iter().map(segment).collect();
        let mut objects = Vec::new();
        let probabilities: Option<Vec<_>> = found
            .probabilities
            .as_ref()
            .map(|segments| segments.iter().map(|segment| segment.view()).collect());
        let mut written = vec![None; segments.len()];
        if self.order.package.writes.seg.is_some() {
            let input = SegmentationInput {
                production: self.production,
                source: self.source,
                segments: &segments,
                probabilities: probabilities.as_deref(),
            };
            for (part, made) in (0_u32..).zip(results::segmentation(&input, found.labels.labels.view())?) {
                for (place, number) in written.iter_mut().zip(&made.numbers) {
                    if let Some(number) = number {
                        *place = Some((made.encoded.reference.clone(), *number));
                    }
                }
                objects.push(self.object(made.encoded, "seg", part));
            }
        }
        if self.form.parametric_map {
            for ((part, segment), probabilities) in
                (0_u32..).zip(&segments).zip(probabilities.into_iter().flatten())
            {
                let (production, source) = (self.production, self.source);
                let input = ParametricMapInput { production, source, segment, probabilities };
                objects.push(self.object(results::parametric_map(&input)?, "map", part));
            }
        }
        let findings: Vec<Finding> = found
            .findings
            .segments
            .iter()
            .zip(segments)
            .zip(written)
            .map(|((found, segment), segmentation)| finding::of_segment(found, segment, segmentation))
            .collect();
        objects.extend(self.statements(&findings)?);
        let findings = serde_json::to_value(Findings::Segmentation(found.findings.clone()))?;
        Ok(Made { outcome: ledger::Outcome::Findings, findings, objects })
    }

    fn classification(
        &self,
        classified: &Classified,
        underlay: Option<&Array3<f32>>,
    ) -> Result<Made, MakeError> {
        let (found, source) = (&classified.findings, self.source);
        let mut objects = Vec::new();
        if let Some(heatmap) = classified.heatmap.as_ref().filter(|_| self.order.package.writes.heatmap) {
            let slices = heatmap.first_slice..heatmap.first_slice + heatmap.values.len_of(Axis(0));
            let input = HeatmapInput {
                production: self.production,
                source,
                id: "answer",
                title: &found.classes[found.winner].name,
                first_frame: heatmap.first_slice,
                heat: heatmap.values.view(),
                underlay: underlay.map(|voxels| voxels.slice_axis(Axis(0), slices.into())),
            };
            objects.push(self.object(results::heatmap(&input)?, "heatmap", 0));
        }
        let heatmap = objects.first().map(|object: &Object| object.encoded.reference.clone());
        let centre = Point { frame: found.key_slice, row: source.rows() / 2, column: source.columns() / 2 };
        let finding = finding::class(found, centre, heatmap);
        objects.extend(self.statements(&[finding])?);
        let findings = serde_json::to_value(Findings::Classification(found.clone()))?;
        Ok(Made { outcome: ledger::Outcome::Findings, findings, objects })
    }

    fn prediction(&self, found: &Prediction) -> Result<Made, MakeError> {
        let objects = self.statements(&[finding::answer(self.order.package, found)])?;
        Ok(Made { outcome: ledger::Outcome::Findings, findings: predicted(found)?, objects })
    }

    fn not_analysed(&self, reason: &str) -> Result<Made, MakeError> {
        let finding = Finding::NotAnalysed { reason: reason.to_owned() };
        let objects = self.statements(&[finding])?;
        Ok(Made { outcome: ledger::Outcome::NotAnalysed, findings: unanswered(reason), objects })
    }

    /// The report, and the summary page where it is asked for.
    fn statements(&self, findings: &[Finding]) -> Result<Vec<Object>, MakeError> {
        let (production, source) = (self.production, self.source);
        let mut objects = Vec::new();
        if self.order.package.writes.sr {
            let predecessor = self.predecessor();
            let input = ReportInput { production, source, procedure: None, findings, predecessor };
            objects.push(self.object(results::report(&input)?, "sr", 0));
        }
        if self.form.summary {
            let input = SummaryInput { production, source, findings };
            objects.push(self.object(results::summary(&input)?, "summary", 0));
        }
        Ok(objects)
    }

    /// The older report of the same form; of another one where the form is new.
    fn predecessor(&self) -> Option<&Reference> {
        let predecessors = self.order.predecessors;
        let same = predecessors.iter().find(|older| older.profile == self.production.profile.name);
        same.or_else(|| predecessors.first()).map(|older| &older.report)
    }

    fn object(&self, encoded: Encoded, role: &'static str, part: u32) -> Object {
        Object { encoded, role, profile: self.production.profile.name.clone(), part }
    }
}

pub(crate) fn production(order: &Order<'_>, form: &Settled) -> Production {
    let package = order.package;
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
        profile: form.profile.clone(),
    }
}
