//! Hands requests of others on to an Orthanc, and its answers back, byte by byte as they come.
//!
//! Whoever asks is known to us and not to Orthanc: our credentials go there, his stay here, and
//! of the headers of either side only those pass that are about the content. Which requests may
//! pass at all is decided by the caller.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStream, TryStreamExt};
use reqwest::{Body, Method, Response, StatusCode, header};

use crate::{
    connection::{Connection, ConnectionError},
    rest::{Rest, RestError},
};

/// How often a question is asked that changes nothing.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

const ASKED: &[header::HeaderName] = &[
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::RANGE,
];

const ANSWERED: &[header::HeaderName] = &[
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// An Orthanc that others may ask through us.
#[derive(Debug, Clone)]
pub struct Proxy(Rest);

/// A request of somebody else.
#[derive(Debug)]
pub struct Forwarded {
    pub method: Method,
    /// Below Orthanc's address, without a slash in front.
    pub path: String,
    pub query: Option<String>,
    pub headers: header::HeaderMap,
    /// Where the asker finds Orthanc, such as `https://host/api/orthanc`: what Orthanc says of
    /// its own addresses begins with it.
    pub public: Option<PublicAddress>,
    pub body: Option<Body>,
}

/// An address without its scheme, and the scheme.
#[derive(Debug, Clone)]
pub struct PublicAddress {
    pub is_https: bool,
    pub host_and_path: String,
}

/// What Orthanc answered.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    response: Response,
}

impl Forwarded {
    /// A body that is sent while it comes.
    #[must_use]
    pub fn with_body<S>(mut self, chunks: S) -> Self
    where
        S: TryStream<Ok = Bytes> + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.body = Some(Body::wrap_stream(chunks));
        self
    }
}

impl Answered {
    /// The content, as it comes.
    pub fn into_chunks(self) -> impl Stream<Item = Result<Bytes, reqwest::Error>> + Send + 'static {
        self.response.bytes_stream().map_err(reqwest::Error::without_url)
    }
}

impl Proxy {
    /// # Errors
    /// See [`Connection::client`].
    pub fn new(connection: Connection) -> Result<Self, ConnectionError> {
        Rest::new(connection).map(Self)
    }

    /// Asks; whatever Orthanc answers is an answer, unless it does not let *us* in.
    ///
    /// # Errors
    /// Orthanc cannot be reached, cannot do it now, or refuses our credentials.
    pub async fn forward(&self, mut asked: Forwarded) -> Result<Answered, RestError> {
        let body = asked.body.take();
        if body.is_some() || asked.method != Method::GET {
            return self.once(&asked, body).await;
        }
        let mut tries = 1;
        loop {
            match self.once(&asked, None).await {
                Err(RestError::Unreachable { .. } | RestError::Busy { .. }) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answered => return answered,
            }
        }
    }

    async fn once(&self, asked: &Forwarded, body: Option<Body>) -> Result<Answered, RestError> {
        let mut address = asked.path.clone();
        if let Some(query) = &asked.query {
            address.push('?');
            address.push_str(&if is_search(&asked.path) { undecoded(query) } else { query.clone() });
        }
        // What was asked for may name a patient: it does not go into an error.
        let request = self.0.request(asked.method.clone(), &address);
        let request = request.map_err(|_| self.0.odd("this cannot be asked for".to_owned()))?;
        let mut request = request.headers(only(ASKED, &asked.headers));
        if let Some(public) = &asked.public {
            let scheme = if public.is_https { "https" } else { "http" };
            request =
                request.header(header::FORWARDED, format!("host={};proto={scheme}", public.host_and_path));
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = self.0.ask(request).await?;
        Ok(Answered { status: response.status(), headers: only(ANSWERED, response.headers()), response })
    }
}

fn only(names: &[header::HeaderName], headers: &header::HeaderMap) -> header::HeaderMap {
    let pairs = names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    pairs.collect()
}

/// QIDO-RS (PS3.18 §10.6), in which alone a value may hold anything.
fn is_search(path: &str) -> bool {
    path.strip_prefix("dicom-web/")
        .and_then(|rest| rest.rsplit('/').next())
        .is_some_and(|last| ["studies", "series", "instances"].contains(&last))
}

/// A query as Orthanc's DICOMweb plugin reads it, which decodes nothing (seen in 1.7): characters
/// go over as they are, and those that cannot as `?`, which matches any one character.
fn undecoded(query: &str) -> String {
    let bytes = query.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], byte) {
            // These two stand between values unless they are encoded.
            (_, Some(b'&' | b'=' | b'%' | b'#' | b'+')) => decoded.push(b'?'),
            (_, Some(byte)) => decoded.push(byte),
            (b'+', None) => decoded.push(b' '),
            (plain, None) => decoded.push(plain),
        }
        at += if byte.is_some() { 3 } else { 1 };
    }
    let plain = |one: char| one.is_ascii_graphic() && !"\"<>#%`{|}\\".contains(one);
    String::from_utf8_lossy(&decoded).chars().map(|one| if plain(one) { one } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expect: &str) {
        assert_eq!(undecoded(query), expect, "{query}");
    }

    #[test]
    fn a_query_goes_over_as_the_plugin_reads_it() {
        check("PatientName=Doe%5EJ%2A&limit=5", "PatientName=Doe^J*&limit=5");
        check("PatientID=A%20B", "PatientID=A?B");
        check("PatientID=A+B", "PatientID=A?B");
        check("00080061=MR%2CCT", "00080061=MR,CT");
        check("PatientName=%EA%B9%80", "PatientName=?");
    }

    #[test]
    fn no_value_can_add_a_parameter_or_end_the_address() {
        check("PatientID=A%26limit%3D9", "PatientID=A?limit?9");
        check("PatientID=A%0d%0aX%23y%25", "PatientID=A??X?y?");
        check("PatientID=%zz%4", "PatientID=?zz?4");
    }

    #[test]
    fn only_searches_are_rewritten() {
        assert!(is_search("dicom-web/studies") && is_search("dicom-web/studies/1.2/series"));
        assert!(!is_search("dicom-web/studies/1.2") && !is_search("studies"));
    }
}
