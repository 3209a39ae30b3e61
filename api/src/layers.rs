//! What surrounds every handler, in the order in which a request meets it.

use std::any::Any;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use crate::{
    compat,
    config::{HttpConfig, Listener},
    error::{ApiError, Code},
    gate, metrics, request_id,
    state::AppState,
    transport,
};

/// The try-it page brings its own scripts and styles and talks to nobody but us.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts the layers around `routes`; the last one added here is met first.
pub(crate) fn around(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    routes
        .layer(DefaultBodyLimit::max(state.http.limits.body_bytes))
        .layer(middleware::from_fn_with_state(state.clone(), gate::pass))
        .layer(cors(&state.http))
        .layer(middleware::from_fn_with_state(state.clone(), transport::gate))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(compat::speak))
        .layer(middleware::from_fn(metrics::observe))
        .layer(middleware::from_fn_with_state(state.clone(), shield))
        .layer(middleware::from_fn(request_id::name))
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
            request_id::HEADER,
        ])
        .expose_headers([request_id::HEADER, header::RETRY_AFTER])
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
async fn shield(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = if docs { DOCS_POLICY } else { API_POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !docs {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if state.http.listener == Listener::Tls {
        let a_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, a_year);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_what_it_said_is_not_told() {
        async fn fall() -> &'static str {
            panic!("patient Doe has no slices")
        }
        let router: Router = Router::new().route("/", get(fall)).layer(CatchPanicLayer::custom(panicked));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("\"code\":\"internal\"") && !text.contains("Doe"), "{text}");
    }
}
