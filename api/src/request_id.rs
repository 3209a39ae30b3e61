//! One name for a request in its answer, its log lines, its rows and its errors.
//!
//! A caller's `X-Request-Id` is kept when it is short and plain; anything else is
//! replaced, so that a header cannot write into a log.

use std::fmt;

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderName, HeaderValue, Method, request::Parts},
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

use crate::error::{ApiError, Code};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LENGTH_MAX: usize = 64;

/// The name of one request. A handler takes it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn made() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    fn sane(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (!text.is_empty() && text.len() <= LENGTH_MAX && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What its log lines stand under.
    pub(crate) fn span(&self, method: &Method) -> tracing::Span {
        tracing::info_span!("request", request.id = %self, %method)
    }

    /// Serves the request under this name.
    pub(crate) fn serve<F: Future<Output = Response>>(&self, answer: F) -> impl Future<Output = Response> {
        CURRENT.scope(self.clone(), answer)
    }

    /// Tells the caller.
    pub(crate) fn mark(&self, response: &mut Response) {
        response.headers_mut().insert(HEADER, self.header_value());
    }

    fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a request id holds letters, digits, '-', '_' and '.' only")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of the request that this task serves.
pub(crate) fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Carries the id of this task's request and its span into a task of its own.
pub(crate) fn same<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = current().unwrap_or_else(RequestId::made);
    CURRENT.scope(id, work).in_current_span()
}

/// Names the request.
pub(crate) fn name(request: &mut Request) -> RequestId {
    let id = request.headers().get(HEADER).and_then(RequestId::sane).unwrap_or_else(RequestId::made);
    request.extensions_mut().insert(id.clone());
    id
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::new(Code::Internal).caused_by("the request id layer is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken_over() {
        let taken = |text: &str| RequestId::sane(&HeaderValue::from_str(text).unwrap()).is_some();
        assert!(taken("REQ_20251128_001"));
        assert!(taken(&"a".repeat(64)));
        for text in ["", "a b", "a\tb", "a;b", "{\"a\":1}", &"a".repeat(65)] {
            assert!(!taken(text), "{text:?}");
        }
    }
}
