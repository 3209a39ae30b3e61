//! Runs one model on the stacks of one job; blocking.
//!
//! Files in, findings out. The model sees voxels without identity; which frames they came
//! from stays here, for the results to refer to.

use std::path::PathBuf;

use imaging::{FrameRef, Header, Volume, VolumeError};
use inference::{
    Classified, Control, InferenceError, Model, Outcome, Segmentation, deidentify, package::Task,
};
use ndarray::Array3;

/// One channel of the input: its instances, and where their files are.
pub(crate) type ChannelFiles = Vec<(Header, PathBuf)>;

/// What a model said, and about which frames.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub(crate) answer: Answer,
    /// The frames of the first channel, slice by slice; empty when no volume could be made.
    pub(crate) frames: Vec<FrameRef>,
    /// The voxels of the first channel, for a model that explains itself over them.
    pub(crate) underlay: Option<Array3<f32>>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Segmentation(Box<Segmentation>),
    Classification(Box<Classified>),
    NotAnalysed { reason: String },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnalysisError {
    #[error(transparent)]
    Model(#[from] InferenceError),
    #[error("model {0} takes no images")]
    NotForImages(String),
}

pub(crate) fn run(
    model: &Model,
    channels: &[ChannelFiles],
    control: &Control<'_>,
) -> Result<Analysis, AnalysisError> {
    let mut volumes = Vec::with_capacity(channels.len());
    for channel in channels {
        match imaging::load_volume(channel) {
            Ok(volume) => volumes.push(volume),
            Err(error) => return Ok(not_analysed(&error)),
        }
    }
    let frames = volumes.first().map(|volume: &Volume| volume.frames.clone()).unwrap_or_default();
    let underlay =
        volumes.first().filter(|_| model.package().writes.heatmap).map(|volume| volume.voxels.clone());
    let inputs: Vec<_> = volumes.into_iter().map(deidentify).collect();
    let answer = match &model.package().task {
        Task::Segmentation(_) => match model.segment(inputs, control)? {
            Outcome::Findings(found) => Answer::Segmentation(Box::new(found)),
            Outcome::NotAnalysed { reason } => Answer::NotAnalysed { reason },
        },
        Task::Classification(_) => match model.classify(inputs, control)? {
            Outcome::Findings(found) => Answer::Classification(Box::new(found)),
            Outcome::NotAnalysed { reason } => Answer::NotAnalysed { reason },
        },
        Task::Tabular(_) | Task::Fusion(_) => {
            return Err(AnalysisError::NotForImages(model.package().full_name()));
        }
    };
    Ok(Analysis { answer, frames, underlay })
}

/// The same files would fail the same way: this is an answer, not a failure to be repeated.
fn not_analysed(error: &VolumeError) -> Analysis {
    let reason = crate::destination::chain(error);
    Analysis { answer: Answer::NotAnalysed { reason }, frames: Vec::new(), underlay: None }
}
