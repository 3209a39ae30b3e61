//! What a request asks.

use super::{
    body::Room,
    table::{Table, TooMuch},
};
use crate::error::{ApiError, Code};

/// A body that was read.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) table: Table,
    /// An opaque word of the caller's.
    pub(crate) patient_id: Option<String>,
    pub(crate) model_name: Option<String>,
    /// What a long body takes up until its answer is made.
    pub(super) room: Room,
}

/// Why a body cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyProblem {
    /// It is no JSON, and where.
    #[error("{0}")]
    Syntax(String),
    #[error("data list required")]
    NoData,
    #[error("row {0} is not an object of names and numbers")]
    NotARow(usize),
    #[error(
        "patient_id is a text of 1 to {PATIENT_ID_LENGTH_MAX} bytes without control characters, or a number"
    )]
    PatientId,
    #[error("model_name is a text of at most {MODEL_NAME_LENGTH_MAX} bytes")]
    ModelName,
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body ended too early")]
    Cut,
}

const PATIENT_ID_LENGTH_MAX: usize = 256;
const MODEL_NAME_LENGTH_MAX: usize = 256;

/// A patient's word, if it is one that can be kept and found again.
pub(crate) fn patient_id(text: &str) -> Result<String, BodyProblem> {
    let fits = (1..=PATIENT_ID_LENGTH_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(BodyProblem::PatientId) }
}

pub(super) fn model_name(text: &str) -> Result<String, BodyProblem> {
    if text.len() <= MODEL_NAME_LENGTH_MAX { Ok(text.to_owned()) } else { Err(BodyProblem::ModelName) }
}

impl From<BodyProblem> for ApiError {
    fn from(problem: BodyProblem) -> Self {
        let code = match &problem {
            BodyProblem::Syntax(_) => Code::InvalidJson,
            BodyProblem::NoData | BodyProblem::Cut => Code::BadRequest,
            BodyProblem::NotARow(_) | BodyProblem::PatientId | BodyProblem::ModelName => Code::BadRequest,
            BodyProblem::TooMuch(_) | BodyProblem::TooLarge(_) => Code::BodyTooLarge,
        };
        Self::because(code, problem.to_string())
    }
}
