//! Takes studies in from Orthanc and hands results back to it, by REST alone.
//!
//! In: [`Bridge`] follows the change log of each source, and takes the calls of the Lua
//! script in `orthanc/` as hints to look sooner. Out: [`Orthanc`] uploads and looks up.
//! [`Proxy`] hands on what others ask of it.
//! [`Rest`] says of every failure whether the same request may succeed later.
//!
//! Nothing here decides whether a study is ready, and nothing is ever changed in Orthanc
//! but by [`Orthanc::upload`] and [`Orthanc::delete_instance`].
//!
//! Metrics: `overread_orthanc_source_up`, `overread_orthanc_instances_fetched_total`,
//! `overread_orthanc_studies_failed_total`, `overread_orthanc_instances_unusable_total`, `overread_orthanc_hints_dropped_total`.

mod again;
mod bridge;
mod chain;
mod connection;
mod feed;
mod follower;
mod hook;
mod intake;
mod orthanc;
mod proxy;
mod rest;

pub use bridge::{Bridge, BridgeHandle, SourceConfig, SourceStatus};
pub use chain::chain;
pub use connection::{Connection, ConnectionError, Credentials};
pub use hook::{HOOK_BYTES_MAX, HookError};
pub use intake::{IntakeError, Process};
pub use orthanc::{
    BadOrthancId, Change, ChangeKind, Changes, Download, Instance, Orthanc, OrthancId, Series, Study, System,
    Uploaded,
};
pub use proxy::{Answered, Forwarded, Proxy, PublicAddress};
pub use rest::{Rest, RestError};
