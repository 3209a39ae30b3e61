//! One model on one folder of files: no ledger, no spool, no server; blocking.
//!
//! The same grouping, routing, analysis and encoding as for a job. Readiness plays no part:
//! who names a folder says that it is whole.

use std::{io, path::PathBuf};

use imaging::{Header, LabelMap, SeriesUid};
use inference::{Control, Heatmap, Model};
use ndarray::Array3;
use results::{Encoded, Identity};
use serde_json::Value;
use spool::Digest;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    analysis::{self, AnalysisError, Answer, ChannelFiles, Underlay},
    encode::{self, MakeError, Order},
    form::Settled,
    job_key::job_key,
    picture::{self, SeriesPicture},
    routing::{Because, ChosenStack, route},
};

/// What the results of one reading say beside what was found.
#[derive(Debug, Clone)]
pub struct ReadOnce {
    /// Names the results, as the id of an installation does for a server.
    pub installation: Uuid,
    pub written_at: OffsetDateTime,
}

/// What a model found, and the objects that say so.
#[derive(Debug)]
pub struct Reading {
    /// The series of the first channel.
    pub series: SeriesUid,
    /// The first slice's header.
    pub header: Header,
    pub findings: Value,
    pub objects: Vec<ReadObject>,
    /// The label map of a segmentation, on the grid of the series.
    pub labels: Option<LabelMap>,
    /// Where a classification looked.
    pub heatmap: Option<Heatmap>,
    /// What the model looked at, slice by slice; nothing when no volume could be made.
    pub voxels: Option<Array3<f32>>,
}

/// One object of a reading.
#[derive(Debug)]
pub struct ReadObject {
    /// `seg`, `sr`, `heatmap`.
    pub role: &'static str,
    pub encoded: Encoded,
}

/// Why there is no reading.
#[derive(Debug, thiserror::Error)]
pub enum ReadOnceError {
    #[error("none of the {0} files is a DICOM instance that can be read")]
    NoInstance(usize),
    #[error("no series suits the model: {}", reasons(.0))]
    NoSeries(Vec<(SeriesUid, Because)>),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the model gave no answer")]
    Analysis(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the results cannot be written")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The first condition that failed, for each series.
fn reasons(unchosen: &[(SeriesUid, Because)]) -> String {
    if unchosen.is_empty() {
        return "it takes no images, or one of its channels is missing".to_owned();
    }
    let sentence = |(series, because): &(SeriesUid, Because)| {
        format!("series {series}: {} is {}, expected {}", because.condition, because.seen, because.expected)
    };
    unchosen.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

impl From<AnalysisError> for ReadOnceError {
    fn from(error: AnalysisError) -> Self {
        Self::Analysis(error.into())
    }
}

impl From<MakeError> for ReadOnceError {
    fn from(error: MakeError) -> Self {
        Self::Make(error.into())
    }
}

/// Runs `model` on the series among `files` that suits it best. Files that are no DICOM
/// instances are left aside.
///
/// # Errors
/// No series suits, a file cannot be read, or the model fails.
pub fn read_once(
    model: &Model,
    files: &[PathBuf],
    order: &ReadOnce,
    control: &Control<'_>,
) -> Result<Reading, ReadOnceError> {
    let readable: Vec<(Header, PathBuf)> =
        files.iter().filter_map(|path| Some((Header::read_file(path).ok()?, path.clone()))).collect();
    if readable.is_empty() {
        return Err(ReadOnceError::NoInstance(files.len()));
    }
    let headers: Vec<Header> = readable.iter().map(|(header, _)| header.clone()).collect();
    let series = picture::of_headers(&headers);
    let chosen = choose(model, &series)?;
    let channels: Vec<ChannelFiles> =
        chosen.iter().map(|stack| channel(&series[stack.series_idx], stack, &readable)).collect();
    let analysis = analysis::run(model, &channels, Underlay::Always, control)?;
    let first: Vec<PathBuf> = channels[0].iter().map(|(_, path)| path.clone()).collect();
    let made = encode::make(
        &Order {
            identity: Identity { installation: order.installation, job_key: key(model, &channels)? },
            written_at: order.written_at,
            package: model.package(),
            forms: &[Settled::of_package(model.package())],
            files: &first,
            predecessors: &[],
        },
        &analysis,
    )?;
    let (labels, heatmap) = match analysis.answer {
        Answer::Segmentation(found) => (Some(found.labels), None),
        Answer::Classification(found) => (None, found.heatmap),
        Answer::Prediction(_) | Answer::NotAnalysed { .. } => (None, None),
    };
    Ok(Reading {
        series: chosen[0].series.clone(),
        header: channels[0][0].0.clone(),
        findings: made.findings,
        objects: made
            .objects
            .into_iter()
            .map(|object| ReadObject { role: object.role, encoded: object.encoded })
            .collect(),
        labels,
        heatmap,
        voxels: analysis.underlay,
    })
}

/// The stacks of the job with most slices.
fn choose(model: &Model, series: &[SeriesPicture]) -> Result<Vec<ChosenStack>, ReadOnceError> {
    let route = route(model.package(), &[], series);
    let slices = |job: &Vec<ChosenStack>| job.iter().map(|stack| stack.slices).sum::<usize>();
    let best = route.jobs.into_iter().filter(|job| !job.is_empty()).max_by_key(slices);
    best.ok_or_else(|| {
        let reasons = route.not_chosen.into_iter().map(|unchosen| (unchosen.series, unchosen.because));
        ReadOnceError::NoSeries(reasons.collect())
    })
}

/// Instances of a stack with their files, in the order of the stack.
fn channel(series: &SeriesPicture, chosen: &ChosenStack, readable: &[(Header, PathBuf)]) -> ChannelFiles {
    let stack = &series.stacks.stacks[chosen.stack as usize];
    stack
        .members
        .iter()
        .filter_map(|member| {
            let wanted = &series.headers[*member].sop_instance;
            readable.iter().find(|(header, _)| header.sop_instance == *wanted).cloned()
        })
        .collect()
}

fn key(model: &Model, channels: &[ChannelFiles]) -> Result<String, ReadOnceError> {
    let mut digests = Vec::new();
    for channel in channels {
        let mut of_channel = Vec::new();
        for (header, path) in channel {
            let bytes =
                std::fs::read(path).map_err(|source| ReadOnceError::Read { path: path.clone(), source })?;
            of_channel.push((header.sop_instance.to_string(), Digest::of(&bytes).to_string()));
        }
        digests.push(of_channel);
    }
    let inputs: Vec<Vec<(&str, &str)>> = digests
        .iter()
        .map(|channel| channel.iter().map(|(uid, digest)| (uid.as_str(), digest.as_str())).collect())
        .collect();
    Ok(job_key(&inputs, &model.package().digest, &serde_json::json!({})))
}
