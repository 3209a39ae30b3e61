//! Tokens of an OpenID Connect provider: RS256 and ES256, checked with the keys that it publishes.
//!
//! Keys are fetched when a token first asks for them, again when they get old, and once when a token names a key that
//! is not known, at most every [`REFETCH_AFTER`]: a rotation needs nobody, and invented key names cost the provider
//! nothing. A provider that is down costs nothing either, while the keys of the last fetch are not too old.
//!
//! A token that is good becomes a sign-in here when it is first shown, for an account of its own: what it may do is
//! then asked of the ledger as for everybody, and it can be ended here before it expires.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use ledger::{Millis, Role};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{ApiError, ApiResult, Code};

/// Between two fetches of keys, whoever asks.
const REFETCH_AFTER: Duration = Duration::from_secs(30);
/// Keys that are older are fetched again when one of them is used.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);
/// Keys that could not be fetched again are believed for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const FETCH_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 18;
const KEYS_MAX: usize = 64;
/// Clocks of two machines.
const LEEWAY_SECONDS: i64 = 60;
const NAME_LENGTH_MAX: usize = 128;
/// Whoever may do several things does the first of these.
const ROLES_IN_ORDER: [Role; 5] = [Role::Doctor, Role::Technician, Role::Admin, Role::Service, Role::Worker];

/// A provider that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcConfig {
    /// As its tokens and its discovery document say it.
    pub issuer: String,
    pub audience: String,
    /// A PEM file with authorities to believe beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where in a token the roles are: `roles`, or `realm_access.roles`.
    pub role_claim: String,
    /// What they mean here.
    pub roles: HashMap<String, Role>,
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error(transparent)]
    Connection(#[from] orthanc_bridge::ConnectionError),
}

/// The provider, and its keys as they were last seen.
pub struct Oidc {
    config: OidcConfig,
    client: reqwest::Client,
    keys: RwLock<Arc<Keys>>,
    /// One fetch at a time; when the last one began.
    fetching: tokio::sync::Mutex<Option<Millis>>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, (Algorithm, DecodingKey)>,
    fetched_at: Option<Millis>,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// Of the account here; no account that a person added has such a name.
    pub(crate) account: String,
    pub(crate) full_name: String,
    pub(crate) role: Role,
    pub(crate) expires_at: Millis,
    /// The provider says when a person signed in (OIDC Core §2, `auth_time`); else a program shows it.
    pub(crate) is_person: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Why no keys could be fetched; for the log.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the provider does not answer")]
    Http(#[from] reqwest::Error),
    #[error("the provider's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the provider's answer is not what it should be")]
    Json(#[from] serde_json::Error),
    #[error("the discovery document is of another issuer")]
    OtherIssuer,
    #[error("the provider's keys lie behind plain HTTP")]
    Plain,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Oidc").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Oidc {
    /// # Errors
    /// The issuer is no address, or the authorities cannot be read.
    pub fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let mut connection = orthanc_bridge::Connection::to(&config.issuer)?;
        connection.ca_file.clone_from(&config.ca_file);
        let client = connection.client()?;
        Ok(Self { config, client, keys: RwLock::default(), fetching: tokio::sync::Mutex::default() })
    }

    /// Whether a token is signed the way a provider signs, and not as we do.
    pub(crate) fn is_for_us(token: &str) -> bool {
        jsonwebtoken::decode_header(token)
            .is_ok_and(|header| matches!(header.alg, Algorithm::RS256 | Algorithm::ES256))
    }

    /// Who shows the token.
    pub(crate) async fn visitor(&self, token: &str, now: Millis) -> ApiResult<Visitor> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| unknown())?;
        let id = header.kid.ok_or_else(unknown)?;
        let (algorithm, key) = self.key(&id, now).await?;
        if header.alg != algorithm {
            return Err(unknown());
        }
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        // Below, by the clock that tests move.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|_| unknown())?.claims;
        self.read(&claims, now)
    }

    fn read(&self, claims: &Value, now: Millis) -> ApiResult<Visitor> {
        let seconds = now.0.div_euclid(1000);
        let expires = claims["exp"].as_i64().ok_or_else(unknown)?;
        if seconds >= expires.saturating_add(LEEWAY_SECONDS) {
            return Err(ApiError::because(Code::TokenExpired, "sign in again where the token comes from"));
        }
        if claims["nbf"].as_i64().is_some_and(|begin| seconds < begin.saturating_sub(LEEWAY_SECONDS)) {
            return Err(ApiError::because(Code::BadCredentials, "the token is not good yet"));
        }
        let subject = claims["sub"].as_str().filter(|subject| is_name(subject)).ok_or_else(unknown)?;
        let name = claims["name"].as_str().or(claims["preferred_username"].as_str()).unwrap_or(subject);
        Ok(Visitor {
            account: format!("oidc:{subject}"),
            full_name: name.chars().filter(|letter| !letter.is_control()).take(64).collect(),
            role: self.role(claims)?,
            expires_at: Millis(expires.saturating_add(LEEWAY_SECONDS).saturating_mul(1000)),
            is_person: claims["auth_time"].is_number(),
        })
    }

    fn role(&self, claims: &Value) -> ApiResult<Role> {
        let claim = self.config.role_claim.split('.').fold(claims, |value, part| &value[part]);
        let said: Vec<&str> = match claim {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let roles: Vec<Role> = said.iter().filter_map(|one| self.config.roles.get(*one)).copied().collect();
        ROLES_IN_ORDER.into_iter().find(|role| roles.contains(role)).ok_or_else(|| {
            ApiError::because(
                Code::Forbidden,
                "your account at the sign-in service has no role that means one here",
            )
        })
    }

    async fn key(&self, id: &str, now: Millis) -> ApiResult<(Algorithm, DecodingKey)> {
        let known = self.known();
        let age = known.fetched_at.map(|at| now.since(at));
        let found = known.by_id.get(id).cloned();
        if let (Some(found), Some(age)) = (&found, age)
            && age < FRESH_FOR
        {
            return Ok(found.clone());
        }
        let fetched = self.fetch_unless_just_done(&known, now).await;
        let keys = self.known();
        let believed = keys.fetched_at.is_some_and(|at| now.since(at) < BELIEVED_FOR);
        match (keys.by_id.get(id).cloned().filter(|_| believed), fetched, believed) {
            (Some(found), _, _) => Ok(found),
            // The keys are there and this one is not among them.
            (None, Ok(()), true) => Err(unknown()),
            _ => Err(ApiError::because(
                Code::Unavailable,
                "the sign-in service does not answer, and its keys are not known here: try again, or sign in with a \
                 password",
            )
            .retry_after(REFETCH_AFTER)),
        }
    }

    fn known(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches the keys, if nobody did meanwhile or a moment ago. An error: the last fetch failed.
    async fn fetch_unless_just_done(&self, seen: &Arc<Keys>, now: Millis) -> Result<(), ()> {
        let mut last = self.fetching.lock().await;
        if !Arc::ptr_eq(seen, &self.known()) {
            return Ok(());
        }
        if last.is_some_and(|last| now.since(last) < REFETCH_AFTER) {
            // What came of it: keys that are as old as the fetch, or none.
            return if self.known().fetched_at == *last { Ok(()) } else { Err(()) };
        }
        *last = Some(now);
        match self.fetch(now).await {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                Ok(())
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the keys of the sign-in service cannot be fetched; those of the last time are used"
                );
                Err(())
            }
        }
    }

    async fn fetch(&self, now: Millis) -> Result<Keys, FetchError> {
        let issuer = self.config.issuer.trim_end_matches('/');
        let discovery: Discovery = self.get(&format!("{issuer}/.well-known/openid-configuration")).await?;
        if discovery.issuer != self.config.issuer {
            return Err(FetchError::OtherIssuer);
        }
        // Keys may lie elsewhere, but not behind less than the issuer does.
        if self.config.issuer.starts_with("https:") && !discovery.jwks_uri.starts_with("https:") {
            return Err(FetchError::Plain);
        }
        let set: Value = self.get(&discovery.jwks_uri).await?;
        let jwks = set["keys"].as_array().into_iter().flatten().take(KEYS_MAX);
        // One key of a kind that is not known does not spoil the others.
        let jwks = jwks.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Ok(Keys {
            by_id: JwkSet { keys: jwks.collect() }.keys.iter().filter_map(usable).collect(),
            fetched_at: Some(now),
        })
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, url: &str) -> Result<T, FetchError> {
        let mut response = self.client.get(url).timeout(FETCH_WITHIN).send().await?.error_for_status()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// A key for signatures of a kind that we take, by its name. The key says the algorithm, never the token.
fn usable(jwk: &Jwk) -> Option<(String, (Algorithm, DecodingKey))> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let for_signatures = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let stated = jwk.common.key_algorithm.map(|stated| stated.to_string());
    let fits = stated.is_none_or(|stated| stated == format!("{algorithm:?}"));
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| for_signatures && fits)?;
    Some((jwk.common.key_id.clone()?, (algorithm, key)))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && !text.chars().any(|letter| letter.is_control() || letter.is_whitespace())
}

fn unknown() -> ApiError {
    ApiError::because(
        Code::BadCredentials,
        "this token is not one of the sign-in service that is believed here",
    )
}
