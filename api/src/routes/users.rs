//! Accounts of people; for administrators.

use axum::{extract::State, http::StatusCode};
use ledger::{Account, AccountChange, NewAccount, NewAudit, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::Deeds,
    auth::{Admin, Password},
    error::{ApiError, ApiResult, Code},
    extract::{Json, Path},
    request_id::RequestId,
    state::AppState,
    view::timestamp,
};

const NAME_LENGTH_MAX: usize = 64;
const TEXT_LENGTH_MAX: usize = 256;

/// One account. What it signs in with is never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserView {
    /// What the person signs in as; it also names the account in addresses.
    name: String,
    /// `admin`, `doctor`, `technician`, `service` or `worker`.
    #[schema(value_type = String)]
    role: Role,
    /// As a verifying observer is named in a report.
    full_name: String,
    organization: String,
    created_at: String,
    disabled: bool,
    /// Until when wrong passwords keep the account closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
}

impl From<Account> for UserView {
    fn from(account: Account) -> Self {
        Self {
            name: account.name,
            role: account.role,
            full_name: account.full_name,
            organization: account.organization,
            created_at: timestamp(account.created_at),
            disabled: account.disabled_at.is_some(),
            locked_until: account.locked_until.map(timestamp),
        }
    }
}

/// An account to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Up to 64 letters, digits, `-`, `_`, `.` and `@`.
    name: String,
    #[schema(value_type = String)]
    role: Role,
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    organization: String,
    /// 12 characters or more.
    password: Password,
}

/// What to change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChange {
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// Also unlocks the account and ends its sign-ins.
    password: Option<Password>,
    /// `true` closes the account and ends its sign-ins; `false` opens and unlocks it.
    disabled: Option<bool>,
}

fn check_name(name: &str) -> ApiResult<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.bytes().all(plain) {
        return Err(ApiError::because(
            Code::Unprocessable,
            format!("a name has 1 to {NAME_LENGTH_MAX} letters, digits, '-', '_', '.' and '@'"),
        ));
    }
    Ok(())
}

fn check_text(text: &str) -> ApiResult<()> {
    if text.len() > TEXT_LENGTH_MAX || text.chars().any(char::is_control) {
        let detail = format!("a text has at most {TEXT_LENGTH_MAX} bytes and no control characters");
        return Err(ApiError::because(Code::Unprocessable, detail));
    }
    Ok(())
}

/// All accounts, by name.
#[utoipa::path(get, path = "/v1/users", tag = "people", operation_id = "list_users",
    responses((status = 200, body = Vec<UserView>)))]
pub(crate) async fn list(State(state): State<AppState>, _admin: Admin) -> ApiResult<Json<Vec<UserView>>> {
    Ok(Json(state.ledger.accounts().await?.into_iter().map(UserView::from).collect()))
}

/// Adds an account.
#[utoipa::path(post, path = "/v1/users", tag = "people", operation_id = "add_user", request_body = NewUser,
    responses((status = 201, body = UserView), (status = 409, description = "The name is taken"),
              (status = 422, description = "The name or the password cannot be used")))]
pub(crate) async fn add(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Json(new): Json<NewUser>,
) -> ApiResult<(StatusCode, Json<UserView>)> {
    check_name(&new.name)?;
    check_text(&new.full_name)?;
    check_text(&new.organization)?;
    let account = NewAccount {
        password_hash: state.passwords().hash(new.password).await?,
        name: new.name,
        role: new.role,
        full_name: new.full_name,
        organization: new.organization,
    };
    let deeds = Deeds::of(&state, &admin, &request);
    let row = deeds.row("user.add", account.name.as_str(), json!({ "role": account.role }));
    let (by, now) = (admin.actor(), state.now());
    deeds.carry_out([row], async |ledger| ledger.add_account(&account, &by, now).await).await?;
    Ok((StatusCode::CREATED, view(&state, &account.name).await?))
}

/// One account.
#[utoipa::path(get, path = "/v1/users/{name}", tag = "people", operation_id = "get_user",
    params(("name" = String, Path)), responses((status = 200, body = UserView)))]
pub(crate) async fn get(
    State(state): State<AppState>,
    _admin: Admin,
    Path(name): Path<String>,
) -> ApiResult<Json<UserView>> {
    view(&state, &name).await
}

/// Changes role or password of an account, closes or opens it.
#[utoipa::path(patch, path = "/v1/users/{name}", tag = "people", operation_id = "change_user",
    params(("name" = String, Path)), request_body = UserChange,
    responses((status = 200, body = UserView),
              (status = 409, description = "An administrator cannot shut himself out")))]
pub(crate) async fn change(
    State(state): State<AppState>,
    admin: Admin,
    request: RequestId,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> ApiResult<Json<UserView>> {
    view(&state, &name).await?;
    let shuts_out = change.disabled == Some(true) || change.role.is_some_and(|role| role != Role::Admin);
    if shuts_out && admin.is_account(&name) {
        return Err(ApiError::because(Code::Conflict, "another administrator has to do this to you"));
    }
    // All that may be refused comes first: a change is carried out as a whole.
    let password_hash = match change.password {
        Some(password) => Some(state.passwords().hash(password).await?),
        None => None,
    };
    let change = AccountChange { role: change.role, password_hash, disabled: change.disabled };
    let deeds = Deeds::of(&state, &admin, &request);
    let rows = rows_of(&change, &name, &deeds);
    if !rows.is_empty() {
        let (by, now) = (admin.actor(), state.now());
        deeds
            .carry_out_if(rows, async |ledger| ledger.change_account(&name, &change, &by, now).await)
            .await?;
    }
    view(&state, &name).await
}

fn rows_of(change: &AccountChange, name: &str, deeds: &Deeds<'_>) -> Vec<NewAudit> {
    let role = change.role.map(|role| ("user.role", json!({ "role": role })));
    let password = change.password_hash.as_ref().map(|_| ("user.password", json!({})));
    let disabled = change.disabled.map(|disabled| match disabled {
        true => ("user.disable", json!({})),
        false => ("user.enable", json!({})),
    });
    let all = [role, password, disabled].into_iter().flatten();
    all.map(|(action, detail)| deeds.row(action, name, detail)).collect()
}

async fn view(state: &AppState, name: &str) -> ApiResult<Json<UserView>> {
    let account = state.ledger.account_by_name(name).await?.ok_or_else(|| ApiError::no_such("account"))?;
    Ok(Json(account.into()))
}
