//! RFC 9110 §13.1.1: who changes something says which version of it he saw.

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, header, request::Parts},
};

use crate::error::{ApiError, Code};

/// The version that a caller saw: the number in the `ETag` of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) u32);

/// The header that tells callers the version of an answer.
pub(crate) fn etag(version: u32) -> (HeaderName, HeaderValue) {
    let text = format!("\"{version}\"");
    (header::ETAG, HeaderValue::from_str(&text).expect("quotes and digits are a header value"))
}

/// Somebody was faster; the answer says which version there is now.
pub(crate) fn overtaken(version: u32) -> ApiError {
    let (name, value) = etag(version);
    let detail = "somebody decided meanwhile: read the result again, then decide anew";
    ApiError::because(Code::PreconditionFailed, detail).with_header(name, value)
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(header::IF_MATCH).iter();
        let value = given.next().and_then(|value| value.to_str().ok()).map(str::trim);
        match (value, given.next()) {
            // "Whatever there is" is what nobody may say who has to have seen it.
            (None | Some("" | "*"), _) => Err(ApiError::because(
                Code::PreconditionRequired,
                "send If-Match with the ETag of the result that you saw",
            )),
            (Some(value), None) => version(value).map(Self).ok_or_else(no_version),
            (Some(_), Some(_)) => Err(no_version()),
        }
    }
}

fn no_version() -> ApiError {
    ApiError::because(Code::InvalidParameter, "If-Match holds one ETag of a result, such as \"0\"")
}

fn version(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('"')?.strip_suffix('"')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_in_quotes() {
        assert_eq!(version("\"17\""), Some(17));
        for text in ["17", "W/\"17\"", "\"\"", "\"-1\"", "\"+1\"", "\"99999999999\"", "\"1\", \"2\""] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
