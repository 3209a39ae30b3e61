//! `GET /`: what this is and where to go on.

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::Json;

/// What answers here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Landing {
    name: &'static str,
    version: &'static str,
    /// The page on which every route can be tried.
    docs: &'static str,
    openapi: &'static str,
    api: &'static str,
}

/// What this service is. Browsers are led to the try-it page.
#[utoipa::path(get, path = "/", tag = "service", operation_id = "landing", responses(
    (status = 200, body = Landing), (status = 303, description = "To the try-it page, for browsers")))]
pub(crate) async fn landing(headers: HeaderMap) -> Response {
    let browser = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if browser {
        return Redirect::to("/docs/").into_response();
    }
    Json(Landing {
        name: "overread",
        version: env!("CARGO_PKG_VERSION"),
        docs: "/docs",
        openapi: "/openapi.json",
        api: "/v1",
    })
    .into_response()
}
