//! Keeps every study, job, result, delivery, account and event as rows; the only place with SQL.
//!
//! The same tables and the same Rust interface stand on SQLite (embedded, the default)
//! and on PostgreSQL (more than one node). What a method promises holds once it has
//! returned: it is one transaction, and under [`Durability::Power`] the transaction is
//! on the disk.
//!
//! The ledger decides nothing clinical. It knows no DICOM network, no file and no model;
//! whether a series is whole, which model suits it and when a result may leave is decided
//! by its callers, who hand over what they saw and are refused when it no longer holds.
//!
//! Every change of state adds an [`Event`] in the same transaction and wakes whoever
//! waits on [`Ledger::changed`], on this node and, with PostgreSQL, on the others.

mod account;
mod api_key;
mod artifact;
mod association;
mod audit;
mod batch;
mod change;
mod commitment;
mod cursor;
mod db;
mod deed;
mod delivery;
mod destination;
mod drift;
mod error;
mod event;
mod evidence;
mod feedback;
mod hold;
mod id;
mod idempotency;
mod identity;
mod installation;
mod instance;
mod intake;
mod job;
mod journal;
mod ledger;
mod open;
mod owed_report;
mod page;
mod prediction;
mod quarantine;
mod recipient;
mod replacement;
mod result;
mod retention;
mod retraining;
mod review;
mod role;
mod segmentation_request;
mod series;
mod session;
mod study;
mod superseded;
mod telling;
mod text_enum;
mod time;
mod wanted_again;

pub use account::{Account, AccountChange, LoginFailure, NewAccount};
pub use api_key::{ApiKey, NewApiKey};
pub use artifact::{Artifact, NewArtifact};
pub use association::{Association, Door, Ending, NewAssociation};
pub use audit::{AuditFilter, AuditHead, AuditKey, AuditProblem, AuditRow, NewAudit};
pub use batch::{Batch, BatchItem, BatchItemState, NewBatch, NewBatchItem, Tally};
pub use change::{Changes, Topic};
pub use commitment::{Commitment, CommitmentOutcome, CommitmentVerdict};
pub use cursor::Cursor;
pub use db::Mark;
pub use deed::Noted;
pub use delivery::{
    Delivery, DeliveryFilter, DeliveryLease, DeliveryState, NewDelivery, OutboxCount, Parcel,
};
pub use destination::Destination;
pub use drift::{Answered, AnsweringVersion, Span};
pub use error::Error;
pub use event::{Event, EventFilter, NewEvent};
pub use evidence::{Carrier, SeriesEvidence, Stable, StudyEvidence};
pub use feedback::{Decided, DecidedCase, FeedbackFilter};
pub use hold::{Hold, HoldReason};
pub use id::{
    AccountId, ApiKeyId, ArtifactId, AssociationId, BatchId, BootId, CallId, DeliveryId, EventSeq, HoldId,
    JobId, NodeId, PredictionId, QuarantinedId, RecipientId, ResultId, RetrainingId, ReviewId,
    SegmentationRequestId, SessionId, WorkerId,
};
pub use idempotency::{ClaimState, Claimed, IdempotencyClaim, KeptAnswer, NewIdempotencyClaim};
pub use instance::InstanceRow;
pub use intake::{NewInstance, Recorded};
pub use job::{
    ATTEMPTS_MAX, About, Claim, ClaimedJob, Enqueued, Failed, Failure, FailureKind, Heartbeat, Job,
    JobFilter, JobInput, JobState, LOST_LEASES_MAX, Lease, ModelRef, NewJob, NewResult, Priority, QueueCount,
    Release, ReleaseGuard, Released, SeriesAt, TakenBack,
};
pub use journal::JournalError;
pub use ledger::Ledger;
pub use open::{Durability, OpenError};
pub use owed_report::OwedReport;
pub use page::{Page, PageRequest};
pub use prediction::{
    NewPrediction, NewPredictions, Prediction, PredictionFilter, PredictionReview, ReviewedPrediction,
};
pub use quarantine::{NewQuarantined, QuarantineReason, Quarantined};
pub use recipient::{DicomPatient, PushToken, RecipientKind};
pub use result::{Outcome, ResultFilter, ResultRow};
pub use retention::Forgettable;
pub use retraining::{NewRetraining, Retraining, RetrainingDecided, RetrainingOutcome, RetrainingState};
pub use review::{
    Decision, Eyes, NewReview, RejectionReason, Review, ReviewObjects, ReviewState, Reviewed, Reviewer,
    Standing, Verdict, standing,
};
pub use role::Role;
pub use segmentation_request::{RequestState, SegmentationRequest, WorkerReport};
pub use series::SeriesRow;
pub use session::{NewSession, Session, SessionKind};
pub use study::{Forced, StudyFilter, StudyRow};
pub use superseded::SupersededAt;
pub use time::Millis;
pub use wanted_again::WantedAgain;
