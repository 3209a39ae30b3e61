//! The Orthanc behind us, for viewers that know no password of it.

use axum::{
    RequestExt,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, header, uri::Authority},
    response::{IntoResponse, Response},
};
use orthanc_bridge::{Answered, Forwarded, Proxy, PublicAddress, RestError};

use crate::{
    audit::Deeds,
    auth::{Caller, Clinician, Reader},
    error::{ApiError, ApiResult, Code},
    orthanc::{Look, OrthancPath, Passage},
    request_id::RequestId,
    state::AppState,
    transport::came_by_https,
};

const PREFIX: &str = "/api/orthanc/";

/// Reads from Orthanc: its REST interface and DICOMweb, as far as they show studies.
#[utoipa::path(get, path = "/api/orthanc/{*path}", tag = "orthanc", operation_id = "orthanc_read",
    params(("*path" = String, Path, description = "Below Orthanc's address, such as `dicom-web/studies`")),
    responses((status = 200, description = "What Orthanc answers, with its status"),
        (status = 404, description = "It does not pass here, or no Orthanc is configured"),
        (status = 502, description = "Orthanc does not answer")))]
pub(crate) async fn read(
    State(state): State<AppState>,
    reader: Reader,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    let (proxy, path) = way(&state, &reader, &Method::GET, &request)?;
    note_look(&state, &reader, &id, path.look(request.uri().query().unwrap_or_default())).await?;
    forward(&proxy, forwarded(&state, Method::GET, &path, &request)).await
}

/// A study is looked at by a thousand requests, which are one look; each search shows other people.
async fn note_look(state: &AppState, reader: &Caller, id: &RequestId, look: Look) -> ApiResult<()> {
    let deeds = Deeds::of(state, reader, id);
    let resource = match look {
        Look::At(resource) => resource,
        Look::Search(resource) => return deeds.note("orthanc.search", resource).await,
        Look::Unnamed(resource) => return deeds.note("orthanc.read", resource).await,
    };
    let (actor, now) = (reader.actor(), state.now());
    if state.looked().is_new(&actor, &resource, now) {
        deeds.note("orthanc.read", &resource).await?;
        state.looked().remember(&actor, &resource, now);
    }
    Ok(())
}

/// Stores in Orthanc or searches it.
#[utoipa::path(post, path = "/api/orthanc/{*path}", tag = "orthanc", operation_id = "orthanc_write",
    params(("*path" = String, Path, description = "`instances`, `dicom-web/studies` or `tools/find`")),
    responses((status = 200, description = "What Orthanc answers, with its status"),
        (status = 404, description = "It does not pass here, or no Orthanc is configured"),
        (status = 502, description = "Orthanc does not answer")))]
pub(crate) async fn write(
    State(state): State<AppState>,
    clinician: Clinician,
    id: RequestId,
    request: Request,
) -> ApiResult<Response> {
    let (proxy, path) = way(&state, &clinician, &Method::POST, &request)?;
    let resource = path.resource();
    let deed = if resource.starts_with("tools/") { "orthanc.search" } else { "orthanc.store" };
    Deeds::of(&state, &clinician, &id).note(deed, &resource).await?;
    let asked = forwarded(&state, Method::POST, &path, &request);
    forward(&proxy, asked.with_body(request.into_limited_body().into_data_stream())).await
}

fn way(
    state: &AppState,
    caller: &Caller,
    method: &Method,
    request: &Request,
) -> ApiResult<(Proxy, OrthancPath)> {
    let none =
        || ApiError::because(Code::NotFound, "this does not pass to Orthanc; docs/API.md lists what does");
    let path = request.uri().path().strip_prefix(PREFIX).and_then(OrthancPath::parse).ok_or_else(none)?;
    match path.passage(method, caller.role) {
        Passage::Open => {}
        Passage::OtherRole => {
            return Err(ApiError::because(
                Code::Forbidden,
                format!("this is not for the role {}", caller.role),
            ));
        }
        Passage::None => return Err(none()),
    }
    let proxy = state.bridge.proxy(state.http.compat.orthanc.as_deref()).ok_or_else(|| {
        ApiError::because(
            Code::NotFound,
            "no Orthanc is here to ask: name one of [[source]] in compat.orthanc",
        )
    })?;
    Ok((proxy.clone(), path))
}

fn forwarded(state: &AppState, method: Method, path: &OrthancPath, request: &Request) -> Forwarded {
    let host = host(request.headers(), request.uri().authority());
    Forwarded {
        method,
        path: path.to_string(),
        query: request.uri().query().map(str::to_owned),
        headers: request.headers().clone(),
        public: host.map(|host| PublicAddress {
            is_https: came_by_https(&state.http, request.headers()),
            host_and_path: format!("{host}/api/orthanc"),
        }),
        body: None,
    }
}

/// Where the caller thinks that we are, if that is a plain name or address.
fn host(headers: &HeaderMap, authority: Option<&Authority>) -> Option<String> {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or(authority.map(Authority::as_str))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
    (host.len() <= 255 && host.bytes().all(plain)).then(|| host.to_owned())
}

async fn forward(proxy: &Proxy, asked: Forwarded) -> ApiResult<Response> {
    let answered = proxy.forward(asked).await.map_err(unanswered)?;
    Ok(response(answered))
}

fn response(answered: Answered) -> Response {
    let (status, headers) = (answered.status, answered.headers.clone());
    (status, headers, Body::from_stream(answered.into_chunks())).into_response()
}

fn unanswered(error: RestError) -> ApiError {
    metrics::counter!("overread_orthanc_proxy_failures_total").increment(1);
    ApiError::because(Code::BadGateway, "Orthanc does not answer; the administrator's log says why")
        .caused_by(error)
}
