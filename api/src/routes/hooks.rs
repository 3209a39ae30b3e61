//! Calls by Orthanc: something became stable there.

use axum::{
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use orthanc_bridge::HookError;

use crate::{
    auth::bearer,
    error::{ApiError, ApiResult, Code},
    extract::{Path, body_refusal},
    state::AppState,
};

/// What the Lua script of `orthanc/` sends. The body is a hint and nothing more: facts are
/// read again from Orthanc itself.
#[utoipa::path(post, path = "/hooks/orthanc/{source}", tag = "hooks", operation_id = "orthanc_hook",
    params(("source" = String, Path, description = "Name of the source in the configuration")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 202, description = "It will be looked at"), (status = 404, description = "No such source")))]
pub(crate) async fn orthanc(
    State(state): State<AppState>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<StatusCode> {
    let body = body.map_err(|rejection| body_refusal(rejection.status(), rejection))?;
    state.bridge.webhook(&source, bearer(&headers), &body)?;
    Ok(StatusCode::ACCEPTED)
}

impl From<HookError> for ApiError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::NoSuchSource => Self::no_such("source"),
            HookError::NoSecret => Self::because(Code::Forbidden, error.to_string()),
            HookError::Unauthorized => Self::because(Code::BadCredentials, error.to_string()),
            HookError::Malformed => Self::because(Code::BadRequest, error.to_string()),
        }
    }
}
