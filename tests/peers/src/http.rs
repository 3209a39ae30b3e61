//! A small HTTP client that tests can call, be they async or not.

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

/// A server, and who we say we are.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    bearer: Option<String>,
    headers: Vec<(String, String)>,
    basic: Option<(String, String)>,
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
    request: String,
}

impl Http {
    pub fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), bearer: None, headers: Vec::new(), basic: None }
    }

    #[must_use]
    pub fn with_bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn with_basic(mut self, username: &str, password: &str) -> Self {
        self.basic = Some((username.to_owned(), password.to_owned()));
        self
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, |request| request)
    }

    /// GET that a server which is not there yet may refuse.
    ///
    /// # Errors
    /// When there was no answer.
    pub fn try_get(&self, path: &str) -> Result<Answer, String> {
        self.try_ask("GET", path, |request| request)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string().into_bytes())
    }

    /// POST that a server which dies on it may not answer.
    ///
    /// # Errors
    /// When there was no answer.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        let body = body.to_string();
        self.try_ask("POST", path, move |request| {
            request.header("content-type", "application/json").body(body)
        })
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.ask("PUT", path, move |request| request.header("content-type", "application/json").body(body))
    }

    #[track_caller]
    pub fn post_bytes(&self, path: &str, content_type: &'static str, body: Vec<u8>) -> Answer {
        self.ask("POST", path, move |request| request.header("content-type", content_type).body(body))
    }

    /// POST that a server which has seen enough may cut off.
    ///
    /// # Errors
    /// When there was no answer.
    pub fn try_post_bytes(
        &self,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        self.try_ask("POST", path, move |request| request.header("content-type", content_type).body(body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, |request| request)
    }

    #[track_caller]
    fn ask(
        &self,
        method: &str,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder + Send + 'static,
    ) -> Answer {
        self.try_ask(method, path, fill).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    // On a thread with a runtime of its own: a test may itself run inside a runtime.
    fn try_ask(
        &self,
        method: &str,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder + Send + 'static,
    ) -> Result<Answer, String> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = format!("{}{path}", self.base);
        let (bearer, headers, basic) = (self.bearer.clone(), self.headers.clone(), self.basic.clone());
        let method: reqwest::Method = method.parse().map_err(|_| format!("{method} is no method"))?;
        let request = format!("{method} {path}");
        let exchange = async move {
            let mut builder = Client::new().request(method, url);
            if let Some(token) = bearer {
                builder = builder.bearer_auth(token);
            }
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            if let Some((username, password)) = basic {
                builder = builder.basic_auth(username, Some(password));
            }
            let response = fill(builder).send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.bytes().await?.to_vec();
            Ok::<_, reqwest::Error>(Answer { status, headers, body, request })
        };
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .map_err(|error| error.to_string())?
                .block_on(exchange)
                .map_err(|error| format!("{error:?}"))
        });
        asked.join().map_err(|_| "the request panicked".to_owned())?
    }
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// When the status is not success.
    #[track_caller]
    pub fn bytes(self) -> Vec<u8> {
        assert!(self.is_success(), "{} was answered {}: {}", self.request, self.status, self.text());
        self.body
    }

    /// # Panics
    /// When the status is not success, or the body no JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let request = self.request.clone();
        serde_json::from_slice(&self.bytes()).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// The body as JSON whatever the status.
    ///
    /// # Panics
    /// When the body is no JSON.
    #[track_caller]
    pub fn json_of(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}", self.request))
    }
}
