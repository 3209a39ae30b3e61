//! A question to a model, as the audit trail and the history tell of it.

use inference::Package;
use ledger::{CallId, ModelRef, NewAudit, NewPrediction, NewPredictions, Role};
use serde_json::{Value, json};

use crate::{auth::Caller, request_id::RequestId, state::AppState};

/// Who asks which model, in which request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping<'a> {
    pub(crate) state: &'a AppState,
    pub(crate) caller: &'a Caller,
    pub(crate) request: &'a RequestId,
    pub(crate) package: &'a Package,
    /// What the caller called it.
    pub(crate) model_name: &'a str,
    pub(crate) call: CallId,
}

impl Keeping<'_> {
    /// The call for the audit trail; the patient is in the rows, not here.
    pub(crate) fn audit(&self, detail: Value) -> NewAudit {
        let mut detail = detail;
        detail["call"] = json!(self.call);
        NewAudit {
            at: self.state.now(),
            actor: self.caller.actor(),
            action: "model.predict".to_owned(),
            subject: self.package.full_name(),
            request_id: Some(self.request.to_string()),
            detail,
        }
    }

    /// The rows of a patient for the history.
    pub(crate) fn rows(&self, patient_id: &str, rows: Vec<NewPrediction>) -> NewPredictions {
        NewPredictions {
            call: self.call,
            at: self.state.now(),
            model: ModelRef {
                id: self.package.id.to_string(),
                version: self.package.version.to_string(),
                digest: self.package.digest.clone(),
            },
            model_name: self.model_name.to_owned(),
            patient_id: patient_id.to_owned(),
            doctor: (self.caller.role == Role::Doctor).then(|| self.caller.account_name()).flatten(),
            actor: self.caller.actor(),
            request_id: Some(self.request.to_string()),
            rows,
        }
    }
}
