//! Firebase Cloud Messaging, HTTP v1: an access token for a service account (RFC 7523), then one message.
//!
//! The service knows no id of ours: a repeat after a lost answer reaches a telephone twice, and the app drops
//! it by `data.event_id`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ledger::{Millis, PushToken};
use orthanc_bridge::{Connection, ConnectionError, Rest, RestError};
use reqwest::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{Notice, address::Address};
use crate::destination::SendError;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// RFC 7523 §2.1, percent-encoded.
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// The longest that the service takes.
const ASSERTION_SECONDS: i64 = 3600;
/// A token is used no longer than this before its end.
const MARGIN_SECONDS: i64 = 60;

/// Who we are for the push service: the JSON file that its console gives out. `Debug` shows no key.
#[derive(Clone)]
pub struct ServiceAccount {
    project: String,
    email: String,
    key_id: Option<String>,
    key: EncodingKey,
    token_url: String,
}

/// A file that is no service account.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountError {
    #[error("cannot read the service account {path}", path = .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no service account: it needs project_id, client_email, private_key and token_uri", path = .path.display())]
    Content { path: PathBuf },
    #[error("the private_key in {path} is no RSA key in PEM", path = .path.display())]
    Key { path: PathBuf },
}

#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

impl ServiceAccount {
    /// # Errors
    /// The file cannot be read or used.
    pub fn read(path: &Path) -> Result<Self, ServiceAccountError> {
        let path = path.to_owned();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) => return Err(ServiceAccountError::Read { path, source }),
        };
        // The parser's own words might repeat the key.
        let Ok(file) = serde_json::from_slice::<AccountFile>(&text) else {
            return Err(ServiceAccountError::Content { path });
        };
        let Ok(key) = EncodingKey::from_rsa_pem(file.private_key.as_bytes()) else {
            return Err(ServiceAccountError::Key { path });
        };
        Ok(Self {
            project: file.project_id,
            email: file.client_email,
            key_id: file.private_key_id,
            key,
            token_url: file.token_uri,
        })
    }

    fn assertion(&self, now_seconds: i64) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            iss: &self.email,
            scope: SCOPE,
            aud: &self.token_url,
            iat: now_seconds,
            exp: now_seconds + ASSERTION_SECONDS,
        };
        let header = Header { kid: self.key_id.clone(), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// Whose telephones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushTo {
    /// All that have subscribed to it.
    Topic(String),
    /// One, by its registration token.
    Device(String),
    /// Those of doctors and patients, as they registered: each gets messages of its own.
    Registered,
}

/// How telephones are reached.
#[derive(Debug, Clone)]
pub struct PushConfig {
    /// The service, or a stand-in.
    pub connection: Connection,
    pub account: ServiceAccount,
    pub to: PushTo,
}

/// A subscriber that is told by push messages.
#[derive(Debug)]
pub(crate) struct Push {
    service: Rest,
    token_address: Address,
    account: ServiceAccount,
    to: PushTo,
    token: Mutex<Option<AccessToken>>,
}

struct AccessToken {
    value: String,
    /// Unix seconds.
    good_until: i64,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AccessToken")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: i64,
}

impl Push {
    pub(crate) fn open(config: &PushConfig) -> Result<Self, ConnectionError> {
        let PushConfig { connection, account, to } = config.clone();
        let token_address = Address::open(&account.token_url, connection.ca_file.as_deref())?;
        Ok(Self { service: Rest::new(connection)?, token_address, account, to, token: Mutex::new(None) })
    }

    pub(crate) async fn tell(&self, notice: &Notice) -> Result<(), SendError> {
        if self.to == PushTo::Registered && notice.token.is_none() {
            // Whoever it was for is not to be told any more.
            return Ok(());
        }
        let token = self.access_token().await?;
        let path = format!("v1/projects/{}/messages:send", self.account.project);
        let request = self
            .service
            .request(Method::POST, &path)?
            .bearer_auth(token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(self.message(notice).to_string());
        match self.service.send(request).await {
            Ok(_) => Ok(()),
            Err(error) => {
                if matches!(&error, RestError::NotAllowed { status, .. } if *status == StatusCode::UNAUTHORIZED)
                {
                    // It was revoked before its time.
                    *self.token.lock().await = None;
                }
                if self.to == PushTo::Registered && matches!(error, RestError::NotFound { .. }) {
                    return Err(SendError::Gone);
                }
                Err(error.into())
            }
        }
    }

    /// Whether the service knows us.
    pub(crate) async fn check(&self) -> Result<(), SendError> {
        self.access_token().await.map(drop)
    }

    async fn access_token(&self) -> Result<String, SendError> {
        let mut kept = self.token.lock().await;
        let now = Millis::now().0 / 1000;
        if let Some(token) = kept.as_ref().filter(|token| now < token.good_until) {
            return Ok(token.value.clone());
        }
        let assertion = self.account.assertion(now).map_err(|_| {
            SendError::Unavailable("the private key of the service account cannot sign".to_owned())
        })?;
        let request = self
            .token_address
            .request(Method::POST)?
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("{GRANT}&assertion={assertion}"));
        // A refusal here is about us, never about the message.
        let unavailable = |error: RestError| SendError::Unavailable(crate::destination::chain(&error));
        let rest = &self.token_address.rest;
        let answer: TokenAnswer =
            rest.read_json(rest.send(request).await.map_err(unavailable)?).await.map_err(unavailable)?;
        let value = answer.access_token.clone();
        let good_until = now.saturating_add(answer.expires_in.saturating_sub(MARGIN_SECONDS));
        *kept = Some(AccessToken { value: answer.access_token, good_until });
        Ok(value)
    }

    fn message(&self, notice: &Notice) -> Value {
        let mut message = json!({
            "notification": { "title": notice.kind.title(), "body": body(&notice.data) },
            "data": data(notice),
        });
        match &self.to {
            PushTo::Topic(topic) => message["topic"] = json!(topic),
            PushTo::Device(token) => message["token"] = json!(token),
            PushTo::Registered => message["token"] = json!(notice.token.as_ref().map(PushToken::expose)),
        }
        json!({ "message": message })
    }
}

/// What a locked screen may show.
fn body(data: &Map<String, Value>) -> String {
    ["model", "destination", "reason"]
        .into_iter()
        .filter_map(|key| data.get(key).and_then(Value::as_str))
        .collect::<Vec<_>>()
        .join(": ")
}

/// The service takes texts alone.
fn data(notice: &Notice) -> Map<String, Value> {
    let as_text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut data: Map<String, Value> =
        notice.data.iter().map(|(key, value)| (key.clone(), as_text(value).into())).collect();
    data.insert("event_id".to_owned(), notice.id.clone().into());
    data.insert("type".to_owned(), notice.kind.as_str().into());
    data.insert("timestamp".to_owned(), notice.timestamp.clone().into());
    data
}
