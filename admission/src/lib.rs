//! Decides what becomes of an instance that came whole, the same for every door.
//!
//! The spool says what it found under the instance's UID; [`settle`] decides which of two data
//! sets the UID stands for from now on, by the policy of the spool. [`record()`] writes what the
//! ledger has to know, and takes out of service what the ledger knows elsewhere. Whether a study
//! of two patients is held is decided by the ledger, in the transaction that adds the rows.
//!
//! The DICOM listener settles alone and records off the answer's path, in its own batches.

mod arrival;
mod aside;
mod record;
mod twin;

pub use arrival::{Arrival, Instance, settle};
pub use aside::Aside;
pub use record::{AdmissionError, Admitted, record};
pub use twin::{compare_with_first, replace_known, set_other_aside};
