//! The one way in: every request to a route passes here before its handler.
//!
//! In this order, so that the cheap refusals come first: is there room, who is it, has he
//! asked too often, may he, does he ask for what there is, and is the answer in time.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use ledger::{AccountId, ApiKeyId};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use crate::{
    access::{self, Access, Verdict},
    auth::{self, Caller},
    compat::PollingWorkerName,
    config::{self, HttpConfig},
    error::{ApiError, ApiResult, Code},
    idempotency,
    limits::{PerMinute, Rate, Rates},
    parameters::Known,
    request_id,
    state::AppState,
    transport::ClientAddress,
};

/// Who a request is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CountedFor {
    Account(AccountId),
    Key(ApiKeyId),
    /// A user of the old gateway who has no account here.
    Gateway(String),
    /// A program that `compat.polling_workers` names.
    Worker(String),
    Address(IpAddr),
}

/// The room that there is, for all callers and for each.
#[derive(Debug)]
pub(crate) struct Gate {
    room: Arc<Semaphore>,
    requests: Rates,
    sign_ins: PerMinute<IpAddr>,
}

impl Gate {
    pub(crate) fn new(limits: &config::Limits) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits.concurrent_requests)),
            requests: Rates::new(limits),
            sign_ins: PerMinute::new(limits.sign_ins_per_minute),
        }
    }
}

/// Serves the request if the table lets it pass and its parameters are `known`.
pub(crate) async fn pass(state: AppState, known: &Known, mut request: Request, next: Next) -> Response {
    let access = match rule_for(&request) {
        Ok(Some(access)) => access,
        // Nothing is there: let the router say so.
        Ok(None) => return next.run(request).await,
        Err(refusal) => return refusal.into_response(),
    };
    if access == Access::Open {
        return match known.check(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        };
    }
    let Ok(room) = Arc::clone(&state.gate().room).try_acquire_owned() else {
        return ApiError::new(Code::Overloaded).retry_after(Duration::from_secs(1)).into_response();
    };
    if let Err(refusal) = admit(&state, access, &mut request).await.and_then(|()| known.check(&request)) {
        return refusal.into_response();
    }
    let limit = time_limit(&state.http, &request);
    let answer = async {
        if let Some(answer) = idempotency::is_asked(&request) {
            return idempotency::once(state, answer, request, next, room, limit).await;
        }
        if is_deed(&request) {
            return Deed::begin(request, next, room).answer().await;
        }
        let _room = room;
        next.run(request).await
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(response) => response,
        Err(_) => ApiError::new(Code::TimedOut).into_response(),
    }
}

/// Whether the request changes something. A prediction is computed for who waits for it, and its row is in the
/// ledger before its answer; what is handed on to Orthanc is Orthanc's to finish.
fn is_deed(request: &Request) -> bool {
    let route = route_of(request);
    let asks = matches!(Rate::of(route), Rate::Predict | Rate::Unlimited) && route != STORES_AND_ASKS;
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && !asks
}

/// Counted as a prediction, and answered before anything is computed.
const STORES_AND_ASKS: &str = "/predict/mri_segmentation/async";

/// A request that changes something, in a task of its own: once it is read, neither a caller who hangs up nor the
/// time limit leaves half of it. One that is not read by then is given up.
struct Deed {
    work: JoinHandle<Response>,
    is_read: Arc<AtomicBool>,
}

impl Deed {
    fn begin(request: Request, next: Next, room: OwnedSemaphorePermit) -> Self {
        let is_read = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let reading = Reading(Arc::clone(&is_read));
        let request = request.map(|body| reading.through(body));
        let work = tokio::spawn(request_id::same(async move {
            let _room = room;
            next.run(request).await
        }));
        Self { work, is_read }
    }

    async fn answer(mut self) -> Response {
        match (&mut self.work).await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                // As if it had been in this task.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => ApiError::internal(error).into_response(),
            },
        }
    }
}

impl Drop for Deed {
    fn drop(&mut self) {
        if !self.is_read.load(Ordering::Acquire) {
            self.work.abort();
        }
    }
}

/// Goes along with a body; when it is dropped, nobody reads that any more.
struct Reading(Arc<AtomicBool>);

impl Reading {
    fn through(self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::from_stream(body.into_data_stream().inspect(move |_| {
            let _ = &self;
        }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn rule_for(request: &Request) -> ApiResult<Option<Access>> {
    let Some(route) = request.extensions().get::<MatchedPath>() else { return Ok(None) };
    match access::look_up(request.method(), route.as_str()) {
        Verdict::Rule(access) => Ok(Some(access)),
        Verdict::OtherMethod => Ok(None),
        Verdict::Unlisted => {
            Err(ApiError::internal(format!("{} is not in the access table", route.as_str())))
        }
    }
}

async fn admit(state: &AppState, access: Access, request: &mut Request) -> ApiResult<()> {
    let Some(ClientAddress(address)) = request.extensions().get::<ClientAddress>().copied() else {
        return Err(ApiError::internal("the transport gate is missing"));
    };
    match access {
        Access::Open => Ok(()),
        Access::SignIn => state.gate().sign_ins.take(&address),
        // The hook compares the secret itself: it depends on the source that is named.
        Access::SourceSecret => state.gate().requests.take(Rate::General, &CountedFor::Address(address)),
        Access::PollingWorker => {
            let worker = PollingWorkerName::of(state, address, request.headers()).await?;
            let counted = CountedFor::Worker(worker.0.clone());
            request.extensions_mut().insert(worker);
            state.gate().requests.take(Rate::General, &counted)
        }
        Access::Roles(roles) => {
            let caller = identify(state, address, Rate::of(route_of(request)), request.headers()).await?;
            let_in(caller, roles, request)
        }
        Access::People(roles) => {
            let caller = identify(state, address, Rate::of(route_of(request)), request.headers()).await?;
            caller.require_presence()?;
            let_in(caller, roles, request)
        }
    }
}

fn let_in(caller: Caller, roles: &[ledger::Role], request: &mut Request) -> ApiResult<()> {
    caller.require(roles)?;
    caller.require_scope(request.method(), route_of(request))?;
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Whoever fails to show who he is, is counted by address.
async fn identify(state: &AppState, address: IpAddr, rate: Rate, headers: &HeaderMap) -> ApiResult<Caller> {
    match auth::identify(state, headers).await {
        Ok(caller) => {
            state.gate().requests.take(rate, &caller.counted_for())?;
            Ok(caller)
        }
        Err(refusal) => {
            state.gate().requests.take(Rate::General, &CountedFor::Address(address))?;
            Err(refusal)
        }
    }
}

fn route_of(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str)
}

/// Only uploads, exports, long tables and what is handed on to Orthanc may take as long as their network does.
fn time_limit(http: &HttpConfig, request: &Request) -> Duration {
    if is_long(request.method(), route_of(request)) {
        http.limits.upload_timeout
    } else {
        http.limits.request_timeout
    }
}

fn is_long(method: &Method, route: &str) -> bool {
    let takes_files = ["/v1/studies", "/v1/results/{id}/reviews/segmentation"];
    let rate = Rate::of(route);
    let sends = method == Method::POST && (takes_files.contains(&route) || rate == Rate::Predict);
    sends || rate == Rate::Unlimited || route == "/v1/feedback/export"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_or_fetches_files_has_the_longer_limit() {
        for (method, route, expect) in [
            (Method::GET, "/v1/feedback/export", true),
            (Method::GET, "/v1/feedback", false),
            (Method::POST, "/v1/studies", true),
            (Method::GET, "/v1/studies", false),
            (Method::POST, "/v1/models/{id}/predict", true),
        ] {
            assert_eq!(is_long(&method, route), expect, "{method} {route}");
        }
    }
}
