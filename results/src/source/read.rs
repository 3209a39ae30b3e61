//! Reading the headers of a series, and putting its frames in volume order.

use std::path::{Path, PathBuf};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use imaging::{BadUid, FrameRef, HeadError};

use super::{Measures, Plane, Source, SourceFrame, SourceInstance};
use crate::dataset::{DataSet, first_item, integer, items, text};

/// Why instances cannot be the source of a result.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the source has no instance")]
    Empty,
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: HeadError },
    #[error("an instance of the source has no {attribute}")]
    Missing { attribute: &'static str },
    #[error("an instance of the source has a malformed {attribute}")]
    Uid { attribute: &'static str, source: BadUid },
    #[error("instances of the source differ in {attribute}")]
    Mixed { attribute: &'static str },
    #[error("identity conflict: instances of the source differ in {attribute}")]
    IdentityConflict { attribute: &'static str },
    #[error("the source has no frame {} of instance {}", .0.frame_number.unwrap_or(1), .0.sop_instance)]
    NoSuchFrame(FrameRef),
    #[error("an instance says it has {stated} frames and describes {described}")]
    FrameCount { stated: u32, described: usize },
}

/// Frames in one instance that are accepted: the largest known SEG has 17 388, enhanced images fewer.
const FRAMES_MAX: u32 = 100_000;

/// What must be the same in all instances (DESIGN "Never the wrong patient").
const IDENTITY: [(Tag, &str); 4] = [
    (tags::PATIENT_ID, "Patient ID"),
    (tags::ISSUER_OF_PATIENT_ID, "Issuer of Patient ID"),
    (tags::PATIENT_NAME, "Patient's Name"),
    (tags::PATIENT_BIRTH_DATE, "Patient's Birth Date"),
];

/// What must be the same for a result to have one place in the study.
const PLACE: [(Tag, &str); 5] = [
    (tags::STUDY_INSTANCE_UID, "Study Instance UID"),
    (tags::SERIES_INSTANCE_UID, "Series Instance UID"),
    (tags::FRAME_OF_REFERENCE_UID, "Frame of Reference UID"),
    (tags::ROWS, "Rows"),
    (tags::COLUMNS, "Columns"),
];

impl Source {
    /// Reads the headers of the files of one series.
    ///
    /// # Errors
    /// Says which file cannot be read, or what keeps the instances from being one series of one patient.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SourceError> {
        let datasets = paths.iter().map(|path| read_header(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        Self::from_datasets(datasets)
    }

    /// Takes data sets that are already in memory; elements from the pixel data on are dropped.
    ///
    /// # Errors
    /// Says what keeps the instances from being one series of one patient.
    pub fn from_datasets(mut datasets: Vec<DataSet>) -> Result<Self, SourceError> {
        let first = datasets.first().ok_or(SourceError::Empty)?;
        for dataset in &datasets[1..] {
            require_equal(first, dataset)?;
        }
        let instances = datasets.iter().map(instance).collect::<Result<Vec<_>, _>>()?;
        let mut frames = Vec::with_capacity(datasets.len());
        for (index, dataset) in datasets.iter().enumerate() {
            frames.extend(frames_of(index, dataset)?);
        }
        sort(&mut frames, &instances);
        let first_frame = frames.first().ok_or(SourceError::Empty)?;
        let mut common = datasets.swap_remove(first_frame.instance);
        common.retain(|element| {
            let tag = element.header().tag;
            tag.group() % 2 == 0 && tag < FIRST_PIXEL_TAG && tag != tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE
        });
        Ok(Self {
            study: required_uid(&common, tags::STUDY_INSTANCE_UID, "Study Instance UID")?.into(),
            series: required_uid(&common, tags::SERIES_INSTANCE_UID, "Series Instance UID")?.into(),
            frame_of_reference: crate::dataset::uid(&common, tags::FRAME_OF_REFERENCE_UID),
            rows: integer(&common, tags::ROWS).ok_or(SourceError::Missing { attribute: "Rows" })?,
            columns: integer(&common, tags::COLUMNS).ok_or(SourceError::Missing { attribute: "Columns" })?,
            common,
            instances,
            frames,
        })
    }
}

/// Float Pixel Data, Double Float Pixel Data and Pixel Data come from here on.
const FIRST_PIXEL_TAG: Tag = Tag(0x7FE0, 0x0000);

fn read_header(path: &Path) -> Result<DataSet, SourceError> {
    imaging::read_dataset(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })
}

fn require_equal(first: &DataSet, other: &DataSet) -> Result<(), SourceError> {
    for (tag, attribute) in IDENTITY {
        if text(first, tag) != text(other, tag) {
            return Err(SourceError::IdentityConflict { attribute });
        }
    }
    for (tag, attribute) in PLACE {
        if text(first, tag) != text(other, tag) {
            return Err(SourceError::Mixed { attribute });
        }
    }
    Ok(())
}

fn instance(dataset: &DataSet) -> Result<SourceInstance, SourceError> {
    Ok(SourceInstance {
        sop_class: required_uid(dataset, tags::SOP_CLASS_UID, "SOP Class UID")?.into(),
        sop_instance: required_uid(dataset, tags::SOP_INSTANCE_UID, "SOP Instance UID")?.into(),
        instance_number: integer(dataset, tags::INSTANCE_NUMBER),
    })
}

fn required_uid(dataset: &DataSet, tag: Tag, attribute: &'static str) -> Result<imaging::Uid, SourceError> {
    let text = text(dataset, tag).ok_or(SourceError::Missing { attribute })?;
    imaging::Uid::parse(&text).map_err(|source| SourceError::Uid { attribute, source })
}

fn frames_of(instance: usize, dataset: &DataSet) -> Result<Vec<SourceFrame>, SourceError> {
    let Some(stated) = integer::<u32>(dataset, tags::NUMBER_OF_FRAMES) else {
        let (plane, measures) = (Plane::of_instance(dataset), Measures::of_instance(dataset));
        return Ok(vec![SourceFrame { instance, frame_number: None, plane, measures }]);
    };
    let groups = items(dataset, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if stated == 0 || stated > FRAMES_MAX || (!groups.is_empty() && groups.len() != stated as usize) {
        return Err(SourceError::FrameCount { stated, described: groups.len() });
    }
    let none = DataSet::new_empty();
    let shared = first_item(dataset, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).unwrap_or(&none);
    let frame = |number: u32| {
        let own = groups.get(number as usize - 1);
        SourceFrame {
            instance,
            frame_number: Some(number),
            plane: own.and_then(|own| Plane::of_frame(own, shared)),
            measures: own
                .map_or_else(|| Measures::of_instance(dataset), |own| Measures::of_frame(own, shared)),
        }
    };
    Ok((1..=stated).map(frame).collect())
}

/// Along the normal of the first frame; frames at one place, or without a place, by their numbers.
fn sort(frames: &mut [SourceFrame], instances: &[SourceInstance]) {
    let normal = frames.first().and_then(|frame| frame.plane.as_ref()).map(Plane::normal);
    let along = |frame: &SourceFrame| match (normal, &frame.plane) {
        (Some(normal), Some(plane)) => plane.along(normal),
        _ => 0.0,
    };
    let number = |frame: &SourceFrame| (instances[frame.instance].instance_number, frame.frame_number);
    frames.sort_by(|a, b| along(a).total_cmp(&along(b)).then_with(|| number(a).cmp(&number(b))));
}
