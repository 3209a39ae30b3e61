//! How a version that was made comes into service, watching first.
//!
//! Its folder appears among the packages by one rename, whole and with the mark that it only watches; what is half
//! made lies in a folder that nobody reads packages from.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use inference::{Model, Package, Registry};
use ledger::{Retraining, RetrainingDecided, RetrainingId, RetrainingState};
use serde_json::{Value, json};

use crate::{audit::Deeds, auth::Caller, error::ApiResult, request_id::RequestId, state::AppState};

/// Below the folder of packages: one folder for each run that is under way.
const WORKSHOP: &str = ".retrain";
/// In a package that was made here.
const REPORT: &str = "retraining.json";

/// The folder of a run.
pub(super) fn workshop(models: &Path, id: RetrainingId) -> PathBuf {
    models.join(WORKSHOP).join(id.to_string())
}

/// Where the version will be served from.
pub(super) fn place(models: &Path, run: &Retraining) -> PathBuf {
    models.join(format!("{}@{}", run.model_id, run.new_version))
}

/// The report of a version that an earlier attempt of this very run brought into its place.
pub(super) fn installed(models: &Path, run: &Retraining) -> Option<Value> {
    let place = place(models, run);
    let mark = Package::shadow_mark(&place).ok().flatten()?;
    if mark.trim() != run.id.to_string() {
        return None;
    }
    serde_json::from_slice(&fs::read(place.join(REPORT)).ok()?).ok()
}

/// Does all that a reload does, and refuses what differs in more than it learnt.
///
/// # Errors
/// A sentence about the new version.
pub(super) fn check(registry: &Registry, out: &Path, base: &Package, version: &str) -> Result<Model, String> {
    no_links(out).map_err(|error| format!("the new version cannot be used: {error}"))?;
    let model = registry.check(out).map_err(|reason| format!("the new version cannot be used: {reason}"))?;
    let new = model.package();
    let differs = |what: &str| Err(format!("the new version has another {what} than it must have"));
    if new.id != base.id {
        return differs("id");
    }
    if new.version.to_string() != version {
        return differs("version");
    }
    if new.intended_use != base.intended_use {
        return differs("intended use");
    }
    if new.task.name() != base.task.name() {
        return differs("task");
    }
    if new.writes.policy != base.writes.policy {
        return differs("policy of writing");
    }
    if new.self_test.tolerance > base.self_test.tolerance {
        return Err("the self-test of the new version tolerates more than that of the old one".to_owned());
    }
    Ok(model)
}

/// A link could show another file tomorrow.
fn no_links(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            no_links(&entry.path())?;
        } else if !kind.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no plain file")));
        }
    }
    Ok(())
}

/// Brings the checked version in `out` into its place, on the disk, with its report and its mark.
pub(super) fn install(models: &Path, run: &Retraining, out: &Path, report: &Value) -> io::Result<()> {
    fs::write(out.join(REPORT), serde_json::to_vec_pretty(report)?)?;
    Package::mark_shadow(out, &run.id.to_string())?;
    flush(out)?;
    let place = place(models, run);
    if place.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the version is there already"));
    }
    fs::rename(out, place)?;
    File::open(models)?.sync_all()
}

fn flush(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            flush(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// What became of a promotion.
#[derive(Debug)]
pub(crate) enum Promotion {
    Decided(RetrainingDecided),
    /// It could not be put in service; it watches as before.
    Refused(String),
    NoSuch,
}

/// Lets a version that watched serve. The decision is in the ledger first; the mark goes then, and a process
/// that ends between the two does the rest when it starts again.
pub(crate) async fn promote(
    state: &AppState,
    caller: &Caller,
    request: &RequestId,
    id: RetrainingId,
    seen: u32,
) -> ApiResult<Promotion> {
    let decided = decide(state, caller, request, (id, seen), RetrainingState::Promoted).await?;
    let Some(RetrainingDecided::Done(run)) = decided else {
        return Ok(decided.map_or(Promotion::NoSuch, Promotion::Decided));
    };
    match carry_promotion_out(state, &run).await {
        Ok(()) => Ok(Promotion::Decided(RetrainingDecided::Done(run))),
        Err(reason) => {
            state.ledger.take_promotion_back(id, &reason, state.now()).await?;
            Ok(Promotion::Refused(reason))
        }
    }
}

/// Takes the mark of a promoted version away and puts it in service.
pub(super) async fn carry_promotion_out(state: &AppState, run: &Retraining) -> Result<(), String> {
    let (registry, run) = (state.registry.clone(), run.clone());
    let work = move || {
        let models = registry.dir().ok_or("this node runs no models")?.to_owned();
        let place = place(&models, &run);
        Package::unmark_shadow(&place).map_err(|error| format!("the mark cannot be taken away: {error}"))?;
        registry.reload().map_err(|error| error.to_string())?;
        let serves = registry.active().iter().any(|model| model.package().dir == place);
        if serves {
            return Ok(());
        }
        let refused = registry.refused().into_iter().find(|refused| refused.dir == place);
        let reason = refused.map_or_else(
            || "a higher version of the model is in service".to_owned(),
            |refused| refused.reason,
        );
        Package::mark_shadow(&place, &run.id.to_string()).map_err(|error| error.to_string())?;
        registry.reload().map_err(|error| error.to_string())?;
        Err(reason)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Takes a version that watched out of service, for good.
pub(crate) async fn discard(
    state: &AppState,
    caller: &Caller,
    request: &RequestId,
    id: RetrainingId,
    seen: u32,
) -> ApiResult<Option<RetrainingDecided>> {
    let decided = decide(state, caller, request, (id, seen), RetrainingState::Discarded).await?;
    if let Some(RetrainingDecided::Done(run)) = &decided
        && let Err(reason) = carry_discard_out(state, run).await
    {
        tracing::warn!(model.id = %run.model_id, reason, "a discarded version is still in its folder; it goes at the next start");
    }
    Ok(decided)
}

/// Deletes a discarded version, if its folder is still that of this run.
pub(super) async fn carry_discard_out(state: &AppState, run: &Retraining) -> Result<(), String> {
    let (registry, run) = (state.registry.clone(), run.clone());
    let work = move || {
        let models = registry.dir().ok_or("this node runs no models")?.to_owned();
        if installed(&models, &run).is_none() {
            return Ok(());
        }
        let aside = workshop(&models, run.id);
        remove(&aside).map_err(|error| error.to_string())?;
        let parent = aside.parent().unwrap_or(&models);
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        // Out of service by one rename; half a package is never where packages are read from.
        fs::rename(place(&models, &run), &aside).map_err(|error| error.to_string())?;
        registry.reload().map_err(|error| error.to_string())?;
        remove(&aside).map_err(|error| error.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn decide(
    state: &AppState,
    caller: &Caller,
    request: &RequestId,
    (id, seen): (RetrainingId, u32),
    to: RetrainingState,
) -> ApiResult<Option<RetrainingDecided>> {
    let Some(run) = state.ledger.retraining(id).await? else { return Ok(None) };
    let action = if to == RetrainingState::Promoted { "model.promote" } else { "model.discard" };
    let detail = json!({ "retraining": id, "version": run.new_version });
    let row = Deeds::of(state, caller, request).row(action, &run.model_id, detail);
    Ok(state.ledger.decide_retraining(id, seen, to, &row, &state.audit_key).await?)
}
