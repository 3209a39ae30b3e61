//! A client of the public API, as anybody could write one.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Value, json};

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// Signs in with a one-time login.
    pub(super) async fn sign_in(address: SocketAddr, one_time: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        let base = format!("http://{address}");
        let request = http.post(format!("{base}/v1/auth/one-time")).json(&json!({ "code": one_time }));
        let tokens: Value =
            request.send().await?.error_for_status()?.json().await.context("cannot sign in")?;
        let token = tokens["access_token"].as_str().context("the sign-in gave no token")?.to_owned();
        Ok(Self { http, base, token })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let answer = request.send().await?.error_for_status()?;
        answer.json().await.with_context(|| format!("{path} was not answered with JSON"))
    }

    pub(super) async fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.get(path).await?;
        page["items"].as_array().cloned().with_context(|| format!("{path} is no list"))
    }
}
