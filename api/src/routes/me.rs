//! Whoever calls.

use axum::{extract::State, http::StatusCode};
use ledger::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Caller, Password, Person, Who},
    error::{ApiError, ApiResult, Code},
    extract::Json,
    request_id::RequestId,
    state::AppState,
};

/// The caller.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// `account`, `key`, or `gateway`: a token of the old gateway.
    kind: &'static str,
    name: String,
    /// `admin`, `doctor`, `technician`, `service` or `worker`.
    #[schema(value_type = String)]
    role: Role,
    /// What a key is limited to; empty: everything that its role may.
    scopes: Vec<String>,
    /// Whether answers name patients.
    sees_patients: bool,
}

/// Who am I, and what may I?
#[utoipa::path(get, path = "/v1/me", tag = "auth", operation_id = "me", responses((status = 200, body = Me)))]
pub(crate) async fn me(caller: Caller) -> Json<Me> {
    let sees_patients = caller.sees_patients();
    let kind = match caller.who {
        Who::Account { .. } => "account",
        Who::Key(_) => "key",
        Who::Gateway { .. } | Who::Program { .. } => "gateway",
    };
    Json(Me { kind, name: caller.name, role: caller.role, scopes: caller.scopes, sees_patients })
}

/// The old password and the new one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// May be left out by who signed in with a one-time login to an account that has no password yet.
    current_password: Option<Password>,
    /// 12 characters or more.
    new_password: Password,
}

/// Changes the caller's own password, and ends all sign-ins of the account.
#[utoipa::path(put, path = "/v1/me/password", tag = "auth", operation_id = "change_password",
    request_body = NewPassword,
    responses((status = 204), (status = 422, description = "The new password is too short or too long")))]
pub(crate) async fn change_password(
    State(state): State<AppState>,
    person: Person,
    request: RequestId,
    Json(body): Json<NewPassword>,
) -> ApiResult<StatusCode> {
    let account = state.ledger.account(person.account).await?.ok_or_else(|| ApiError::no_such("account"))?;
    // Whoever is signed in to an account that nobody has a password of came with a one-time login.
    if account.has_password {
        let Some(current) = body.current_password else {
            return Err(ApiError::because(Code::Unprocessable, "say the current password, too"));
        };
        if !state.passwords().matches(current, Some(account.password_hash)).await? {
            return Err(ApiError::because(Code::BadCredentials, "the current password is wrong"));
        }
    }
    let hash = state.passwords().hash(body.new_password).await?;
    let deeds = Deeds::of(&state, &person.caller, &request);
    let row = deeds.row("account.password-set", account.name.as_str(), json!({}));
    let (by, now) = (person.caller.actor(), state.now());
    deeds
        .carry_out_if([row], async |ledger| ledger.set_password(&account.name, &hash, &by, now).await)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
