//! The audit trail, for administrators: who saw or did what.

use axum::extract::State;
use ledger::{AuditFilter, AuditRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    auth::Admin,
    day::{day_after, midnight},
    error::ApiResult,
    extract::{Json, Query},
    page::{Page, PageQuery},
    state::AppState,
    view::timestamp,
};

/// Which rows are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Who, such as `account:kim` or `key:gateway`.
    actor: Option<String>,
    /// What, such as `result.accept`; with a dot at the end a whole family, such as `auth.`
    action: Option<String>,
    /// To what, such as a Study Instance UID.
    subject: Option<String>,
    /// On this day (UTC, `YYYY-MM-DD`) or later.
    from: Option<String>,
    /// On this day or earlier.
    to: Option<String>,
}

/// One row of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditView {
    seq: i64,
    at: String,
    actor: String,
    action: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    detail: Value,
    /// Over this row and the MAC before it; `overread audit verify` checks them.
    mac: String,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            at: timestamp(row.at),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            request_id: row.request_id,
            detail: row.detail,
            mac: row.mac,
        }
    }
}

/// The audit trail, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "list_audit",
    params(AuditQuery, PageQuery), responses((status = 200, body = Page<AuditView>)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _admin: Admin,
    Query(query): Query<AuditQuery>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Json<Page<AuditView>>> {
    let filter = AuditFilter {
        actor: query.actor,
        action: query.action,
        subject: query.subject,
        from: query.from.as_deref().map(midnight).transpose()?,
        before: query.to.as_deref().map(day_after).transpose()?,
    };
    let rows = state.ledger.audit(&filter, &page.request()?).await?;
    Ok(Json(Page::of(rows, AuditView::from)))
}
