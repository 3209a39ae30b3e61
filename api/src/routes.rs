//! One file for each family of routes.

mod audit;
mod auth;
mod batches;
mod deliveries;
mod events;
mod feedback;
mod hooks;
mod jobs;
mod keys;
mod landing;
mod me;
mod models;
mod orthanc;
pub(crate) mod predict;
pub(crate) mod predictions;
mod probes;
mod recipients;
mod results;
mod retrainings;
mod reviews;
mod stats;
mod studies;
mod users;

use axum::extract::DefaultBodyLimit;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use reviews::Masks;

use crate::{compat, config::Limits, openapi::ApiDoc, state::AppState};

/// Every route that the OpenAPI document describes.
pub(crate) fn documented(limits: &Limits) -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(service())
        .merge(people())
        .merge(work())
        .merge(uploads(limits))
        .merge(tables(limits))
        .merge(compat::routes(limits))
}

fn service() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(landing::landing))
        .routes(routes!(probes::livez))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::metrics))
        .routes(routes!(hooks::orthanc))
        .routes(routes!(events::events))
        .routes(routes!(events::events_socket))
}

fn people() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::one_time))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::logout))
        .routes(routes!(me::me))
        .routes(routes!(me::change_password))
        .routes(routes!(recipients::set_devices))
        .routes(routes!(recipients::set_recipients))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::get, users::change))
        .routes(routes!(keys::list, keys::add))
        .routes(routes!(keys::revoke))
        .routes(routes!(audit::list))
}

fn work() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(studies::list))
        .routes(routes!(studies::get))
        .routes(routes!(studies::routing))
        .routes(routes!(studies::analyse))
        .routes(routes!(studies::release))
        .routes(routes!(studies::fusion::fuse))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(batches::list, batches::add))
        .routes(routes!(batches::get))
        .routes(routes!(results::list))
        .routes(routes!(results::get))
        .routes(routes!(results::artifacts))
        .routes(routes!(results::download))
        .routes(routes!(reviews::list, reviews::decide))
        .routes(routes!(feedback::statistics))
        .routes(routes!(feedback::export))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(predict::schema))
        .routes(routes!(predict::reload))
        .routes(routes!(predictions::list))
        .routes(routes!(predictions::get))
        .routes(routes!(stats::drift))
        .routes(routes!(retrainings::ask))
        .routes(routes!(retrainings::list))
        .routes(routes!(retrainings::get))
        .routes(routes!(retrainings::promote))
        .routes(routes!(retrainings::discard))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::retry))
}

/// These bodies are longer than any JSON.
fn uploads(limits: &Limits) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(studies::upload::upload))
        .routes(routes!(reviews::correct))
        .routes(routes!(orthanc::read, orthanc::write))
        .layer(DefaultBodyLimit::max(limits.upload_bytes))
}

/// These read their bodies themselves, bit by bit.
fn tables(limits: &Limits) -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(predict::predict)).layer(DefaultBodyLimit::max(limits.predict_bytes))
}
