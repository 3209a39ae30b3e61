//! API keys of programs; for administrators.

use axum::{extract::State, http::StatusCode};
use ledger::{ApiKey, ApiKeyId, Millis, NewApiKey, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Admin, Scope, Secret},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path},
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

const NAME_LENGTH_MAX: usize = 64;
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
const DAYS_MAX: u32 = 3650;

/// One key, without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    id: String,
    name: String,
    /// `admin`, `doctor`, `technician`, `service` or `worker`.
    #[schema(value_type = String)]
    role: Role,
    /// What it is limited to; empty: everything that its role may.
    scopes: Vec<String>,
    created_by: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            role: key.role,
            scopes: key.scopes,
            created_by: key.created_by,
            created_at: timestamp(key.created_at),
            expires_at: key.expires_at.map(timestamp),
            used_at: key.used_at.map(timestamp),
            revoked_at: key.revoked_at.map(timestamp),
        }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What it is for.
    name: String,
    #[schema(value_type = String)]
    role: Role,
    /// Such as `studies:read` or `jobs:write`; none: everything that the role may.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// After so many days it is good for nothing; absent: never.
    expires_in_days: Option<u32>,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeKey {
    id: String,
    /// Shown this once; only its digest is kept.
    key: String,
}

/// All keys, revoked ones included.
#[utoipa::path(get, path = "/v1/keys", tag = "people", operation_id = "list_keys",
    responses((status = 200, body = Vec<KeyView>)))]
pub(crate) async fn list(State(state): State<AppState>, _admin: Admin) -> ApiResult<Json<Vec<KeyView>>> {
    Ok(Json(state.ledger.api_keys().await?.into_iter().map(KeyView::from).collect()))
}

/// Makes a key. It is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/keys", tag = "people", operation_id = "add_key", request_body = NewKey,
    responses((status = 201, body = MadeKey), (status = 422, description = "The name or the expiry cannot be used")))]
pub(crate) async fn add(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Json(new): Json<NewKey>,
) -> ApiResult<(StatusCode, Json<MadeKey>)> {
    check(&new)?;
    let now = state.now();
    let secret = Secret::generate().map_err(ApiError::internal)?;
    let row = NewApiKey {
        name: new.name,
        role: new.role,
        scopes: new.scopes.iter().map(Scope::to_string).collect(),
        hash: secret.digest(),
        expires_at: new.expires_in_days.map(|days| expiry(now, days)),
    };
    let (by, deeds) = (admin.actor(), Deeds::of(&state, &admin, &request));
    // The key that is made is its subject.
    let noted = deeds.row("key.add", "", json!({ "name": row.name, "role": row.role, "scopes": row.scopes }));
    let id = deeds.carry_out([noted], async |ledger| ledger.add_api_key(&row, &by, now).await).await?;
    Ok((StatusCode::CREATED, Json(MadeKey { id: id.to_string(), key: secret.expose().to_owned() })))
}

fn check(new: &NewKey) -> ApiResult<()> {
    let named = !new.name.trim().is_empty()
        && new.name.len() <= NAME_LENGTH_MAX
        && !new.name.chars().any(char::is_control);
    if !named {
        let detail = format!("a key has a name of 1 to {NAME_LENGTH_MAX} bytes");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    if new.expires_in_days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
        return Err(ApiError::because(Code::Unprocessable, format!("a key expires in 1 to {DAYS_MAX} days")));
    }
    Ok(())
}

fn expiry(now: Millis, days: u32) -> Millis {
    now.plus(DAY.saturating_mul(days))
}

/// Revokes a key, at once and for good.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "people", operation_id = "revoke_key",
    params(("id" = String, Path)), responses((status = 204), (status = 404, description = "No such key, or revoked already")))]
pub(crate) async fn revoke(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Path(id): Path<ApiKeyId>,
) -> ApiResult<StatusCode> {
    let (by, now, deeds) = (admin.actor(), state.now(), Deeds::of(&state, &admin, &request));
    let row = deeds.row("key.revoke", id.to_string(), json!({}));
    let revoked = deeds.carry_out_if([row], async |ledger| ledger.revoke_api_key(id, &by, now).await);
    if !revoked.await? {
        return Err(ApiError::no_such("key, or it is revoked already"));
    }
    Ok(StatusCode::NO_CONTENT)
}
