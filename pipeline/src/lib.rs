//! Decides when a study is ready, gives each model its job, and carries results out until they have arrived.
//!
//! ```text
//! study ──look──▶ job ──claim, run──▶ result ──release──▶ delivery ──send, prove──▶ arrived
//! ```
//!
//! Each arrow is one transaction of the ledger; [`KillPoint`] names a place right after each.
//! [`Pipeline::start`] runs the loops; [`PipelineHandle`] answers questions. What is decided
//! is decided by pure functions: [`verdict`] (is a series whole), routing (which model gets
//! what), the plan (which jobs a study asks for).
//!
//! A result leaves only with evidence that its series is whole, unchanged since, and its
//! study not held. Own results never start a run. Nothing here reads pixels, writes SQL or
//! speaks HTTP to users.
//!
//! Metrics: `overread_jobs_enqueued_total`, `overread_job_wait_seconds`, `overread_job_seconds`,
//! `overread_job_failures_total`, `overread_results_total`, `overread_deliveries_total`,
//! `overread_delivery_seconds`, `overread_destination_up`.

mod analysis;
mod backoff;
mod clock;
mod config;
mod destination;
mod encode;
mod explain;
mod form;
mod fusion;
mod job_key;
mod keep;
mod kill_point;
mod look;
mod notify;
mod outbox;
mod picture;
mod pipeline;
mod plan;
mod read_once;
mod readiness;
mod release;
mod retire;
mod review;
mod routing;
mod tidy;
mod worker;

pub use backoff::Backoff;
pub use clock::Clock;
pub use config::{Leases, Part, PipelineConfig, Retries};
pub use destination::{DestinationConfig, DestinationKind, StoreProof};
pub use explain::{Explanation, HoldView, SeriesView, StackView, explain_study};
pub use form::Form;
pub use fusion::{FusionError, FusionOrder};
pub use keep::KeepObjectsError;
pub use kill_point::{KILL_AT_VARIABLE, KillPoint};
pub use notify::{
    BadWebhookSecret, NoSuchNotice, NoticeKind, PushConfig, PushTo, ServiceAccount, ServiceAccountError,
    SubscriberConfig, SubscriberKind, WebhookSecret,
};
pub use pipeline::{Pipeline, PipelineHandle};
pub use read_once::{ReadObject, ReadOnce, ReadOnceError, Reading, read_once};
pub use readiness::{Carriage, Evidence, Geometry, Patience, SeriesFacts, Verdict, Wait, verdict};
pub use review::{GivenFile, ReviewDecision, ReviewError, ReviewOrder, SegmentationFile};
pub use routing::{Because, ChosenStack, ModelRoute, SiteRule, Unchosen, route_headers};
