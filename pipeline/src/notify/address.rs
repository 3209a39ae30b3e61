//! An address that is used as it was written, to its last slash.

use std::path::Path;

use orthanc_bridge::{Connection, ConnectionError, Rest, RestError};
use reqwest::{Method, RequestBuilder, Url};

/// One address of a peer. What stands behind the host may be a secret and is never shown.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) rest: Rest,
    path: String,
}

impl Address {
    pub(super) fn open(url: &str, ca_file: Option<&Path>) -> Result<Self, ConnectionError> {
        let mut connection = Connection::to(url)?;
        let exact = Url::parse(url).map_err(|_| ConnectionError::Url(url.to_owned()))?;
        let path = match exact.query() {
            Some(query) => format!("{}?{query}", exact.path()),
            None => exact.path().to_owned(),
        };
        connection.url.set_path("/");
        connection.url.set_query(None);
        connection.ca_file = ca_file.map(Path::to_owned);
        Ok(Self { rest: Rest::new(connection)?, path })
    }

    pub(super) fn request(&self, method: Method) -> Result<RequestBuilder, RestError> {
        self.rest.request(method, &self.path)
    }
}
