//! What Orthanc's Lua script tells us: a hint that something is stable.
//!
//! The body is believed in nothing but the name of what to look at; everything else is
//! asked of Orthanc. A hint that is lost, repeated or false costs a look.

use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::orthanc::OrthancId;

/// The longest body that is read.
pub const HOOK_BYTES_MAX: usize = 64 << 10;

/// Why a call is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    #[error("there is no such source")]
    NoSuchSource,
    #[error("the source has no webhook secret: calls are not accepted")]
    NoSecret,
    #[error("the bearer token is not the secret of the source")]
    Unauthorized,
    #[error("the body is not what the script sends")]
    Malformed,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    Study(OrthancId),
    Series(OrthancId),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    event: Event,
    orthanc_id: OrthancId,
}

#[derive(Deserialize)]
enum Event {
    StableStudy,
    StableSeries,
}

/// Checks the caller and reads the hint.
pub(crate) fn read(secret: Option<&str>, bearer: Option<&str>, body: &[u8]) -> Result<Hint, HookError> {
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or(HookError::NoSecret)?;
    let given = bearer.unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(HookError::Unauthorized);
    }
    if body.len() > HOOK_BYTES_MAX {
        return Err(HookError::Malformed);
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| HookError::Malformed)?;
    Ok(match body.event {
        Event::StableStudy => Hint::Study(body.orthanc_id),
        Event::StableSeries => Hint::Series(body.orthanc_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a49bedc-11223344-55667788-99aabbcc-ddeeff00";

    fn body() -> String {
        format!(r#"{{"event":"StableStudy","orthancId":"{ID}","tags":{{"StudyID":"1"}}}}"#)
    }

    #[test]
    fn the_hint_is_the_name_of_what_is_stable() {
        let hint = read(Some("s3cret"), Some("s3cret"), body().as_bytes());
        assert_eq!(hint, Ok(Hint::Study(OrthancId::parse(ID).unwrap())));
    }

    #[test]
    fn nobody_gets_in_without_the_secret() {
        for bearer in [None, Some(""), Some("other"), Some("s3cre"), Some("s3crets")] {
            assert_eq!(
                read(Some("s3cret"), bearer, body().as_bytes()),
                Err(HookError::Unauthorized),
                "{bearer:?}"
            );
        }
        assert_eq!(read(None, Some(""), body().as_bytes()), Err(HookError::NoSecret));
        assert_eq!(read(Some(""), Some(""), body().as_bytes()), Err(HookError::NoSecret));
    }

    #[test]
    fn anything_else_is_malformed() {
        let wrong_id = r#"{"event":"StableStudy","orthancId":"../../tools/shutdown"}"#;
        let wrong_event = format!(r#"{{"event":"Deleted","orthancId":"{ID}"}}"#);
        let long = format!("{}{}", body(), " ".repeat(HOOK_BYTES_MAX));
        for body in ["", "[]", "{}", wrong_id, &wrong_event, &long] {
            assert_eq!(read(Some("s"), Some("s"), body.as_bytes()), Err(HookError::Malformed));
        }
    }
}
