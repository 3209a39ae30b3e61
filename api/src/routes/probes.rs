//! Probes of orchestrators, and what Prometheus reads.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    auth,
    extract::Json,
    health::{self, Detail},
    scrape,
    state::AppState,
    transport::ClientAddress,
};

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    status: &'static str,
}

/// Is the process alive? It asks nothing of the database or anything else.
#[utoipa::path(get, path = "/livez", tag = "service", operation_id = "livez",
    responses((status = 200, body = Alive)))]
pub(crate) async fn livez() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

/// Can studies be taken, analysed and written back? One line for each thing that must work.
#[utoipa::path(get, path = "/ready", tag = "service", operation_id = "ready", responses(
    (status = 200, body = health::Readiness, description = "Everything that must work does"),
    (status = 503, body = health::Readiness, description = "Something does not; its line says what")))]
pub(crate) async fn ready(
    State(state): State<AppState>,
    axum::Extension(ClientAddress(address)): axum::Extension<ClientAddress>,
    headers: HeaderMap,
) -> Response {
    let known = address.is_loopback() || auth::identify(&state, &headers).await.is_ok();
    let detail = if known { Detail::Full } else { Detail::Bare };
    let readiness = health::readiness(&state, detail).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Figures in the text format of Prometheus. No label names a person or a study.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")))]
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    scrape::refresh(&state).await;
    let text = state.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
