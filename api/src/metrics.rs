//! What Prometheus reads: requests as they pass, and the rest when it asks.
//!
//! | name | labels |
//! | --- | --- |
//! | `overread_http_requests_total` | `method`, `route`, `status` |
//! | `overread_http_request_seconds` | `method`, `route` |
//! | `overread_http_rate_limited_total` | |
//! | `overread_http_panics_total` | |
//! | `overread_sign_ins_total` | `outcome` |
//! | `overread_predictions_not_stored_total` | |
//! | `overread_event_streams` | |
//! | `overread_jobs`, `overread_deliveries` | `state` |
//! | `overread_models_in_service` | |
//! | `overread_disk_free_bytes` | |
//! | `overread_scrape_failures_total` | `part` |
//! | `overread_process_cpu_seconds_total`, `…_resident_memory_bytes`, `…_open_files`, `…_start_time_seconds` | |
//!
//! A route is the template (`/v1/jobs/{id}`), never the address as sent: labels hold no
//! identifier of a person or a study, and strangers cannot make new ones.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// From a fast answer to a slow model.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0,
];
const BYTES: &[f64] = &[1e3, 1e4, 1e5, 2.5e5, 5e5, 1e6, 1e7, 1e8, 1e9];

/// Installs the recorder behind the `metrics` macros, with our buckets. The caller runs
/// [`PrometheusHandle::run_upkeep`] every few seconds.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .install_recorder()
}

/// Counts and times one request under its route.
#[derive(Debug)]
pub(crate) struct Observed {
    started: Instant,
    method: &'static str,
    route: String,
}

impl Observed {
    pub(crate) fn begin(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        Self { started: Instant::now(), method: method_label(request.method()), route: route.to_owned() }
    }

    pub(crate) fn end(self, response: &Response) {
        let Self { started, method, route } = self;
        let (elapsed, status) = (started.elapsed(), response.status());
        tracing::debug!(
            route,
            status = status.as_u16(),
            duration_ms = elapsed.as_millis() as u64,
            "{method} {route} answered {}",
            status.as_u16()
        );
        metrics::counter!("overread_http_requests_total",
            "method" => method, "route" => route.clone(), "status" => status.as_str().to_owned())
        .increment(1);
        metrics::histogram!("overread_http_request_seconds", "method" => method, "route" => route)
            .record(elapsed.as_secs_f64());
    }
}

/// A method is a text that a stranger chooses; a label is not.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
