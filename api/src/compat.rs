//! What clients of older systems call: other names, and other shapes, for the same handlers.
//!
//! Nothing is decided here that `/v1` does not decide. A refusal is made like any other and
//! put into the words of the contract on its way out, so that a route of ours cannot forget
//! to speak its clients' language.

mod dialect;
mod history;
mod imaging;
mod language;
mod model_server;
mod multimodal;
mod rows;
mod workers;

use axum::{
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{Uri, uri::PathAndQuery},
    response::Response,
};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use crate::{config::Limits, error::Told, state::AppState};
use dialect::Dialect;
pub(crate) use dialect::{ImageRefusal, WorkerRefusal};
use language::Language;
pub(crate) use workers::PollingWorkerName;

/// The routes of the contracts.
pub(crate) fn routes(limits: &Limits) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(model_server::health))
        .routes(routes!(model_server::schema))
        .routes(also("/api/ml/schema", "compat_gateway_schema", routes!(model_server::schema)))
        .routes(routes!(model_server::reload))
        .routes(also("/api/ml/reload", "compat_gateway_reload", routes!(model_server::reload)))
        .routes(routes!(model_server::status))
        .routes(also("/ml/v1/status", "compat_ml_status", routes!(model_server::status)))
        .routes(routes!(model_server::model_info))
        .routes(also("/ml/v1/model-info", "compat_ml_model_info", routes!(model_server::model_info)))
        .routes(routes!(model_server::retrain))
        .routes(also("/ml/v1/retrain", "compat_ml_retrain", routes!(model_server::retrain)))
        .routes(routes!(history::history))
        .routes(routes!(imaging::feedback))
        .routes(routes!(imaging::task))
        .routes(routes!(workers::request))
        .routes(routes!(workers::requests))
        .routes(routes!(workers::pending))
        .routes(routes!(workers::update))
        .routes(routes!(workers::complete))
        .merge(tables(limits))
}

fn tables(limits: &Limits) -> OpenApiRouter<AppState> {
    let classify = || routes!(imaging::ct_classification);
    OpenApiRouter::new()
        .routes(routes!(model_server::predict))
        .routes(also("/api/v1/predict", "compat_v1_predict", routes!(model_server::predict)))
        .routes(also("/api/ml/predict", "compat_gateway_predict", routes!(model_server::predict)))
        .routes(also("/ml/v1/predict", "compat_ml_predict", routes!(model_server::predict)))
        .routes(classify())
        .routes(also("/v1/predict/ct_classification", "ct_classification", classify()))
        .routes(routes!(imaging::mri_segmentation))
        .routes(also("/api/v1/m1/inference", "compat_m1", routes!(imaging::mri_segmentation)))
        .routes(routes!(imaging::mg))
        .routes(routes!(multimodal::mm))
        .layer(DefaultBodyLimit::max(limits.predict_bytes))
}

/// The same handler at another address, under a name of its own.
fn also(
    route: &str,
    operation_id: &str,
    (schemas, mut documented, handler): UtoipaMethodRouter<AppState>,
) -> UtoipaMethodRouter<AppState> {
    let (first, mut item) = documented.paths.pop_first().expect("a handler is documented at one address");
    for operation in [item.get.as_mut(), item.post.as_mut()].into_iter().flatten() {
        operation.operation_id = Some(operation_id.to_owned());
        operation.summary = Some(format!("As `{first}`."));
        operation.description = None;
    }
    documented.paths.insert(route.to_owned(), item);
    (schemas, documented, handler)
}

/// How a request is to be answered; as it is, where its route is of no contract.
#[derive(Debug)]
pub(crate) struct Spoken(Option<(Dialect, Language)>);

impl Spoken {
    pub(crate) fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        Self(route.and_then(Dialect::of).map(|dialect| (dialect, Language::of(request.headers()))))
    }

    /// Puts the refusals of the contracts' routes into their words.
    pub(crate) fn speak(self, response: Response) -> Response {
        let told = response.extensions().get::<Told>().cloned();
        match (self.0, told) {
            (Some((dialect, language)), Some(told)) => dialect.refuse(&told, language, response),
            _ => response,
        }
    }
}

/// `/predict/` is `/predict`; the try-it page has addresses of its own.
pub(crate) async fn without_slash(mut request: Request) -> Request {
    if let Some(shorter) = shorter(request.uri()) {
        *request.uri_mut() = shorter;
    }
    request
}

fn shorter(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty() && !path.starts_with("/docs"))?;
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// How the refusals of a contract's route look, by the name of their schema.
pub(crate) fn refusal_schema(route: &str) -> Option<&'static str> {
    Dialect::of(route).map(|dialect| match dialect {
        Dialect::ModelServer | Dialect::Gateway => "Detail",
        Dialect::Workers => "WorkerRefusal",
        Dialect::Imaging => "ImageRefusal",
    })
}

/// The family of scopes that a key needs for a route of the contracts.
pub(crate) fn family_of(route: &str) -> Option<&'static str> {
    if route == "/ml/v1/history" {
        return Some("predictions");
    }
    if route.starts_with("/api/orthanc/") {
        return Some("studies");
    }
    Dialect::of(route).map(|dialect| match dialect {
        Dialect::ModelServer | Dialect::Gateway => "models",
        Dialect::Workers => "studies",
        Dialect::Imaging if route.ends_with("/ct_classification") || route == "/feedback" => "predictions",
        Dialect::Imaging => "studies",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expect: Option<&str>) {
        let found = shorter(&address.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(found.as_deref(), expect, "{address}");
    }

    #[test]
    fn one_slash_at_the_end_is_dropped() {
        check("/predict/", Some("/predict"));
        check("/ml/v1/history/?limit=5", Some("/ml/v1/history?limit=5"));
        check("/predict", None);
        check("/", None);
        check("/docs/", None);
    }
}
