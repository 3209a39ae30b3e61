//! Tokens as this service gives them out, and tokens that only look like them.
//!
//! A sign-in is in the ledger for each forged token, too: only what is wrong with it keeps it out.

use std::time::Duration;

use api::digest_of;
use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ledger::{AccountId, NewAccount, NewSession, Role, SessionKind};
use serde_json::{Value, json};

use crate::app::{TOKEN_SECRET, TestApp};

const HOUR: i64 = 3600;

/// An account for which tokens are made without its password.
pub(crate) struct Forge {
    account: AccountId,
    name: String,
}

/// What is wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Expired,
    WrongSignature,
    NoAlgorithm,
    OtherAlgorithm,
    OtherIssuer,
    Refresh,
    Revoked,
    NeverGivenOut,
    ClosedAccount,
    UnknownKey,
}

impl Bad {
    pub(crate) const ALL: &[Self] = &[
        Self::Expired,
        Self::WrongSignature,
        Self::NoAlgorithm,
        Self::OtherAlgorithm,
        Self::OtherIssuer,
        Self::Refresh,
        Self::Revoked,
        Self::NeverGivenOut,
        Self::UnknownKey,
        // Last: it closes the account for a moment.
        Self::ClosedAccount,
    ];

    pub(crate) fn code(self) -> &'static str {
        if self == Self::Expired { "token_expired" } else { "bad_credentials" }
    }
}

impl Forge {
    pub(crate) async fn new(app: &TestApp, role: Role, number: usize) -> Self {
        let name = format!("{role}-{number}");
        let account = NewAccount {
            name: name.clone(),
            role,
            full_name: "Doe^Sam".to_owned(),
            organization: "Test".to_owned(),
            password_hash: String::new(),
        };
        let account = app.ledger.add_account(&account, "test", app.now()).await.unwrap();
        Self { account, name }
    }

    /// A token as a sign-in gives it.
    pub(crate) async fn good(&self, app: &TestApp) -> String {
        let token = signed(Algorithm::HS256, &TOKEN_SECRET, &self.claims(app));
        self.signed_in(app, &token, SessionKind::Access).await;
        token
    }

    pub(crate) async fn bad(&self, app: &TestApp, bad: Bad) -> String {
        let good = self.claims(app);
        let with = |field: &str, value: Value| {
            let mut claims = good.clone();
            claims[field] = value;
            signed(Algorithm::HS256, &TOKEN_SECRET, &claims)
        };
        let token = match bad {
            Bad::Expired => with("exp", json!(app.now().0 / 1000)),
            Bad::WrongSignature => signed(Algorithm::HS256, &[9; 32], &good),
            Bad::NoAlgorithm => unsigned(&good),
            Bad::OtherAlgorithm => signed(Algorithm::HS512, &TOKEN_SECRET, &good),
            Bad::OtherIssuer => with("iss", json!("somebody else")),
            Bad::Refresh => with("aud", json!("overread:refresh")),
            Bad::UnknownKey => return "k".repeat(43),
            Bad::NeverGivenOut => return signed(Algorithm::HS256, &TOKEN_SECRET, &good),
            Bad::Revoked => return self.revoked(app).await,
            Bad::ClosedAccount => return self.of_closed_account(app).await,
        };
        self.signed_in(app, &token, SessionKind::Access).await;
        token
    }

    async fn revoked(&self, app: &TestApp) -> String {
        let token = self.good(app).await;
        let session = app.ledger.session_by_hash(SessionKind::Access, &digest_of(&token), app.now()).await;
        app.ledger.revoke_sessions(&[session.unwrap().unwrap().id], app.now()).await.unwrap();
        token
    }

    /// Its sign-ins end with it, and do not come back when it is opened again.
    async fn of_closed_account(&self, app: &TestApp) -> String {
        let token = self.good(app).await;
        app.ledger.disable_account(&self.name, "test", app.now()).await.unwrap();
        let me = app.get("/v1/me").bearer(&token).send().await;
        assert_eq!(me.status, StatusCode::UNAUTHORIZED, "a closed account gets in");
        app.ledger.enable_account(&self.name, "test", app.now()).await.unwrap();
        token
    }

    fn claims(&self, app: &TestApp) -> Value {
        let now = app.now().0 / 1000;
        json!({
            "iss": "overread", "aud": "overread:access", "sub": self.account.to_string(),
            "jti": uuid::Uuid::new_v4().to_string(), "iat": now, "exp": now + HOUR,
        })
    }

    async fn signed_in(&self, app: &TestApp, token: &str, kind: SessionKind) {
        let expires_at = app.now().plus(Duration::from_secs(60 * 60));
        let epoch = app.ledger.account(self.account).await.unwrap().unwrap().epoch;
        let session = NewSession { account: self.account, epoch, kind, hash: digest_of(token), expires_at };
        app.ledger.add_session(&session, app.now()).await.unwrap();
    }
}

fn signed(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// RFC 7519 §6: `alg: none`, and an empty signature.
fn unsigned(claims: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encode(&json!({ "alg": "none", "typ": "JWT" })), encode(claims))
}
