//! Rows of numbers in, probabilities out, each kept before it is answered.
//!
//! Whoever asks names a patient, and the rows are stored with him, the model's version and
//! whoever asked; the call is in the audit trail either way. What a body may hold is bounded
//! before it is read: rows, cells, names, and how many bodies that hold much are read and answered at once.

mod asked;
mod body;
mod csv;
mod explain;
mod parse;
mod run;
mod table;

pub(crate) use asked::patient_id;
pub(crate) use body::{ReadBodies, feature_rows, read};
pub(crate) use csv::{OwnedQuestion, answer_csv};
pub(crate) use explain::{ContributionsView, explain};
pub(crate) use run::{Kept, Question, spec_of};
