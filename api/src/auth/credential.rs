//! What a request shows: `Authorization: Bearer` first, then `X-API-KEY`, then what a
//! browser's WebSocket can send. From that to a caller.

use axum::http::{HeaderMap, HeaderName, header};
use ledger::{Ledger, NewAccount, NewAudit, NewSession, Role, Session, SessionKind};
use serde_json::json;

use super::{
    caller::{Caller, Who},
    gateway::GatewayTokens,
    key::{Secret, digest_of},
    oidc::{Oidc, Visitor},
    password::{Password, hash_password},
    token::Purpose,
};
use crate::{
    error::{ApiError, ApiResult, Code},
    request_id,
    state::AppState,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SUBPROTOCOL_PREFIX: &str = "bearer.";
/// Longer than any token or key of ours.
const LENGTH_MAX: usize = 4096;

/// A secret as sent. Keys hold no dot, and a JWT (RFC 7519 §3.1) holds two.
enum Credential<'a> {
    Token(&'a str),
    Key(&'a str),
}

impl<'a> Credential<'a> {
    fn of(text: &'a str) -> Option<Self> {
        match text.len() {
            0 => None,
            length if length > LENGTH_MAX => None,
            _ if text.contains('.') => Some(Self::Token(text)),
            _ => Some(Self::Key(text)),
        }
    }

    fn shown(headers: &'a HeaderMap) -> Option<Self> {
        let text =
            bearer(headers).or_else(|| text_of(headers, &X_API_KEY)).or_else(|| subprotocol(headers))?;
        Self::of(text.trim())
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 6750 §2.1; the scheme is compared without case.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text_of(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    let offered = text_of(headers, &header::SEC_WEBSOCKET_PROTOCOL)?;
    offered.split(',').find_map(|word| word.trim().strip_prefix(SUBPROTOCOL_PREFIX))
}

/// Who sent these headers.
pub(crate) async fn identify(state: &AppState, headers: &HeaderMap) -> ApiResult<Caller> {
    match Credential::shown(headers) {
        Some(Credential::Token(token)) => by_token(state, token).await,
        Some(Credential::Key(key)) => by_key(state, key).await,
        None => Err(ApiError::new(Code::Unauthenticated)),
    }
}

async fn by_token(state: &AppState, token: &str) -> ApiResult<Caller> {
    let now = state.now();
    if let Some(gateway) = &state.http.compat.django
        && let Some(user) = gateway.user(token, now)?
    {
        return by_gateway(state, gateway, &user).await;
    }
    if let Some(oidc) = &state.http.oidc
        && Oidc::is_for_us(token)
    {
        return by_provider(state, oidc, token).await;
    }
    state.signer.check(Purpose::Access, token, now)?;
    let (digest, mark) = (digest_of(token), state.ledger.mark());
    if let Some(caller) = state.signed_in().at(mark, &digest) {
        return Ok(caller);
    }
    let session = state.ledger.session_by_hash(SessionKind::Access, &digest, now).await?;
    let session = session.ok_or_else(|| {
        ApiError::because(
            Code::BadCredentials,
            "this sign-in was ended, or its account closed; sign in again",
        )
    })?;
    let account = state.ledger.account(session.account).await?.ok_or_else(refused)?;
    let caller = Caller {
        who: Who::Account { account: account.id, session: session.id },
        name: account.name,
        role: account.role,
        scopes: Vec::new(),
    };
    state.signed_in().keep(mark, &digest, caller.clone());
    Ok(caller)
}

/// Somebody with a token of the OpenID Connect provider. When it is first shown it becomes a sign-in here, which can
/// be ended before it expires; who shows no time at which a person signed in is as present as a key is.
async fn by_provider(state: &AppState, oidc: &Oidc, token: &str) -> ApiResult<Caller> {
    let now = state.now();
    let visitor = oidc.visitor(token, now).await?;
    let hash = digest_of(token);
    let session = match state.ledger.session_by_hash(SessionKind::Access, &hash, now).await? {
        Some(session) => session,
        None => welcome(state, &visitor, &hash).await?,
    };
    let account = state.ledger.account(session.account).await?.ok_or_else(refused)?;
    let who = match visitor.is_person {
        true => Who::Account { account: account.id, session: session.id },
        false => Who::Program { account: account.id },
    };
    Ok(Caller { who, name: account.name, role: account.role, scopes: Vec::new() })
}

/// The account of a visitor, as his token says that it is, and a sign-in for the token.
async fn welcome(state: &AppState, visitor: &Visitor, hash: &str) -> ApiResult<Session> {
    const BY: &str = "oidc";
    let (ledger, name, now) = (&state.ledger, &visitor.account, state.now());
    let (id, epoch) = match ledger.account_by_name(name).await? {
        Some(account) if account.disabled_at.is_some() => return Err(ended()),
        Some(account) => {
            if account.role != visitor.role {
                ledger.set_role(name, visitor.role, BY, now).await?;
            }
            (account.id, account.epoch)
        }
        None => {
            let new = NewAccount {
                name: name.clone(),
                role: visitor.role,
                full_name: visitor.full_name.clone(),
                organization: String::new(),
                password_hash: of_no_password().await?,
            };
            match ledger.add_account(&new, BY, now).await {
                // Two requests of a new visitor at once.
                Err(ledger::Error::NameTaken(_)) => {
                    let account = ledger.account_by_name(name).await?.ok_or_else(refused)?;
                    (account.id, account.epoch)
                }
                added => (added?, 0),
            }
        }
    };
    let session = NewSession {
        account: id,
        epoch,
        kind: SessionKind::Access,
        hash: hash.to_owned(),
        expires_at: visitor.expires_at,
    };
    let row = NewAudit {
        at: now,
        actor: format!("account:{name}"),
        action: "auth.oidc".to_owned(),
        subject: name.clone(),
        request_id: request_id::current().map(|id| id.to_string()),
        detail: json!({ "role": visitor.role, "person": visitor.is_person }),
    };
    let keep = async |ledger: Ledger| ledger.add_session(&session, now).await;
    let added = ledger.noted(&state.audit_key, vec![row], keep).await;
    let found = ledger.session_by_hash(SessionKind::Access, hash, now).await?;
    match (added, found) {
        (Ok(_), Some(session)) => Ok(session),
        // Another request with the same token was first.
        (Err(_), Some(session)) => Ok(session),
        (Err(error), None) if error.may_pass() => Err(error.into()),
        // The token was a sign-in once, and that was ended.
        (_, None) => Err(ended()),
    }
}

/// The hash of a password that nobody has seen, for accounts that sign in elsewhere.
async fn of_no_password() -> ApiResult<String> {
    let hashed = tokio::task::spawn_blocking(|| {
        let unseen = Secret::generate().map_err(ApiError::internal)?;
        hash_password(&Password::new(unseen.expose())).map_err(ApiError::internal)
    });
    hashed.await.map_err(ApiError::internal)?
}

fn ended() -> ApiError {
    ApiError::because(Code::BadCredentials, "this sign-in was ended, or its account closed; sign in again")
}

/// A user whom nobody mapped is a technician.
async fn by_gateway(state: &AppState, gateway: &GatewayTokens, user: &str) -> ApiResult<Caller> {
    let Some(name) = gateway.account_of(user) else {
        return Ok(Caller {
            who: Who::Gateway { account: None },
            name: user.to_owned(),
            role: Role::Technician,
            scopes: Vec::new(),
        });
    };
    let account = state.ledger.account_by_name(name).await?;
    let account = account.filter(|account| account.disabled_at.is_none()).ok_or_else(|| {
        ApiError::because(
            Code::BadCredentials,
            "the account that this user is mapped to is closed or not there",
        )
    })?;
    Ok(Caller {
        who: Who::Gateway { account: Some(account.id) },
        name: account.name,
        role: account.role,
        scopes: Vec::new(),
    })
}

async fn by_key(state: &AppState, key: &str) -> ApiResult<Caller> {
    let row = state.key_look_ups().find(&state.ledger, &digest_of(key), state.now()).await?;
    let row = row.ok_or_else(refused)?;
    Ok(Caller { who: Who::Key(row.id), name: row.name, role: row.role, scopes: row.scopes })
}

fn refused() -> ApiError {
    ApiError::new(Code::BadCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(HeaderName, &str)], expect: Option<&str>) {
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let shown = Credential::shown(&headers).map(|credential| match credential {
            Credential::Token(text) => format!("token {text}"),
            Credential::Key(text) => format!("key {text}"),
        });
        assert_eq!(shown.as_deref(), expect);
    }

    #[test]
    fn authorization_comes_before_the_key_header() {
        check(&[(header::AUTHORIZATION, "Bearer one"), (X_API_KEY, "two")], Some("key one"));
        check(&[(header::AUTHORIZATION, "bearer  a.b.c ")], Some("token a.b.c"));
        check(&[(X_API_KEY, "two")], Some("key two"));
    }

    #[test]
    fn other_schemes_and_empty_secrets_show_nothing() {
        check(&[(header::AUTHORIZATION, "Basic dTpw")], None);
        check(&[(header::AUTHORIZATION, "Bearer ")], None);
        check(&[(X_API_KEY, &"k".repeat(5000))], None);
        check(&[], None);
    }

    #[test]
    fn a_websocket_shows_its_token_as_a_subprotocol() {
        check(&[(header::SEC_WEBSOCKET_PROTOCOL, "overread.events, bearer.a.b.c")], Some("token a.b.c"));
    }
}
