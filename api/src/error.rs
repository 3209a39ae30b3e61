//! The one place where what went wrong becomes an HTTP answer.
//!
//! Every refusal is an RFC 9457 problem document with a stable `code`. Outside text and
//! inside cause are two fields: the cause is logged once, under the request id, and cannot
//! be shown by accident. Which clause of the domain was broken is decided elsewhere; the
//! conversions at the end of this file only choose status and sentence.

use std::{borrow::Cow, error::Error as StdError, fmt};

use axum::{
    Extension, Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request_id;

/// The media type of RFC 9457 §3.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What a handler answers.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = ($status:ident, $code:literal, $title:literal)),+ $(,)?) => {
        /// The stable names of everything that can be refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $variant),+ }

        impl Code {
            /// Every code, for the documentation and its test.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    BadRequest = (BAD_REQUEST, "bad_request", "The request cannot be understood"),
    InvalidJson = (BAD_REQUEST, "invalid_json", "The body is not the JSON that was expected"),
    InvalidParameter = (BAD_REQUEST, "invalid_parameter", "A parameter is not valid"),
    InvalidDicom = (BAD_REQUEST, "invalid_dicom", "A file is no usable DICOM Part 10 file"),
    Unauthenticated = (UNAUTHORIZED, "unauthenticated", "Sign in, or send an API key"),
    BadCredentials = (UNAUTHORIZED, "bad_credentials", "Name, password, key or token is wrong"),
    TokenExpired = (UNAUTHORIZED, "token_expired", "The token has expired"),
    Forbidden = (FORBIDDEN, "forbidden", "This is not for your role"),
    HttpsRequired = (FORBIDDEN, "https_required", "This service is not spoken to in the clear"),
    NotFound = (NOT_FOUND, "not_found", "There is no such thing here"),
    MethodNotAllowed = (METHOD_NOT_ALLOWED, "method_not_allowed", "This address does not take that method"),
    Conflict = (CONFLICT, "conflict", "The state does not allow this"),
    InProgress = (CONFLICT, "in_progress", "The same request is being carried out"),
    OutcomeUnknown = (CONFLICT, "outcome_unknown", "Nobody can say whether this was carried out"),
    AnswerNotKept = (CONFLICT, "answer_not_kept", "This was carried out before"),
    PreconditionFailed = (PRECONDITION_FAILED, "precondition_failed", "It is not any more what you saw"),
    PreconditionRequired = (PRECONDITION_REQUIRED, "precondition_required", "Say which version you saw"),
    BodyTooLarge = (PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than allowed"),
    UnsupportedMediaType = (UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "This content type is not taken here"),
    Unprocessable = (UNPROCESSABLE_ENTITY, "unprocessable", "The values do not fit together"),
    KeyReused = (UNPROCESSABLE_ENTITY, "key_reused", "The idempotency key is another request's"),
    AccountLocked = (TOO_MANY_REQUESTS, "account_locked", "Too many wrong passwords"),
    RateLimited = (TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
    Internal = (INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
    BadGateway = (BAD_GATEWAY, "bad_gateway", "The system behind this one does not answer as it should"),
    Unavailable = (SERVICE_UNAVAILABLE, "unavailable", "This cannot be served now"),
    Overloaded = (SERVICE_UNAVAILABLE, "overloaded", "Too much is being asked at once"),
    TimedOut = (SERVICE_UNAVAILABLE, "timed_out", "The answer took too long"),
    StorageFull = (INSUFFICIENT_STORAGE, "storage_full", "There is no room to keep this"),
}

/// RFC 9457 §3, with the code and the request id as extension members.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:overread:problem:` and the code.
    #[schema(example = "urn:overread:problem:not_found")]
    r#type: String,
    /// The same sentence for every problem of this code.
    title: &'static str,
    status: u16,
    /// What happened this time, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Stable; programs should decide by this.
    #[schema(example = "not_found")]
    code: &'static str,
    /// Tells the administrator where in the log to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// A refusal: what the caller is told, and what only the log is.
pub struct ApiError {
    code: Code,
    detail: Option<Cow<'static, str>>,
    inside: Option<Box<dyn StdError + Send + Sync>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub const fn new(code: Code) -> Self {
        Self { code, detail: None, inside: None, headers: Vec::new() }
    }

    /// A refusal with a sentence for the caller.
    pub fn because(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// Something broke here; the caller learns only that.
    pub fn internal(inside: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal).caused_by(inside)
    }

    /// Nothing of the kind `noun` is there, or the caller may not see that it is.
    pub fn no_such(noun: &'static str) -> Self {
        Self::because(Code::NotFound, format!("there is no such {noun}"))
    }

    #[must_use]
    pub fn caused_by(mut self, inside: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inside = Some(inside.into());
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// RFC 9110 §10.2.3, in whole seconds and never zero.
    #[must_use]
    pub fn retry_after(self, wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub fn code(&self) -> Code {
        self.code
    }

    fn log(&self) {
        let code = self.code.as_str();
        let Some(inside) = &self.inside else { return };
        let chain = Chain(inside.as_ref());
        if self.code.status().is_server_error() {
            tracing::error!(code, error = %chain, "request failed: {code}");
        } else {
            tracing::info!(code, error = %chain, "request refused: {code}");
        }
    }
}

/// What a refusal says, for contracts that say it in another shape.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) code: Code,
    pub(crate) detail: Option<Cow<'static, str>>,
}

/// An error and its causes in one line.
struct Chain<'a>(&'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiError").field("code", &self.code).field("detail", &self.detail).finish()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let told = Told { code: self.code, detail: self.detail.clone() };
        let problem = Problem {
            r#type: format!("urn:overread:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail.map(Cow::into_owned),
            code: self.code.as_str(),
            request_id: request_id::current().map(|id| id.to_string()),
        };
        let mut headers: HeaderMap = self.headers.into_iter().collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"overread\""));
        }
        (self.code.status(), headers, Extension(told), Json(problem)).into_response()
    }
}

impl From<ledger::Error> for ApiError {
    fn from(error: ledger::Error) -> Self {
        use ledger::Error;
        match &error {
            Error::NoSuchStudy(_) => Self::no_such("study"),
            Error::NoSuchSeries(_) => Self::no_such("series"),
            Error::NoSuchJob(_) => Self::no_such("job"),
            Error::NoSuchResult(_) => Self::no_such("result"),
            Error::NoSuchDelivery(_) => Self::no_such("delivery"),
            Error::NoSuchRetraining(_) => Self::no_such("retraining"),
            Error::JobState { .. } | Error::DeliveryState { .. } => {
                Self::because(Code::Conflict, error.to_string())
            }
            Error::ObjectTaken(_) => Self::because(
                Code::Conflict,
                "the segmentation belongs to another review: save it as a new object",
            ),
            Error::NameTaken(_) => Self::because(Code::Conflict, "the name is taken"),
            Error::Database(_) | Error::Group(_) | Error::Journal(_) | Error::TrailBehind
                if error.may_pass() =>
            {
                Self::because(Code::Unavailable, "the database does not answer; try again")
                    .retry_after(std::time::Duration::from_secs(2))
                    .caused_by(error)
            }
            Error::Database(_)
            | Error::Unreadable { .. }
            | Error::Json(_)
            | Error::Group(_)
            | Error::Journal(_)
            | Error::TrailBehind
            | Error::Unnoted(_)
            | Error::Interrupted => Self::internal(error),
        }
    }
}
