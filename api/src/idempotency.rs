//! `Idempotency-Key` (the IETF draft of that name): what is asked twice is done once.
//!
//! A claim of the key is in the ledger before the handler begins, and the answer is there before the
//! caller has it. The deed is a task of its own, so that a caller who hangs up does not leave it half done.
//! What refused the request did nothing, so that its key is free again; after any other end without an answer nobody can
//! say what was done, and the key says just that.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use ledger::{Claimed, IdempotencyClaim, KeptAnswer, NewIdempotencyClaim};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    auth::{Caller, Who},
    error::{ApiError, ApiResult, Code},
    request_id,
    state::AppState,
};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub(crate) const KEY_LENGTH_MAX: usize = 255;
/// A claim is believed to be at work for so much longer than its request may take.
const MARGIN: Duration = Duration::from_secs(60);

/// May the answer be kept?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Kept,
    /// It shows a secret, which is shown once.
    Secret,
    /// It names the patient, who is to be named in as few places as can be.
    Patient,
}

/// The operations that take the header, all of them POST. Those that are not here can be repeated as they are (uploads,
/// reviews, sign-ins), or would leave the digest of a password in the ledger (accounts).
const ROUTES: &[(&str, Answer)] = &[
    ("/v1/batches", Answer::Kept),
    ("/v1/models/{id}/predict", Answer::Kept),
    ("/v1/models/{id}/retrain", Answer::Kept),
    ("/v1/studies/{uid}/analyse", Answer::Patient),
    ("/v1/studies/{uid}/fusions", Answer::Kept),
    ("/v1/jobs/{id}/retry", Answer::Kept),
    ("/v1/jobs/{id}/cancel", Answer::Kept),
    ("/v1/deliveries/{id}/retry", Answer::Kept),
    ("/v1/keys", Answer::Secret),
];

/// Does the operation take the header, and what becomes of its answer?
pub(crate) fn taken(method: &Method, route: &str) -> Option<Answer> {
    if method != Method::POST {
        return None;
    }
    ROUTES.iter().find(|(one, _)| *one == route).map(|(_, answer)| *answer)
}

/// The request's answer is to be kept, or what was kept is to be told again.
pub(crate) fn is_asked(request: &Request) -> Option<Answer> {
    if !request.headers().contains_key(HEADER) {
        return None;
    }
    taken(request.method(), request.extensions().get::<MatchedPath>()?.as_str())
}

/// Carries the request out, unless its key says that this was done before.
pub(crate) async fn once(
    state: AppState,
    answer: Answer,
    request: Request,
    next: Next,
    room: OwnedSemaphorePermit,
    limit: Duration,
) -> Response {
    let work = async move {
        let _room = room;
        match claim(&state, answer, request).await {
            Ok(First::Mine(claim, request)) => {
                carry_out(&state, answer, &claim, tokio::time::timeout(limit, next.run(*request))).await
            }
            Ok(First::Told(kept)) => again(kept),
            Err(refusal) => refusal.into_response(),
        }
    };
    let done = tokio::spawn(request_id::same(work)).await;
    done.unwrap_or_else(|error| ApiError::internal(error).into_response())
}

enum First {
    Mine(IdempotencyClaim, Box<Request>),
    Told(KeptAnswer),
}

async fn claim(state: &AppState, answer: Answer, request: Request) -> ApiResult<First> {
    let (parts, body) = request.into_parts();
    let key = key_of(&parts.headers)?;
    takes_json(&parts.headers)?;
    let Some(caller) = parts.extensions.get::<Caller>() else {
        return Err(ApiError::internal("a key of somebody who is nobody"));
    };
    let body = axum::body::to_bytes(body, state.http.limits.body_bytes).await.map_err(|error| {
        let detail = "a body with an Idempotency-Key is whole, and no longer than any JSON";
        ApiError::because(Code::BodyTooLarge, detail).caused_by(error)
    })?;
    let new = NewIdempotencyClaim {
        caller: &name_of(caller),
        key: &key,
        method: parts.method.as_str(),
        address: parts.uri.path_and_query().map_or("", |address| address.as_str()),
        body: &body,
        node: &state.node,
        boot: &state.boot,
    };
    let patience = state.http.limits.upload_timeout.max(state.http.limits.request_timeout) + MARGIN;
    match state.ledger.claim_idempotency_key(&new, patience, state.now()).await? {
        Claimed::First(claim) => {
            Ok(First::Mine(claim, Box::new(Request::from_parts(parts, Body::from(body)))))
        }
        Claimed::Answered(KeptAnswer { body: None, .. }) => Err(ApiError::because(
            Code::AnswerNotKept,
            match answer {
                Answer::Kept => "this was done; the answer was too long to be kept",
                Answer::Secret => "this was done; the answer showed a secret, which is not kept",
                Answer::Patient => "this was done; GET /v1/studies/{uid} tells what came of it",
            },
        )),
        Claimed::Answered(kept) => Ok(First::Told(kept)),
        Claimed::Open => {
            Err(ApiError::because(Code::InProgress, "the first request with this key is being carried out")
                .retry_after(Duration::from_secs(1)))
        }
        Claimed::Unknown => Err(ApiError::because(
            Code::OutcomeUnknown,
            "the first request with this key ended without an answer: see whether it was carried out, and use a new key",
        )),
        Claimed::OtherRequest => {
            Err(ApiError::because(Code::KeyReused, "this key came with another method, address or body"))
        }
        Claimed::TooMany => {
            Err(ApiError::because(Code::RateLimited, "you have too many keys of the last 24 hours")
                .retry_after(Duration::from_secs(3600)))
        }
    }
}

/// The draft writes a string in quotes; most clients send it bare.
fn key_of(headers: &HeaderMap) -> ApiResult<String> {
    let refusal = || {
        let detail =
            format!("an Idempotency-Key is one text of 1 to {KEY_LENGTH_MAX} visible ASCII characters");
        ApiError::because(Code::BadRequest, detail)
    };
    let mut values = headers.get_all(HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(refusal()) };
    let text = value.to_str().map_err(|_| refusal())?;
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_sane =
        (1..=KEY_LENGTH_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    is_sane.then(|| key.to_owned()).ok_or_else(refusal)
}

/// A table is answered while it comes, and its answer is not kept.
fn takes_json(headers: &HeaderMap) -> ApiResult<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.trim_start().to_ascii_lowercase().starts_with("text/csv") {
        let detail = "an Idempotency-Key goes with JSON, not with CSV";
        return Err(ApiError::because(Code::UnsupportedMediaType, detail));
    }
    Ok(())
}

/// One name for each caller; a login name may be given to another account.
fn name_of(caller: &Caller) -> String {
    match caller.who {
        Who::Account { account, .. } | Who::Gateway { account: Some(account) } => {
            format!("account:{account}")
        }
        Who::Key(key) => format!("key:{key}"),
        Who::Program { account } => format!("program:{account}"),
        Who::Gateway { account: None } => format!("gateway:{}", caller.name),
    }
}

async fn carry_out(
    state: &AppState,
    answer: Answer,
    claim: &IdempotencyClaim,
    deed: impl Future<Output = Result<Response, tokio::time::error::Elapsed>>,
) -> Response {
    let response = match AssertUnwindSafe(deed).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::new(Code::TimedOut).into_response(),
        Err(panic) => {
            note(state.ledger.leave_unknown(claim).await);
            std::panic::resume_unwind(panic)
        }
    };
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        note(state.ledger.leave_unknown(claim).await);
        return ApiError::internal("an answer broke off").into_response();
    };
    let noted = match parts.status {
        status if status.is_client_error() => state.ledger.give_back_idempotency_key(claim).await,
        status if status.is_server_error() => state.ledger.leave_unknown(claim).await,
        status => state.ledger.keep_answer(claim, &kept(answer, status, &parts.headers, &body)).await,
    };
    // The deed is done: its answer is given. Who asks again hears that it is unknown.
    note(noted);
    Response::from_parts(parts, Body::from(body))
}

fn note(noted: Result<(), ledger::Error>) {
    if let Err(error) = noted {
        tracing::error!(%error, "how a request with an idempotency key ended was not kept");
    }
}

fn kept(answer: Answer, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> KeptAnswer {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    KeptAnswer {
        status: status.as_u16(),
        content_type: content_type.map(str::to_owned),
        body: match answer {
            Answer::Kept => std::str::from_utf8(body).ok().map(str::to_owned),
            Answer::Secret | Answer::Patient => None,
        },
    }
}

fn again(kept: KeptAnswer) -> Response {
    let mut response = Response::new(Body::from(kept.body.unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(kind) = kept.content_type.and_then(|kind| HeaderValue::from_str(&kind).ok()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    response
}
