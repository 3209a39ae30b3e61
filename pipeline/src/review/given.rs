//! A segmentation that a doctor brings in place of the machine's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use imaging::{Header, SopClassUid};
use inference::Findings;
use ledger::{NewReview, ResultRow};
use results::{
    AlgorithmType, Encoded, Identity, Reference, Segment, SegmentationInput, Source, open_nifti,
    segmentation_of_planes,
};
use serde_json::{Value, json};
use spool::InstanceKey;
use tempfile::TempPath;
use time::OffsetDateTime;

use super::{Desk, ReviewDecision, ReviewError, SegmentationFile, documents::CORRECTED_SEGMENTATION};
use crate::{
    encode::{self, Object, Order},
    form::{GIVEN, Settled},
};

/// PS3.4 §B.5: Segmentation Storage, and Label Map Segmentation Storage.
const SEGMENTATION_CLASSES: [&str; 2] = ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"];

/// A file on the disk, which goes with the last who knows of it: masks are too long to be held in memory.
#[derive(Clone)]
pub struct GivenFile {
    path: Arc<TempPath>,
    sha256: String,
}

impl GivenFile {
    /// A file that is written to its end, and the digest of its bytes in hexadecimal digits.
    #[must_use]
    pub fn new(path: TempPath, sha256: String) -> Self {
        Self { path: Arc::new(path), sha256 }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for GivenFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "GivenFile({})", self.sha256)
    }
}

impl SegmentationFile {
    /// What the ledger keeps of it: the same file again is the same correction.
    pub(super) fn described(&self) -> Value {
        let (format, file) = match self {
            Self::Dicom(file) => ("dicom", file),
            Self::Nifti(file) => ("nifti", file),
            Self::OfFirst(described) => return described.clone(),
        };
        json!({ "format": format, "sha256": file.sha256 })
    }
}

/// The segmentation of the decision as an object, if it brings one.
pub(super) async fn take(
    desk: &Desk<'_>,
    row: &ResultRow,
    new: &NewReview,
    decision: &ReviewDecision,
) -> Result<Option<Object>, ReviewError> {
    let (encoded, findings) = match (decision, findings_of(row)) {
        (ReviewDecision::CorrectSegmentation(file), Some(Findings::Segmentation(findings))) => {
            (file, findings)
        }
        (ReviewDecision::CorrectSegmentation(_), _) => {
            return Err(unsuitable("this result has no segmentation to correct"));
        }
        (ReviewDecision::CorrectClass(_), Some(Findings::Classification(_))) => return Ok(None),
        (ReviewDecision::CorrectClass(_), _) => {
            return Err(unsuitable("this result has no class to correct"));
        }
        _ => return Ok(None),
    };
    let encoded = match encoded {
        SegmentationFile::Dicom(file) => dicom(desk, row, file.clone()).await?,
        SegmentationFile::Nifti(file) => nifti(desk, row, new, &findings, file.clone()).await?,
        // It was kept when the first doctor brought it.
        SegmentationFile::OfFirst(_) => return Ok(None),
    };
    let part = new.after.saturating_add(1);
    Ok(Some(Object { encoded, role: CORRECTED_SEGMENTATION, profile: GIVEN.to_owned(), part }))
}

fn findings_of(row: &ResultRow) -> Option<Findings> {
    serde_json::from_value(row.findings.clone()).ok()
}

fn unsuitable(sentence: impl Into<String>) -> ReviewError {
    ReviewError::Unsuitable(sentence.into())
}

/// A DICOM SEG of this study, this patient and this frame of reference.
async fn dicom(desk: &Desk<'_>, row: &ResultRow, file: GivenFile) -> Result<Encoded, ReviewError> {
    let given = file.clone();
    let header = tokio::task::spawn_blocking(move || Header::read_file(given.path())).await?;
    let header = header.map_err(|_| unsuitable("the file is no DICOM Part 10 file that can be read"))?;
    if !is_segmentation(&header.sop_class) {
        return Err(unsuitable("the file is no DICOM segmentation"));
    }
    let source = source_header(desk, row).await?;
    if header.study != row.study || header.facts.patient.identity() != source.facts.patient.identity() {
        return Err(unsuitable("the segmentation is of another study or another patient"));
    }
    if header.facts.frame_of_reference != source.facts.frame_of_reference {
        return Err(unsuitable("the segmentation lies in another frame of reference than the images"));
    }
    let reference = Reference {
        study: header.study,
        series: header.series,
        sop_class: header.sop_class,
        sop_instance: header.sop_instance,
    };
    let bytes = tokio::fs::read(file.path()).await?;
    Ok(Encoded { role: results::Role::Segmentation, reference, bytes })
}

fn is_segmentation(class: &SopClassUid) -> bool {
    SEGMENTATION_CLASSES.contains(&class.as_str())
}

/// A label map on the voxels of the source, with the meaning that the model's labels have.
async fn nifti(
    desk: &Desk<'_>,
    row: &ResultRow,
    new: &NewReview,
    findings: &inference::SegmentationFindings,
    file: GivenFile,
) -> Result<Encoded, ReviewError> {
    let name = format!("{}@{}", row.model_id, row.model_version);
    let model = desk.looker.registry.get(&name).ok_or_else(|| {
        unsuitable(format!(
            "model {name} is not in service, so its labels have no meaning here: send a DICOM SEG"
        ))
    })?;
    let job = desk.ledger.job(row.job).await?.ok_or(ledger::Error::NoSuchJob(row.job))?;
    let config = &desk.looker.config;
    // UIDs of its own, beside those of the machine's segmentation.
    let job_key = format!("{} corrected by {}", job.key, new.id);
    let identity = Identity { installation: config.installation, job_key };
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(new.at.0) * 1_000_000)
        .map_err(|_| unsuitable("the clock of this machine is wrong"))?;
    let written_at = at.to_offset(config.utc_offset);
    let files = source_files(desk, row).await?;
    let segments: Vec<Segment> = findings.segments.iter().map(corrected_segment).collect();
    let making = move || {
        let package = model.package();
        let form = Settled::of_package(package);
        let order = Order { identity, written_at, package, forms: &[], files: &files, predecessors: &[] };
        let source =
            Source::read(&files).map_err(|error| unsuitable(format!("cannot use the images: {error}")))?;
        let mut labels =
            open_nifti(file.path(), &source).map_err(|error| unsuitable(without_path(&error)))?;
        let production = encode::production(&order, &form);
        let input = SegmentationInput {
            production: &production,
            source: &source,
            segments: &segments,
            probabilities: None,
        };
        let made = segmentation_of_planes(&input, labels.as_mut())
            .map_err(|error| unsuitable(format!("the mask cannot be used: {error}")))?;
        let made = made.into_iter().next();
        made.map(|made| made.encoded)
            .ok_or_else(|| unsuitable("the mask has no labelled voxel: reject the result instead"))
    };
    tokio::task::spawn_blocking(making).await?
}

fn corrected_segment(found: &inference::SegmentFinding) -> Segment {
    Segment { algorithm_type: AlgorithmType::SemiAutomatic, ..encode::segment(found) }
}

/// The name of our temporary file means nothing to the doctor.
fn without_path(error: &results::LabelsFileError) -> String {
    use results::LabelsFileError as E;
    match error {
        E::Malformed { problem, .. } => format!("the mask is no label map: {problem}"),
        E::OffGrid { slice, off_by, .. } => {
            format!(
                "the mask does not lie on the images: slice {slice} is {off_by:.2} voxels beside its place"
            )
        }
        E::Read { .. } | E::Unknown(_) => "the mask cannot be read as NIfTI".to_owned(),
    }
}

async fn source_header(desk: &Desk<'_>, row: &ResultRow) -> Result<Header, ReviewError> {
    Ok(source_headers(desk, row).await?.swap_remove(0))
}

/// The instances that the model saw in its first channel; at least one.
async fn source_headers(desk: &Desk<'_>, row: &ResultRow) -> Result<Vec<Header>, ReviewError> {
    let gone = || unsuitable("the images of this result were deleted");
    let inputs = desk.ledger.job_inputs(row.job).await?;
    let first = inputs.into_iter().next().ok_or_else(gone)?;
    let rows = desk.ledger.instances_of_series(&row.study, &first.series).await?;
    let headers: Vec<Header> = rows
        .into_iter()
        .map(|instance| instance.header)
        .filter(|header| first.instances.contains(&header.sop_instance))
        .collect();
    if headers.is_empty() { Err(gone()) } else { Ok(headers) }
}

async fn source_files(desk: &Desk<'_>, row: &ResultRow) -> Result<Vec<PathBuf>, ReviewError> {
    let headers = source_headers(desk, row).await?;
    let path = |header: Header| {
        desk.spool.path_of(&InstanceKey {
            study: header.study,
            series: header.series,
            sop_instance: header.sop_instance,
        })
    };
    Ok(headers.into_iter().map(path).collect())
}
