//! Structured reports: Comprehensive 3D SR with TID 1500 "Imaging Measurement Report".
//!
//! Findings with a place become measurement groups, each measurement with one point on a
//! source image: OHIF 3.12 stops on a group without coordinates and takes a measurement
//! with more than one child as none. What has no place ("absent", "not analysed", comments)
//! is a qualitative evaluation of the whole report, which viewers without the template skip.
//! A report is UNVERIFIED and PRELIMINARY until a doctor has said otherwise.

pub(crate) mod document;
mod groups;
pub(crate) mod item;
mod library;

use dicom_dictionary_std::uids;
use imaging::Code;

use crate::{
    DEMONSTRATION_NOTICE, EncodeError, Encoded, Finding, IntendedUse, Production, Reference, Role, Source,
    concepts::{ABSENT, COMMENT, FINDING_SITE, NONE_SUCCEEDED, PROCESSING_SUMMARY},
    context::{self, Place},
    dataset::DataSet,
    validate,
};

use document::Document;
use item::Relation::{Contains, HasConceptModifier};

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    pub production: &'a Production,
    pub source: &'a Source,
    /// The imaging procedure that was reported; the source's, or one by its modality, when there is none.
    pub procedure: Option<&'a Code>,
    /// At least one.
    pub findings: &'a [Finding],
    /// The report that this one replaces, when slices came late or a model was corrected.
    pub predecessor: Option<&'a Reference>,
}

/// Writes the report of one job.
///
/// # Errors
/// When there is no finding, a value is not finite, a point lies outside the source, or the written
/// object breaks a rule.
pub fn report(input: &ReportInput<'_>) -> Result<Encoded, EncodeError> {
    if input.findings.is_empty() {
        return Err(EncodeError::NoFinding);
    }
    let measured = input
        .findings
        .iter()
        .filter_map(|finding| groups::group(input, finding).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let document = Document {
        procedure: input.procedure.cloned().unwrap_or_else(|| document::procedure_of(input.source)),
        library: library::of(input.source),
        groups: measured,
        evaluations: evaluations(input),
        evidence: evidence(input),
        predecessor: input.predecessor.cloned(),
    };
    let place = Place {
        role: Role::Report,
        sop_class: uids::COMPREHENSIVE3_DSR_STORAGE,
        modality: "SR",
        part: "",
        title: "report",
    };
    let mut dataset = context::begin(input.production, input.source, place);
    document.write(&mut dataset, input.production);
    let encoded = Encoded::write(Role::Report, &dataset)?;
    validate(&encoded.bytes, Some(input.source)).map_err(EncodeError::Invalid)?;
    Ok(encoded)
}

/// What is said about the series as a whole (TID 1500 "Qualitative Evaluations").
fn evaluations(input: &ReportInput<'_>) -> Vec<DataSet> {
    let mut evaluations: Vec<DataSet> = input.findings.iter().flat_map(evaluations_of).collect();
    if input.production.intended_use == IntendedUse::Demonstration {
        evaluations.push(item::text(Contains, COMMENT, DEMONSTRATION_NOTICE));
    }
    evaluations
}

fn evaluations_of(finding: &Finding) -> Vec<DataSet> {
    match finding {
        Finding::Segment(_) | Finding::Classification(_) => Vec::new(),
        Finding::Absent(segment) => {
            let site = segment
                .region
                .iter()
                .map(|region| groups::site(FINDING_SITE, region, segment.region_modifier.as_ref()));
            let side = segment
                .type_modifier
                .iter()
                .map(|modifier| item::code(HasConceptModifier, &groups::modifier_name(modifier), modifier));
            let absent = item::code(Contains, &segment.property_type, &ABSENT);
            vec![item::with_children(absent, site.chain(side).collect())]
        }
        Finding::NotAnalysed { reason } => vec![
            item::code(Contains, &PROCESSING_SUMMARY, &NONE_SUCCEEDED),
            item::text(Contains, COMMENT, &format!("Not analysed: {reason}")),
        ],
    }
}

/// Everything that the report refers to (PS3.3 §C.17.2.3).
fn evidence(input: &ReportInput<'_>) -> Vec<Reference> {
    let source = input.source;
    let images = source.used_instances().into_iter().map(|instance| source.reference(instance));
    let results = input.findings.iter().filter_map(|finding| match finding {
        Finding::Segment(finding) => finding.segmentation.as_ref().map(|(reference, _)| reference.clone()),
        Finding::Classification(classification) => classification.heatmap.clone(),
        Finding::Absent(_) | Finding::NotAnalysed { .. } => None,
    });
    images.chain(results).collect()
}
