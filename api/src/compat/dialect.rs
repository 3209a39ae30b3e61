//! How each contract words a refusal.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::language::Language;
use crate::error::{Code, Told};

/// A refusal of the imaging routes, in the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for what is written as JSON below")]
pub(crate) struct ImageRefusal {
    error: ImageRefusalError,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for what is written as JSON below")]
pub(crate) struct ImageRefusalError {
    #[schema(example = "INVALID_IMAGE_FORMAT")]
    code: String,
    /// For people, in Korean or English.
    message: String,
    detail: Option<String>,
}

/// A refusal of the routes for workers, in the OpenAPI document.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for what is written as JSON below")]
pub(crate) struct WorkerRefusal {
    /// `false`.
    success: bool,
    error: String,
}

/// The contract of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The tabular model server: whoever shows no key is forbidden.
    ModelServer,
    /// The gateway in front of it: who is not signed in hears 401.
    Gateway,
    /// Classification and segmentation: a code, and a sentence for people.
    Imaging,
    /// Series for programs that ask for work.
    Workers,
}

impl Dialect {
    pub(crate) fn of(route: &str) -> Option<Self> {
        match route {
            "/health" | "/schema" | "/predict" | "/reload" => Some(Self::ModelServer),
            "/api/v1/predict" | "/api/v1/status" | "/api/v1/model-info" | "/api/v1/retrain" => {
                Some(Self::ModelServer)
            }
            "/api/v1/mg/inference" | "/api/v1/mm/inference" => Some(Self::ModelServer),
            "/predict/ct_classification"
            | "/v1/predict/ct_classification"
            | "/predict/mri_segmentation/async"
            | "/api/v1/m1/inference"
            | "/task/{id}"
            | "/feedback" => Some(Self::Imaging),
            _ if route.starts_with("/api/mri/segmentation/") => Some(Self::Workers),
            _ if route.starts_with("/api/ml/") || route.starts_with("/ml/v1/") => Some(Self::Gateway),
            _ => None,
        }
    }

    /// The same refusal in the words of the contract; headers such as `Retry-After` stay.
    pub(crate) fn refuse(self, told: &Told, language: Language, response: Response) -> Response {
        let (mut parts, _) = response.into_parts();
        parts.status = self.status(told.code);
        let body = self.body(told, language).to_string();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if parts.status != StatusCode::UNAUTHORIZED {
            parts.headers.remove(header::WWW_AUTHENTICATE);
        }
        Response::from_parts(parts, Body::from(body))
    }

    fn status(self, code: Code) -> StatusCode {
        match (self, code) {
            (Self::ModelServer, Code::Unauthenticated | Code::BadCredentials | Code::TokenExpired) => {
                StatusCode::FORBIDDEN
            }
            (Self::ModelServer | Self::Gateway, Code::Unprocessable) => StatusCode::BAD_REQUEST,
            _ => code.status(),
        }
    }

    fn body(self, told: &Told, language: Language) -> Value {
        match (self, told.code) {
            (Self::Imaging, code) => imaging(code, told, language),
            (Self::Workers, _) => json!({ "success": false, "error": sentence(told, language) }),
            (_, Code::InvalidJson) => json!({ "detail": "invalid JSON" }),
            (_, Code::HttpsRequired) => json!({ "detail": "HTTPS required" }),
            (
                Self::ModelServer,
                Code::Unauthenticated | Code::BadCredentials | Code::TokenExpired | Code::Forbidden,
            ) => json!({ "detail": "Forbidden" }),
            (Self::Gateway, Code::Unauthenticated) => {
                json!({ "detail": "Authentication credentials were not provided." })
            }
            (Self::Gateway, Code::BadCredentials | Code::TokenExpired) => {
                json!({ "detail": "Given token not valid for any token type", "code": "token_not_valid" })
            }
            (Self::Gateway, Code::Forbidden) => {
                json!({ "detail": "You do not have permission to perform this action." })
            }
            _ => json!({ "detail": sentence(told, language) }),
        }
    }
}

/// The message is for people, the detail for whoever puts it right.
fn imaging(code: Code, told: &Told, language: Language) -> Value {
    let name = match code {
        Code::InvalidDicom => "INVALID_IMAGE_FORMAT".to_owned(),
        other => other.as_str().to_ascii_uppercase(),
    };
    let message = language.sentence(code).map(Cow::Borrowed).or_else(|| told.detail.clone());
    let message = message.unwrap_or(Cow::Borrowed(code.title()));
    json!({ "error": { "code": name, "message": message, "detail": told.detail } })
}

/// The words that the contract fixes come as the refusal's own; else a sentence for people.
fn sentence(told: &Told, language: Language) -> Cow<'static, str> {
    let fixed = matches!(told.code, Code::Unavailable | Code::Internal | Code::BodyTooLarge);
    match (&told.detail, language.sentence(told.code)) {
        (Some(detail), _) if fixed => detail.clone(),
        (_, Some(sentence)) => Cow::Borrowed(sentence),
        (Some(detail), None) => detail.clone(),
        (None, None) => Cow::Borrowed(told.code.title()),
    }
}
