//! One request to a peer, and what its failure means for the caller.
//!
//! The caller must know one thing about a failure: will the same request succeed later
//! (the peer is down, busy, wrongly addressed), or never (the peer refuses this object)?

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::connection::{Connection, ConnectionError};

/// The longest answer that is read whole; a study of 100 000 instances lists in less.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How much of a refusal's text is kept.
const DETAIL_CHARS_MAX: usize = 300;

/// A request that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("cannot reach {peer}")]
    Unreachable {
        peer: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{peer} does not let us in (HTTP {status}): check username and password")]
    NotAllowed { peer: String, status: u16 },
    #[error("{peer} knows no {path} (HTTP 404): check the address")]
    NotFound { peer: String, path: String },
    #[error("{peer} cannot do it now (HTTP {status}): {detail}")]
    Busy { peer: String, status: u16, detail: String },
    #[error("{peer} refused (HTTP {status}): {detail}")]
    Refused { peer: String, status: u16, detail: String },
    #[error("{peer} answered with something else than it should: {detail}")]
    Answer { peer: String, detail: String },
}

impl RestError {
    /// Whether the peer has judged the thing that was sent, so that sending it again is no use.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Requests below one address, as one user.
#[derive(Debug, Clone)]
pub struct Rest {
    client: Client,
    connection: Connection,
}

impl Rest {
    /// # Errors
    /// See [`Connection::client`].
    pub fn new(connection: Connection) -> Result<Self, ConnectionError> {
        Ok(Self { client: connection.client()?, connection })
    }

    /// The peer as it may be shown: address without user.
    #[must_use]
    pub fn peer(&self) -> String {
        let url = &self.connection.url;
        let host = url.host_str().unwrap_or_default();
        match url.port() {
            Some(port) => format!("{}://{host}:{port}{}", url.scheme(), url.path()),
            None => format!("{}://{host}{}", url.scheme(), url.path()),
        }
    }

    /// A request for `path` (relative, already percent-encoded where it must be).
    ///
    /// # Errors
    /// `path` makes no address.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, RestError> {
        let url: Url = self
            .connection
            .url
            .join(path)
            .map_err(|error| self.odd(format!("path {path:?} makes no address: {error}")))?;
        let request = self.client.request(method, url);
        Ok(match &self.connection.credentials {
            Some(user) => request.basic_auth(&user.username, Some(&user.password)),
            None => request,
        })
    }

    /// Sends `request`; any status but 2xx is an error that says what it means.
    ///
    /// # Errors
    /// The peer cannot be reached, or does not answer with success.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, RestError> {
        self.send_or(request, StatusCode::OK).await
    }

    /// As [`Rest::send`], but a status of `also` is no error either: its body is wanted.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn send_or(&self, request: RequestBuilder, also: StatusCode) -> Result<Response, RestError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() || status == also {
            return Ok(response);
        }
        let path = response.url().path().to_owned();
        let detail = shorten(&self.body(response).await.unwrap_or_default());
        Err(self.failure(status, path, detail))
    }

    /// As [`Rest::send`], but only what says nothing about the request is an error: the peer is
    /// down or busy, or does not let us in.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn ask(&self, request: RequestBuilder) -> Result<Response, RestError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let is_ours =
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PROXY_AUTHENTICATION_REQUIRED]
                .contains(&status);
        let is_busy = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
            .contains(&status);
        if is_ours || is_busy || status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(self.failure(status, String::new(), String::new()));
        }
        Ok(response)
    }

    fn failure(&self, status: StatusCode, path: String, detail: String) -> RestError {
        let (peer, code) = (self.peer(), status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                RestError::NotAllowed { peer, status: code }
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => RestError::NotFound { peer, path },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                RestError::Busy { peer, status: code, detail }
            }
            _ if status.is_client_error() => RestError::Refused { peer, status: code, detail },
            // A redirect is never followed: an archive that moved is a setting to correct.
            _ => RestError::Busy { peer, status: code, detail },
        }
    }

    /// Sends and reads a JSON answer.
    ///
    /// # Errors
    /// As [`Rest::send`], or the answer is no such JSON.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RestError> {
        let response = self.send(request).await?;
        self.read_json(response).await
    }

    /// The JSON body of an answer.
    ///
    /// # Errors
    /// The connection broke, or the body is no such JSON.
    pub async fn read_json<T: DeserializeOwned>(&self, response: Response) -> Result<T, RestError> {
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(error.to_string()))
    }

    /// The whole body, up to a bound.
    async fn body(&self, mut response: Response) -> Result<Bytes, RestError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.odd(format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// The next piece of a body, for those that are written as they come.
    ///
    /// # Errors
    /// The connection broke, or the peer was silent for too long.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, RestError> {
        response.chunk().await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: reqwest::Error) -> RestError {
        // The error repeats the address, which may hold a user.
        RestError::Unreachable { peer: self.peer(), source: error.without_url() }
    }

    pub(crate) fn odd(&self, detail: String) -> RestError {
        RestError::Answer { peer: self.peer(), detail: shorten(detail.as_bytes()) }
    }
}

/// The first line's worth of a peer's text, fit for a log.
fn shorten(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * DETAIL_CHARS_MAX)]);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = plain.take(DETAIL_CHARS_MAX).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16) -> RestError {
        let rest = Rest::new(Connection::to("http://pacs:8042").unwrap()).unwrap();
        rest.failure(StatusCode::from_u16(status).unwrap(), "/instances".into(), "text".into())
    }

    #[test]
    fn only_a_judgement_on_the_object_is_a_refusal() {
        for status in [400, 409, 413, 415, 422] {
            assert!(failure(status).is_refusal(), "{status}");
        }
        for status in [301, 401, 403, 404, 405, 408, 429, 500, 502, 503, 507] {
            assert!(!failure(status).is_refusal(), "{status}");
        }
    }

    #[test]
    fn a_refusal_is_shortened_and_cannot_break_a_log_line() {
        let text = shorten(format!("first\n\x1b[31m second{}", "x".repeat(10_000)).as_bytes());
        assert!(text.starts_with("first [31m second"));
        assert!(text.chars().count() <= DETAIL_CHARS_MAX);
    }
}
