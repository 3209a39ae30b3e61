//! Serves HTTP; translates requests into calls and errors into answers, and decides nothing clinical.
//!
//! [`router`] is the whole of it: probes and metrics, the try-it page, `/v1`, events and
//! Orthanc's webhook, behind one gate ([`RULES`] says who may call what) and one shape of
//! refusal ([`ApiError`]). The binary opens what is served from ([`Services`]), binds the
//! sockets and ends them; this crate opens no port, reads no configuration and holds no SQL.
//!
//! What names a patient is in answers for doctors, technicians and services only, and in no
//! log line, error, label or event. Metrics: see [`install_metrics`].

mod access;
mod app;
mod audit;
mod auth;
mod batch;
mod compat;
mod config;
mod day;
mod drift;
mod error;
mod etag;
mod export;
mod extract;
mod feed;
mod feedback;
mod gate;
mod health;
mod idempotency;
mod keeping;
mod layers;
mod limits;
mod metrics;
mod openapi;
mod orthanc;
mod page;
mod parameters;
mod process;
mod reading;
mod request_id;
mod retrain;
mod routes;
mod scrape;
mod state;
mod syslog;
mod tabular;
mod temporary;
mod transport;
mod upload;
mod view;

pub use access::{Access, RULES, Rule};
pub use app::{openapi, router};
pub use auth::{
    GatewayTokens, NoSuchScope, Oidc, OidcConfig, OidcError, OneTimeError, Password, PasswordError, Scope,
    Secret, ShortGatewayKey, ShortSecret, TokenSigner, digest_of, hash_password, issue_one_time,
    issue_only_one_time,
};
pub use batch::run_batches;
pub use config::{Compat, HttpConfig, Limits, Listener, LockOut, Plain, PollingWorker, TokenLifetimes};
pub use drift::{DriftConfig, watch_drift};
pub use error::{ApiError, Code};
pub use metrics::install as install_metrics;
pub use retrain::{RetrainConfig, run_retrainings};
pub use state::{AppState, Clock, Services};
pub use syslog::{Syslog, SyslogConfig, SyslogError, SyslogTransport, send_audit};
pub use temporary::TemporaryFolder;
