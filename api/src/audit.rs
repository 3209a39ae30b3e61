//! The audit trail's rows for what people and programs do over HTTP.
//!
//! A row is in the ledger before the caller is told that the deed is done. It says who,
//! what, when and from which request, and holds no identity of a patient.

use ledger::{Ledger, NewAudit, Noted};
use serde_json::{Value, json};

use crate::{
    auth::Caller,
    error::{ApiError, ApiResult},
    request_id::RequestId,
    state::AppState,
};

/// Who does something in which request.
#[derive(Debug)]
pub(crate) struct Deeds<'a> {
    state: &'a AppState,
    actor: String,
    request: &'a RequestId,
}

impl<'a> Deeds<'a> {
    pub(crate) fn of(state: &'a AppState, caller: &Caller, request: &'a RequestId) -> Self {
        Self { state, actor: caller.actor(), request }
    }

    /// Of somebody who signs in and has no other name yet than the one that he gave.
    pub(crate) fn of_stranger(state: &'a AppState, account: &str, request: &'a RequestId) -> Self {
        Self { state, actor: format!("account:{account}"), request }
    }

    pub(crate) async fn note(&self, action: &str, subject: impl Into<String>) -> ApiResult<()> {
        self.note_with(action, subject, json!({})).await
    }

    pub(crate) async fn note_with(
        &self,
        action: &str,
        subject: impl Into<String>,
        detail: Value,
    ) -> ApiResult<()> {
        let row = self.row(action, subject, detail);
        self.state.ledger.add_audit(&self.state.audit_key, &row).await?;
        Ok(())
    }

    /// Carries out a deed whose one transaction ends with `rows`: neither is there without the other. A row without
    /// a subject is about what the deed makes.
    pub(crate) async fn carry_out<T, E>(
        &self,
        rows: impl Into<Vec<NewAudit>>,
        deed: impl AsyncFnOnce(Ledger) -> Result<T, E>,
    ) -> ApiResult<T>
    where
        E: From<ledger::Error>,
        ApiError: From<E>,
    {
        let noted = self.try_to(rows, deed).await?;
        if noted.left.is_empty() { Ok(noted.outcome) } else { Err(unnoted()) }
    }

    /// The same for a deed that says whether it was done; one that was not is not noted.
    pub(crate) async fn carry_out_if(
        &self,
        rows: impl Into<Vec<NewAudit>>,
        deed: impl AsyncFnOnce(Ledger) -> Result<bool, ledger::Error>,
    ) -> ApiResult<bool> {
        let noted = self.try_to(rows, deed).await?;
        if noted.outcome == noted.left.is_empty() { Ok(noted.outcome) } else { Err(unnoted()) }
    }

    /// The same for a deed that may find that all is done already; its rows are left then.
    pub(crate) async fn try_to<T, E>(
        &self,
        rows: impl Into<Vec<NewAudit>>,
        deed: impl AsyncFnOnce(Ledger) -> Result<T, E>,
    ) -> ApiResult<Noted<T>>
    where
        E: From<ledger::Error>,
        ApiError: From<E>,
    {
        Ok(self.state.ledger.noted(&self.state.audit_key, rows.into(), deed).await?)
    }

    /// The row of a deed that the ledger carries out together with it.
    pub(crate) fn row(&self, action: &str, subject: impl Into<String>, detail: Value) -> NewAudit {
        NewAudit {
            at: self.state.now(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject: subject.into(),
            request_id: Some(self.request.to_string()),
            detail,
        }
    }
}

fn unnoted() -> ApiError {
    ApiError::internal("what was done and what was noted are not the same")
}
