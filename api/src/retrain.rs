//! Trains models anew from reviewed cases, by their packages' own commands.
//!
//! What is asked for is a row of the ledger before anybody is told so; one runner at a time takes the oldest
//! ([`run_retrainings`]). The command gets reviewed cases without the people and an empty folder, and what it
//! leaves there becomes a version that watches only when it is whole, passes its self-test and changes nothing but
//! what it learnt. An administrator who has seen how it answers promotes it.
//!
//! A package is data, except for this command: it runs with the rights of this process, held back by limits of time,
//! memory and processors and by an environment that holds nothing, and only for models that the configuration names.

mod command;
mod compare;
mod install;
mod run;
mod split;

use std::path::PathBuf;

use inference::Package;
use ledger::{NewRetraining, RetrainingId};

use crate::{
    auth::Caller,
    error::{ApiError, ApiResult, Code},
    export::gather,
    request_id::RequestId,
    state::AppState,
};

pub(crate) use install::{Promotion, discard, promote};
pub use run::run_retrainings;

/// What this site allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetrainConfig {
    /// Models, by id, whose packages' commands may be run.
    pub allow: Vec<String>,
    /// Folders in which programs are looked for.
    pub path: Vec<PathBuf>,
}

/// Queues a run for the model that answers to `name`.
pub(crate) async fn ask(
    state: &AppState,
    caller: &Caller,
    request: &RequestId,
    name: &str,
) -> ApiResult<RetrainingId> {
    let model = state.registry.get(name).ok_or_else(|| ApiError::no_such("model"))?;
    let package = model.package();
    let refuse = |detail: String| ApiError::because(Code::Conflict, detail);
    let Some(retrain) = &package.retrain else {
        return Err(refuse(format!("the package of {} names no command that trains it", package.id)));
    };
    if !state.retrain.allow.iter().any(|allowed| allowed == package.id.as_str()) {
        return Err(refuse(format!("retrain.allow of the configuration does not name {}", package.id)));
    }
    let filter = ledger::FeedbackFilter { model_id: Some(package.id.to_string()), ..Default::default() };
    let reviewed = gather(state, package.id.as_str(), &filter).await?;
    let cases = split::usable(&reviewed);
    if cases < retrain.cases_min {
        return Err(refuse(format!(
            "there are {cases} reviewed cases of {}, its package asks for {}",
            package.id, retrain.cases_min
        )));
    }
    let new = NewRetraining {
        model_id: package.id.to_string(),
        base_version: package.version.to_string(),
        new_version: next_version(state, package),
        actor: caller.actor(),
        request_id: Some(request.to_string()),
    };
    let added = state.ledger.add_retraining(&new, &state.audit_key, state.now()).await?;
    added.ok_or_else(|| refuse(format!("{} is being trained already", package.id)))
}

/// The first version above all that are there.
fn next_version(state: &AppState, package: &Package) -> String {
    let known = state.registry.active().into_iter().chain(state.registry.shadows());
    let versions =
        known.filter(|model| model.package().id == package.id).map(|model| model.package().version);
    let mut next = versions.max().unwrap_or(package.version).next_patch();
    let taken = |version: &inference::Version| {
        state.registry.dir().is_some_and(|dir| dir.join(format!("{}@{version}", package.id)).exists())
    };
    while taken(&next) {
        next = next.next_patch();
    }
    next.to_string()
}
