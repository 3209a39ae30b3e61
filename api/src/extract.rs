//! axum's extractors, with refusals that are problem documents.

use axum::{
    extract::{
        FromRequest, FromRequestParts, OptionalFromRequest, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{ApiError, Code};

/// A JSON body, in or out.
#[derive(Debug)]
pub(crate) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await;
        body.map(|body| Self(body.0)).map_err(json_refusal)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let body = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await;
        body.map(|body| body.map(|body| Self(body.0))).map_err(json_refusal)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The serde message names a field and a place, never a value that a person typed in a
/// secret field: those are plain texts and have no wrong value.
fn json_refusal(rejection: JsonRejection) -> ApiError {
    match &rejection {
        JsonRejection::MissingJsonContentType(_) => {
            ApiError::because(Code::UnsupportedMediaType, "send Content-Type: application/json")
        }
        JsonRejection::JsonDataError(_) => ApiError::because(Code::InvalidJson, rejection.body_text()),
        JsonRejection::JsonSyntaxError(_) => ApiError::because(Code::InvalidJson, rejection.body_text()),
        _ => body_refusal(rejection.status(), rejection),
    }
}

/// A body that could not be read to its end.
pub(crate) fn body_refusal(
    status: StatusCode,
    rejection: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ApiError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Code::BodyTooLarge),
        _ => ApiError::because(Code::BadRequest, "the body ended too early").caused_by(rejection),
    }
}

/// Parts of the address.
#[derive(Debug)]
pub(crate) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(rejection @ PathRejection::FailedToDeserializePathParams(_)) => {
                Err(ApiError::because(Code::InvalidParameter, rejection.body_text()))
            }
            Err(rejection) => Err(ApiError::internal(rejection)),
        }
    }
}

/// The part of the address after `?`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state).await.map(|query| Self(query.0)).map_err(
            |rejection: QueryRejection| ApiError::because(Code::InvalidParameter, rejection.body_text()),
        )
    }
}
