//! Runs one model on the stacks of one job; blocking.
//!
//! Files in, findings out. The model sees voxels without identity; which frames they came
//! from stays here, for the results to refer to.

use std::path::PathBuf;

use imaging::{FrameRef, Header, Volume, VolumeError};
use inference::{
    Classified, Control, InferenceError, Model, Outcome, Prediction, Segmentation, deidentify, package::Task,
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
    /// The voxels of the first channel, where they are shown below what was found.
    pub(crate) underlay: Option<Array3<f32>>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Segmentation(Box<Segmentation>),
    Classification(Box<Classified>),
    /// Of a fusion: there are no voxels that it points to.
    Prediction(Box<Prediction>),
    NotAnalysed {
        reason: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnalysisError {
    #[error(transparent)]
    Model(#[from] InferenceError),
    #[error("model {0} takes no images")]
    NotForImages(String),
}

/// When the voxels are kept until the answer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Underlay {
    ForHeatmap,
    Always,
}

pub(crate) fn run(
    model: &Model,
    channels: &[ChannelFiles],
    underlay: Underlay,
    control: &Control<'_>,
) -> Result<Analysis, AnalysisError> {
    let mut volumes = Vec::with_capacity(channels.len());
    let is_colour = model.package().image_input().is_some_and(|input| input.is_colour);
    for channel in channels {
        let loaded = if is_colour {
            imaging::load_colour(channel).map(Vec::from)
        } else {
            imaging::load_volume(channel).map(|volume| vec![volume])
        };
        match loaded {
            Ok(loaded) => volumes.extend(loaded),
            Err(error) => return Ok(not_analysed(&error)),
        }
    }
    let frames = volumes.first().map(|volume: &Volume| volume.frames.clone()).unwrap_or_default();
    let is_shown = underlay == Underlay::Always || model.package().writes.heatmap;
    let underlay = volumes.first().filter(|_| is_shown).map(|volume| volume.voxels.clone());
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
