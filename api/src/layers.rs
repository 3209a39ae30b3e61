//! What surrounds every handler, in the order in which a request meets it.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

use crate::{
    compat,
    config::{HttpConfig, Listener},
    error::{ApiError, Code},
    gate, idempotency, metrics,
    parameters::Known,
    request_id,
    routes::predict,
    state::AppState,
    transport,
};

/// The try-it page brings its own scripts and styles and talks to nobody but us.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts around `routes` what is met before a handler: one layer, because each copies those inside it for every request.
/// Where pages of other origins are let in, what their browsers ask is answered before the gate, and there are three.
pub(crate) fn around(routes: Router<AppState>, state: &AppState, known: Known) -> Router<AppState> {
    let gate = Way { state: state.clone(), known };
    if state.http.cors_origins.is_empty() {
        return routes.layer(middleware::from_fn_with_state(gate, whole_way));
    }
    routes
        .layer(middleware::from_fn_with_state(gate, through_the_gate))
        .layer(cors(&state.http))
        .layer(middleware::from_fn_with_state(state.clone(), up_to_the_gate))
}

/// What the way in needs.
#[derive(Debug, Clone)]
struct Way {
    state: AppState,
    known: Known,
}

async fn whole_way(State(way): State<Way>, request: Request, next: Next) -> Response {
    let Way { state, known } = way;
    let inside = state.clone();
    surround(&state, request, |request| gate::pass(inside, &known, request, next)).await
}

async fn up_to_the_gate(State(state): State<AppState>, request: Request, next: Next) -> Response {
    surround(&state, request, |request| next.run(request)).await
}

async fn through_the_gate(State(way): State<Way>, request: Request, next: Next) -> Response {
    gate::pass(way.state, &way.known, request, next).await
}

/// What every request meets, and what follows it.
async fn surround<F>(state: &AppState, mut request: Request, follows: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    // Routes that take more say so themselves, further in.
    DefaultBodyLimit::max(state.http.limits.body_bytes).apply(&mut request);
    let id = request_id::name(&mut request);
    let span = id.span(request.method());
    let shield = Shield::of(state, &request);
    let answer = async {
        let (observed, dialect) = (metrics::Observed::begin(&request), compat::Spoken::of(&request));
        let response = caught(async {
            match transport::gate(state, &mut request) {
                Ok(()) => follows(request).await,
                Err(refusal) => refusal.into_response(),
            }
        });
        let response = dialect.speak(response.await);
        observed.end(&response);
        response
    };
    let mut response = id.serve(answer).instrument(span).await;
    shield.cover(response.headers_mut());
    id.mark(&mut response);
    response
}

/// The answer, also where making it panics.
async fn caught(answer: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(panicked)
}

fn cors(http: &HttpConfig) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(http.cors_origins.iter().cloned()))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("last-event-id"),
            header::IF_MATCH,
            idempotency::HEADER,
            request_id::HEADER,
        ])
        .expose_headers([
            request_id::HEADER,
            idempotency::REPLAYED,
            header::RETRY_AFTER,
            header::ETAG,
            header::LOCATION,
            header::WARNING,
            predict::SERVER_TIMING,
        ])
        .max_age(std::time::Duration::from_secs(600))
}

/// What a panic said may hold anything, so the caller never sees it.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    ::metrics::counter!("overread_http_panics_total").increment(1);
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    ApiError::new(Code::Internal).caused_by(format!("a handler panicked: {said}")).into_response()
}

/// Tells browsers to guess, frame, send on and keep nothing.
#[derive(Debug, Clone, Copy)]
struct Shield {
    docs: bool,
    tls: bool,
}

impl Shield {
    fn of(state: &AppState, request: &Request) -> Self {
        Self { docs: request.uri().path().starts_with("/docs"), tls: state.http.listener == Listener::Tls }
    }

    fn cover(self, headers: &mut HeaderMap) {
        let policy = if self.docs { DOCS_POLICY } else { API_POLICY };
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if !self.docs {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if self.tls {
            let a_year = HeaderValue::from_static("max-age=31536000");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, a_year);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_what_it_said_is_not_told() {
        let response = caught(async { panic!("patient Doe has no slices") }).await;
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\"code\":\"internal\"") && !text.contains("Doe"), "{text}");
    }
}
