//! Why a run gave no answer.

use crate::{control::Cancelled, graph::GraphError, package::ModelId};

/// A run that failed. An input that is not fit is no failure: see [`crate::Outcome::NotAnalysed`].
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("model {model} is for {task}, not for {wanted}")]
    WrongTask { model: ModelId, task: &'static str, wanted: &'static str },
    #[error("the model takes {expected} series, {found} were given")]
    Channels { expected: usize, found: usize },
    #[error("the model could not be run")]
    Graph(#[from] GraphError),
    #[error("the model's output has the shape {found:?}: expected {expected:?}")]
    OutputShape { found: Vec<usize>, expected: Vec<usize> },
    #[error("the model's output holds numbers that are not finite")]
    NotFinite,
}
