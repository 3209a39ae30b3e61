//! Accepts DICOM associations, stores each instance durably, and only then answers success.
//!
//! [`Listener`] is the provider: verification, storage, storage commitment, plain and TLS.
//! [`send`] and [`echo`] are the user's side. Instances go to the spool, their rows to the
//! ledger, in batches, off the answer's path. Nothing here knows what a study is good for.
//!
//! Metrics: `overread_associations_accepted_total`, `overread_associations_rejected_total`,
//! `overread_associations_failed_total`, `overread_connections_dropped_total`,
//! `overread_instances_received_total{outcome}`, `overread_instances_refused_total`,
//! `overread_instances_recorded_total`.

mod access;
mod ae_title;
mod association;
mod client;
mod command;
mod commitment;
mod config;
mod conformance;
mod identity;
mod intake;
mod listener;
mod negotiate;
mod pdu;
mod promise;
mod reconcile;
mod send;
mod sop_class;
mod status;
mod store;
mod tls;
mod transfer_syntax;
mod wire;

pub use ae_title::{AeTitle, BadAeTitle};
pub use client::{ClientError, ClientOptions};
pub use command::Priority;
pub use commitment::{CommitmentReport, CommitmentRequest, ask_for_commitment, verdicts};
pub use config::{
    CalledAe, ClientCertificates, CommitmentPeer, Limits, PeerRule, ScpConfig, Timeouts, TlsConfig,
};
pub use conformance::conformance_statement;
pub use identity::{BadTokenKey, Identities, TokenRule, UserPasscode};
pub use listener::{BindError, Listener};
pub use pdu::BadPdu;
pub use reconcile::{ReconcileError, Reconciled, RecoveryEvent, reconcile, record_owed, recover};
pub use send::{SendEvent, SendFailure, SendOptions, SendReport, echo, send};
pub use status::Status;
pub use tls::{TlsError, TlsOptions};
pub use wire::{Wait, WireError};
