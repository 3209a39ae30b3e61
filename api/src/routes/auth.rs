//! Signing in and out.

use axum::{extract::State, http::StatusCode};
use ledger::{Account, LoginFailure, Millis, NewSession, SessionKind};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Password, Person, Purpose, digest_of},
    error::{ApiError, ApiResult, Code},
    extract::Json,
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

/// Longer than any name of ours.
const NAME_LENGTH_MAX: usize = 256;

/// Name and password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    name: String,
    password: Password,
}

/// A one-time login as it was shown.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneTime {
    code: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: String,
}

/// What a sign-in gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Send it as `Authorization: Bearer`.
    access_token: String,
    access_expires_at: String,
    /// Good once, for `/v1/auth/refresh`.
    refresh_token: String,
    refresh_expires_at: String,
    /// Always `Bearer`.
    token_type: &'static str,
}

/// Signs in with name and password. Too many wrong ones close the account for a while.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", operation_id = "login", request_body = Login,
    responses((status = 200, body = Tokens), (status = 401, description = "Name or password is wrong")))]
pub(crate) async fn login(
    State(state): State<AppState>,
    request: RequestId,
    Json(login): Json<Login>,
) -> ApiResult<Json<Tokens>> {
    if login.name.len() > NAME_LENGTH_MAX {
        return Err(wrong());
    }
    let deeds = Deeds::of_stranger(&state, &login.name, &request);
    let account = state.ledger.account_by_name(&login.name).await?;
    if let Some(account) = &account
        && let Err(refusal) = refuse_locked(account, state.now())
    {
        deeds.note("auth.login-locked", account.name.as_str()).await?;
        return Err(refusal);
    }
    let stored = account.as_ref().map(|account| account.password_hash.clone());
    let right = state.passwords().matches(login.password, stored).await?;
    match account.filter(|_| right) {
        Some(account) if account.disabled_at.is_none() => {
            let (now, issued) = (state.now(), issue(&state, &account, account.epoch)?);
            let row = deeds.row("auth.login", account.name.as_str(), json!({}));
            let keep = async |ledger: ledger::Ledger| {
                ledger.login_succeeded(account.id, &issued.sessions, now).await
            };
            deeds.carry_out([row], keep).await?;
            count("signed_in");
            Ok(Json(issued.tokens))
        }
        Some(_) | None => Err(failed(&state, &login.name, right, &deeds, &request).await?),
    }
}

/// Somebody whose name is not repeated: a password may have been typed in its place.
fn nobody<'a>(state: &'a AppState, request: &'a RequestId) -> Deeds<'a> {
    Deeds::of_stranger(state, "?", request)
}

/// Counts the failure; gives the refusal.
async fn failed(
    state: &AppState,
    name: &str,
    right: bool,
    deeds: &Deeds<'_>,
    request: &RequestId,
) -> ApiResult<ApiError> {
    count("refused");
    let Some(account) = state.ledger.account_by_name(name).await? else {
        nobody(state, request).note("auth.login-failed", "an unknown name").await?;
        return Ok(wrong());
    };
    if right {
        // A closed account; a wrong password is not what happened.
        deeds.note("auth.login-failed", account.name.as_str()).await?;
        return Ok(wrong());
    }
    let rule = LoginFailure {
        failures_max: state.http.lock_out.failures.get(),
        locked_for: state.http.lock_out.duration,
    };
    let (now, row) = (state.now(), deeds.row("auth.login-failed", account.name.as_str(), json!({})));
    deeds.carry_out([row], async |ledger| ledger.login_failed(account.id, rule, now).await).await?;
    Ok(wrong())
}

fn refuse_locked(account: &Account, now: Millis) -> ApiResult<()> {
    match account.locked_until {
        Some(until) if account.is_locked(now) => {
            count("locked");
            let detail = "too many wrong passwords: wait, or ask an administrator";
            Err(ApiError::because(Code::AccountLocked, detail).retry_after(until.since(now)))
        }
        Some(_) | None => Ok(()),
    }
}

fn wrong() -> ApiError {
    ApiError::because(Code::BadCredentials, "name or password is wrong")
}

fn count(outcome: &'static str) {
    metrics::counter!("overread_sign_ins_total", "outcome" => outcome).increment(1);
}

/// Signs in with a one-time login, such as the one that `overread demo` prints.
#[utoipa::path(post, path = "/v1/auth/one-time", tag = "auth", operation_id = "login_once", request_body = OneTime,
    responses((status = 200, body = Tokens), (status = 401, description = "Unknown, used or expired")))]
pub(crate) async fn one_time(
    State(state): State<AppState>,
    request: RequestId,
    Json(OneTime { code }): Json<OneTime>,
) -> ApiResult<Json<Tokens>> {
    let (now, digest) = (state.now(), digest_of(code.trim()));
    let found = state.ledger.session_by_hash(SessionKind::OneTime, &digest, now).await?;
    if let Some(session) = found {
        let account = state.ledger.account(session.account).await?.ok_or_else(wrong)?;
        let issued = issue(&state, &account, session.epoch)?;
        let deeds = Deeds::of_stranger(&state, &account.name, &request);
        let row = deeds.row("auth.one-time", account.name.as_str(), json!({}));
        let exchange = async |ledger: ledger::Ledger| {
            ledger.exchange_session(SessionKind::OneTime, &digest, &issued.sessions, now).await
        };
        if deeds.carry_out_if([row], exchange).await? {
            count("signed_in");
            return Ok(Json(issued.tokens));
        }
    }
    count("refused");
    nobody(&state, &request).note("auth.one-time-failed", "an unknown login").await?;
    Err(ApiError::because(Code::BadCredentials, "this one-time login is unknown, used or expired"))
}

/// Exchanges a refresh token for new tokens. A refresh token that is shown a second time
/// was stolen from somebody: the account is signed out everywhere.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", operation_id = "refresh", request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "Unknown, used, revoked or expired")))]
pub(crate) async fn refresh(
    State(state): State<AppState>,
    request: RequestId,
    Json(Refresh { refresh_token }): Json<Refresh>,
) -> ApiResult<Json<Tokens>> {
    let now = state.now();
    state.signer.check(Purpose::Refresh, &refresh_token, now)?;
    let digest = digest_of(&refresh_token);
    let found = state.ledger.session_by_hash(SessionKind::Refresh, &digest, now).await?;
    if let Some(session) = found {
        let account = state.ledger.account(session.account).await?.ok_or_else(wrong)?;
        let issued = issue(&state, &account, session.epoch)?;
        let kind = SessionKind::Refresh;
        if state.ledger.exchange_session(kind, &digest, &issued.sessions, now).await? {
            return Ok(Json(issued.tokens));
        }
    }
    Err(refuse_replay(&state, &digest, &request).await?)
}

async fn refuse_replay(state: &AppState, digest: &str, request: &RequestId) -> ApiResult<ApiError> {
    let now = state.now();
    if let Some(used) = state.ledger.session_by_hash(SessionKind::Refresh, digest, now).await? {
        let account = state.ledger.account(used.account).await?.ok_or_else(wrong)?;
        let deeds = Deeds::of_stranger(state, &account.name, request);
        let row = deeds.row("auth.refresh-replayed", account.name.as_str(), json!({}));
        deeds.carry_out([row], async |ledger| ledger.revoke_sessions_of(account.id, now).await).await?;
        tracing::warn!("a refresh token was shown a second time: its account is signed out everywhere");
    }
    Ok(ApiError::because(Code::BadCredentials, "this refresh token is used or revoked; sign in again"))
}

/// What may be sent when signing out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logout {
    /// Ended too when given; otherwise it could still be exchanged.
    refresh_token: Option<String>,
}

/// Ends this sign-in. The access token that was sent is good for nothing afterwards.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", operation_id = "logout",
    request_body = Option<Logout>, responses((status = 204)))]
pub(crate) async fn logout(
    State(state): State<AppState>,
    person: Person,
    request: RequestId,
    body: Option<Json<Logout>>,
) -> ApiResult<StatusCode> {
    let now = state.now();
    let mut ended = vec![person.session];
    if let Some(token) = body.and_then(|Json(body)| body.refresh_token) {
        let session = state.ledger.session_by_hash(SessionKind::Refresh, &digest_of(&token), now).await?;
        ended.extend(session.filter(|session| session.account == person.account).map(|session| session.id));
    }
    let deeds = Deeds::of(&state, &person.caller, &request);
    let row = deeds.row("auth.logout", person.caller.name.as_str(), json!({}));
    deeds.carry_out([row], async |ledger| ledger.revoke_sessions(&ended, now).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tokens, and the sessions that make them good as soon as they are kept.
struct Issued {
    tokens: Tokens,
    sessions: [NewSession; 2],
}

/// New tokens for who was good for them in this epoch of the account; kept in a later one, they are good for nothing.
fn issue(state: &AppState, account: &Account, epoch: i64) -> ApiResult<Issued> {
    let lifetimes = state.http.tokens;
    let (access_token, access) = new_token(state, account, epoch, Purpose::Access, lifetimes.access)?;
    let (refresh_token, refresh) = new_token(state, account, epoch, Purpose::Refresh, lifetimes.refresh)?;
    let tokens = Tokens {
        access_token,
        access_expires_at: timestamp(access.expires_at),
        refresh_token,
        refresh_expires_at: timestamp(refresh.expires_at),
        token_type: "Bearer",
    };
    Ok(Issued { tokens, sessions: [access, refresh] })
}

fn new_token(
    state: &AppState,
    account: &Account,
    epoch: i64,
    purpose: Purpose,
    lifetime: std::time::Duration,
) -> ApiResult<(String, NewSession)> {
    let (token, expires_at) = state.signer.sign(purpose, account.id, state.now(), lifetime)?;
    let kind = match purpose {
        Purpose::Access => SessionKind::Access,
        Purpose::Refresh => SessionKind::Refresh,
    };
    let session = NewSession { account: account.id, epoch, kind, hash: digest_of(&token), expires_at };
    Ok((token, session))
}
