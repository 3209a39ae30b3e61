//! Puts routes, documentation and layers together.

use axum::{Json, Router, middleware, routing::get};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    compat,
    error::{ApiError, Code},
    layers,
    openapi::{self, ApiDoc},
    parameters::Known,
    routes,
    state::AppState,
};

const OPENAPI_ROUTE: &str = "/openapi.json";

/// The whole HTTP side. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`: who may speak plain HTTP depends
/// on the peer's address.
pub fn router(state: AppState) -> Router {
    let (routes, document) = routes::documented(&state.http.limits).split_for_parts();
    let document = openapi::complete(document);
    let known = Known::of(&document);
    let routes = routes
        .route(OPENAPI_ROUTE, get(move || async move { Json(document) }))
        .merge(SwaggerUi::new(ApiDoc::TRY_IT_PAGE).config(Config::new([OPENAPI_ROUTE])))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_this_method);
    let inner = layers::around(routes, &state, known).with_state(state);
    // Clients of older systems write a slash at the end of an address, or do not.
    Router::new().fallback_service(inner).layer(middleware::map_request(compat::without_slash))
}

/// The OpenAPI document of this version.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, document) = routes::documented(&crate::config::Limits::default()).split_for_parts();
    openapi::complete(document)
}

async fn nothing_here() -> ApiError {
    ApiError::because(Code::NotFound, "nothing is at this address; /docs lists what there is")
}

async fn not_this_method() -> ApiError {
    ApiError::because(Code::MethodNotAllowed, "/docs lists what this address takes")
}
