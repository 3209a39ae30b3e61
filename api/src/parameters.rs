//! Refuses what `/v1` does not know in the part of an address after `?`.
//!
//! A filter that is spelt wrong would otherwise be no filter, and its list the whole one. What
//! is known is what the OpenAPI document says.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
};
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn, PathItem},
};

use crate::error::{ApiError, ApiResult, Code};

/// Of each operation the names that it takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<BTreeMap<(MethodName, String), Vec<String>>>);

type MethodName = &'static str;

impl Known {
    pub(crate) fn of(document: &OpenApi) -> Self {
        let mut known = BTreeMap::new();
        for (route, item) in document.paths.paths.iter().filter(|(route, _)| route.starts_with("/v1/")) {
            for (method, operation) in operations(item) {
                known.insert((method, route.clone()), names(operation));
            }
        }
        Self(Arc::new(known))
    }

    /// Refuses a request with a parameter that its route does not know.
    pub(crate) fn check(&self, request: &Request) -> ApiResult<()> {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        match (route, request.uri().query()) {
            (Some(route), Some(query)) => self.check_query(request.method(), route, query),
            _ => Ok(()),
        }
    }

    fn check_query(&self, method: &Method, route: &str, query: &str) -> ApiResult<()> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let known = self.0.iter().find(|((one, path), _)| *one == method.as_str() && path == route);
        let Some((_, known)) = known else { return Ok(()) };
        let given = query.split('&').filter(|pair| !pair.is_empty());
        let strange = given
            .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
            .find(|name| !known.iter().any(|one| one == name));
        let Some(strange) = strange else { return Ok(()) };
        let strange: String = strange.chars().filter(char::is_ascii_graphic).take(64).collect();
        let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let detail = format!("there is no parameter {strange}; allowed here: {allowed}");
        Err(ApiError::because(Code::InvalidParameter, detail))
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (MethodName, &Operation)> {
    let all = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn names(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten();
    let in_query = parameters.filter_map(|one| match one {
        RefOr::T(one) if one.parameter_in == ParameterIn::Query => Some(one.name.clone()),
        RefOr::T(_) | RefOr::Ref(_) => None,
    });
    in_query.collect()
}
