//! Keeps DICOM bytes durably and gives them back unchanged; the only place that writes them.
//!
//! One plain Part 10 file for each instance, under a name made of its UIDs. A file gets
//! that name when it is whole, and "kept" is said only when it is as durable as configured:
//! see `journal.rs` for how that is quick, too. Each file carries length and digest of its
//! data set, so that every file can be checked alone.
//!
//! All calls block: async callers use a blocking thread. The spool knows no ledger, decides
//! no retention and deletes only what it is told to.

mod buffers;
mod config;
mod digest;
mod error;
mod exchange;
mod head;
mod incoming;
mod journal;
mod layout;
mod outcome;
mod part10;
mod placing;
mod quarantine;
mod scan;
mod space;
mod spool;
mod stored;
mod walk;

pub use config::{Durability, SameUid, SpoolConfig};
pub use digest::{BadDigest, Digest};
pub use error::{KeepError, OpenError, PutError, ReadError};
pub use incoming::Incoming;
pub use journal::Receipt;
pub use outcome::{
    Conflict, Disagreement, Fault, InstanceKey, Kept, Outcome, Replaced, Same, Unusable, identity_differs,
};
pub use part10::{FileMeta, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, NotPart10, Prologue};
pub use placing::{Ended, Noted, Unplaced};
pub use scan::Malformed;
pub use spool::Spool;
pub use stored::HeadError;
pub use walk::{Found, Walk, WalkError};
