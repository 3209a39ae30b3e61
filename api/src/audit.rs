//! The audit trail's rows for what people and programs do over HTTP.
//!
//! A row is in the ledger before the caller is told that the deed is done. It says who,
//! what, when and from which request, and holds no identity of a patient.

use ledger::NewAudit;
use serde_json::{Value, json};

use crate::{auth::Caller, error::ApiResult, request_id::RequestId, state::AppState};

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
