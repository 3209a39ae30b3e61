//! The document around the findings: header modules, root of the content tree, observer, evidence.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;
use imaging::{Charset, Code, MANUFACTURER, SeriesUid, StudyUid};

use super::item::{
    self,
    Relation::{Contains, HasConceptModifier, HasObservationContext},
    container, template_item,
};
use crate::{
    Production, Reference, Source,
    concepts::{
        COMPUTED_TOMOGRAPHY, DEVICE, DEVICE_OBSERVER_MANUFACTURER, DEVICE_OBSERVER_MODEL,
        DEVICE_OBSERVER_NAME, DEVICE_OBSERVER_SERIAL, DEVICE_OBSERVER_UID, ENGLISH,
        IMAGING_MEASUREMENT_REPORT, IMAGING_MEASUREMENTS, IMAGING_PROCEDURE, LANGUAGE, MAGNETIC_RESONANCE,
        OBSERVER_TYPE, PROCEDURE_REPORTED, QUALITATIVE_EVALUATIONS,
    },
    context::announced,
    dataset::{DataSet, Elements, code_of, first_item, sop_reference, text},
};

/// Content of a report, ready to be written into a data set.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) procedure: Code,
    pub(crate) library: DataSet,
    /// Measurement groups; none makes a report without "Imaging Measurements".
    pub(crate) groups: Vec<DataSet>,
    pub(crate) evaluations: Vec<DataSet>,
    pub(crate) evidence: Vec<Reference>,
    pub(crate) predecessor: Option<Reference>,
}

impl Document {
    pub(crate) fn write(self, dataset: &mut DataSet, production: &Production) {
        general(dataset);
        dataset.set_items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, hierarchy(&self.evidence));
        if let Some(predecessor) = &self.predecessor {
            let documents = hierarchy(std::slice::from_ref(predecessor));
            dataset.set_items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, documents);
        }
        dataset.set(tags::VALUE_TYPE, "CONTAINER");
        dataset.set_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &IMAGING_MEASUREMENT_REPORT.code());
        dataset.set(tags::CONTINUITY_OF_CONTENT, "SEPARATE");
        dataset.set_items(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template_item("1500")]);
        dataset.set_items(tags::CONTENT_SEQUENCE, self.content(production));
    }

    fn content(self, production: &Production) -> Vec<DataSet> {
        let mut content = vec![item::code(HasConceptModifier, &LANGUAGE, &ENGLISH)];
        content.extend(device_observer(production));
        content.push(item::code(HasConceptModifier, &PROCEDURE_REPORTED, &self.procedure));
        content.push(self.library);
        if !self.groups.is_empty() {
            content.push(container(Contains, IMAGING_MEASUREMENTS, self.groups));
        }
        if !self.evaluations.is_empty() {
            content.push(container(Contains, QUALITATIVE_EVALUATIONS, self.evaluations));
        }
        content
    }
}

/// SR Document Series and SR Document General Modules (§C.17.1, §C.17.2): made by a machine alone.
fn general(dataset: &mut DataSet) {
    dataset.set_items(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    dataset.set_items(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    dataset.set(tags::COMPLETION_FLAG, "COMPLETE");
    dataset.set(tags::PRELIMINARY_FLAG, "PRELIMINARY");
    dataset.set(tags::VERIFICATION_FLAG, "UNVERIFIED");
}

/// TID 1002 and 1004: the software that observed.
fn device_observer(production: &Production) -> Vec<DataSet> {
    let algorithm = &production.algorithm;
    let uid = production.identity.device(&algorithm.digest);
    let text = |name, value: &str| item::text(HasObservationContext, name, value);
    vec![
        item::code(HasObservationContext, &OBSERVER_TYPE, &DEVICE),
        item::uid(HasObservationContext, DEVICE_OBSERVER_UID, uid.as_str()),
        text(DEVICE_OBSERVER_NAME, &announced(production, &algorithm.name)),
        text(DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER),
        text(DEVICE_OBSERVER_MODEL, &algorithm.id),
        text(DEVICE_OBSERVER_SERIAL, &production.identity.installation.to_string()),
    ]
}

/// The procedure by which the source was acquired: its own code, or one by its modality.
pub(crate) fn procedure_of(source: &Source) -> Code {
    own_procedure(source).unwrap_or_else(|| {
        let concept = match text(&source.common, tags::MODALITY).as_deref() {
            Some("CT") => COMPUTED_TOMOGRAPHY,
            Some("MR") => MAGNETIC_RESONANCE,
            _ => IMAGING_PROCEDURE,
        };
        concept.code()
    })
}

fn own_procedure(source: &Source) -> Option<Code> {
    let item = first_item(&source.common, tags::PROCEDURE_CODE_SEQUENCE)?;
    let code = code_of(item)?;
    let meaning = Charset::of(&source.common).of_item(item).text(item, tags::CODE_MEANING)?;
    Some(Code { meaning, ..code })
}

/// Hierarchical SOP Instance Reference Macro (PS3.3 §C.17.2.1): studies, their series, their instances, each once.
pub(crate) fn hierarchy(references: &[Reference]) -> Vec<DataSet> {
    let mut studies: BTreeMap<&StudyUid, BTreeMap<&SeriesUid, Vec<&Reference>>> = BTreeMap::new();
    for reference in references {
        let series = studies.entry(&reference.study).or_default().entry(&reference.series).or_default();
        if !series.contains(&reference) {
            series.push(reference);
        }
    }
    studies
        .into_iter()
        .map(|(study, series)| {
            let series = series.into_iter().map(|(uid, members)| series_item(uid, &members)).collect();
            DataSet::new_empty()
                .with(tags::STUDY_INSTANCE_UID, study.as_str())
                .with_items(tags::REFERENCED_SERIES_SEQUENCE, series)
        })
        .collect()
}

fn series_item(uid: &SeriesUid, members: &[&Reference]) -> DataSet {
    let instances = members
        .iter()
        .map(|member| sop_reference(member.sop_class.as_str(), member.sop_instance.as_str()))
        .collect();
    DataSet::new_empty()
        .with(tags::SERIES_INSTANCE_UID, uid.as_str())
        .with_items(tags::REFERENCED_SOP_SEQUENCE, instances)
}
