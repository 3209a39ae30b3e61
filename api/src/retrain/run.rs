//! The runner: one retraining after the other, each of which ends as a version that watches or with its reason.
//!
//! Killed anywhere, the next start ends what the command left running, throws away what it had half made and begins
//! again; or, when the version was already in its place, only writes down that it is.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use inference::{
    Model,
    package::{Retrain, RetrainPlaces},
};
use ledger::{FeedbackFilter, Retraining, RetrainingState, Topic};
use serde_json::{Value, json};

use super::{command, compare, install, split};
use crate::{
    export::{self, GatherError, Reviewed, gather},
    state::AppState,
};

/// How often a run begins that its process did not survive.
const ATTEMPTS_MAX: u32 = 3;
const LEASE: Duration = Duration::from_secs(120);
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// The net under lost wake-ups, and under nodes that died.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why a run is not finished.
enum Stop {
    /// For good; a sentence without anything of a patient, and what the command printed last.
    Failed(String, String),
    /// The ledger did not answer: whoever claims it next begins again.
    Later(ledger::Error),
}

impl Stop {
    fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into(), String::new())
    }
}

impl From<ledger::Error> for Stop {
    fn from(error: ledger::Error) -> Self {
        Self::Later(error)
    }
}

impl From<GatherError> for Stop {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Ledger(error) => Self::Later(error),
            GatherError::TooMany => Self::failed(error.to_string()),
        }
    }
}

/// Works on retrainings until the service stops.
pub async fn run_retrainings(state: AppState) {
    let mut changes = state.ledger.changed(Topic::Events);
    let mut begun = false;
    while !state.shutdown.is_cancelled() {
        let round = async {
            if !begun {
                after_a_start(&state).await?;
            }
            one(&state).await
        };
        match round.await {
            Ok(worked) => {
                begun = true;
                if worked {
                    continue;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "retrainings stand still, trying again: the ledger did not answer");
            }
        }
        tokio::select! {
            () = state.shutdown.cancelled() => {}
            () = changes.next() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Finishes what a process that was killed had decided and not done.
async fn after_a_start(state: &AppState) -> Result<(), ledger::Error> {
    state.ledger.take_back_retrainings(&state.node, &state.boot, state.now()).await?;
    let Some(models) = state.registry.dir() else { return Ok(()) };
    for run in state.ledger.retrainings_in(RetrainingState::Promoted).await? {
        if install::installed(models, &run).is_none() {
            continue;
        }
        if let Err(reason) = install::carry_promotion_out(state, &run).await {
            state.ledger.take_promotion_back(run.id, &reason, state.now()).await?;
        }
    }
    for run in state.ledger.retrainings_in(RetrainingState::Discarded).await? {
        if let Err(reason) = install::carry_discard_out(state, &run).await {
            tracing::warn!(model.id = %run.model_id, reason, "a discarded version is still in its folder");
        }
    }
    Ok(())
}

/// Takes the oldest run, if there is one.
async fn one(state: &AppState) -> Result<bool, ledger::Error> {
    let until = state.now().plus(LEASE);
    let Some(run) = state.ledger.claim_retraining(&state.node, &state.boot, until, state.now()).await? else {
        return Ok(false);
    };
    tracing::info!(model.id = %run.model_id, retraining = %run.id, "training {} anew", run.model_id);
    let outcome = tokio::select! {
        biased;
        () = state.shutdown.cancelled() => {
            state.ledger.give_back_retraining(run.id, &state.boot, state.now()).await?;
            return Ok(true);
        }
        outcome = work(state, &run) => outcome,
        () = lease_lost(state, &run) => return Ok(true),
    };
    let (report, failure) = match outcome {
        Ok(report) => (report, None),
        Err(Stop::Failed(reason, output)) => (json!({ "output": output }), Some(reason)),
        Err(Stop::Later(error)) => return Err(error),
    };
    let outcome = ledger::RetrainingOutcome { report: &report, failure: failure.as_deref() };
    state.ledger.finish_retraining(run.id, &state.boot, &outcome, state.now()).await?;
    match &failure {
        Some(reason) => {
            tracing::warn!(model.id = %run.model_id, retraining = %run.id, reason, "a retraining failed");
        }
        None => {
            let version = run.new_version.as_str();
            tracing::info!(model.id = %run.model_id, version, "a new version of {} watches", run.model_id);
        }
    }
    if let Some(models) = state.registry.dir() {
        // What is left over is deleted before the next attempt at the latest.
        install::remove(&install::workshop(models, run.id)).ok();
    }
    Ok(true)
}

/// Keeps the lease; comes back when it is somebody else's.
async fn lease_lost(state: &AppState, run: &Retraining) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match state.ledger.renew_retraining(run.id, &state.boot, state.now().plus(LEASE)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the lease of a retraining could not be renewed, trying again");
            }
        }
    }
}

/// The whole run; gives the report of the version that watches now.
async fn work(state: &AppState, run: &Retraining) -> Result<Value, Stop> {
    if run.attempts > ATTEMPTS_MAX {
        return Err(Stop::failed(format!("the service ended {ATTEMPTS_MAX} times while it ran")));
    }
    let models = state.registry.dir().ok_or_else(|| Stop::failed("this node runs no models"))?;
    let report = match install::installed(models, run) {
        Some(report) => report,
        None => make(state, run, models).await?,
    };
    serve(state, run, models).await?;
    Ok(report)
}

async fn make(state: &AppState, run: &Retraining, models: &Path) -> Result<Value, Stop> {
    let name = format!("{}@{}", run.model_id, run.base_version);
    let base = state.registry.get(&name).ok_or_else(|| Stop::failed(format!("{name} is not in service")))?;
    let retrain = base.package().retrain.clone();
    let retrain = retrain.filter(|_| state.retrain.allow.contains(&run.model_id));
    let retrain = retrain.ok_or_else(|| Stop::failed(format!("{name} may not be trained anew any more")))?;
    let filter = FeedbackFilter { model_id: Some(run.model_id.clone()), ..FeedbackFilter::default() };
    let reviewed = Arc::new(gather(state, &run.model_id, &filter).await?);
    let folder = install::workshop(models, run.id);
    prepare(state, &reviewed, &folder).await?;
    let out = folder.join(format!("{}@{}", run.model_id, run.new_version));
    let output = train(state, run, &base, &retrain, models, &out).await?;
    finish(state, run, base, reviewed, &out, output).await
}

/// An empty folder with the cases in it.
async fn prepare(state: &AppState, reviewed: &Arc<Reviewed>, folder: &Path) -> Result<(), Stop> {
    let (reviewed, pseudonyms, folder) = (Arc::clone(reviewed), state.pseudonyms.clone(), folder.to_owned());
    blocking(move || {
        command::end_orphan(&folder);
        let cannot = |error: std::io::Error| format!("models.dir cannot be written to: {error}");
        install::remove(&folder).map_err(cannot)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(cannot)?;
        let part = split::training_part(&reviewed, &pseudonyms);
        let cases = folder.join("cases");
        fs::create_dir(&cases).map_err(cannot)?;
        export::unpacked(&part, &pseudonyms, &cases).map_err(|error| error.to_string())
    })
    .await
}

/// Runs the command; gives what it printed last.
async fn train(
    state: &AppState,
    run: &Retraining,
    base: &Model,
    retrain: &Retrain,
    models: &Path,
    out: &Path,
) -> Result<String, Stop> {
    let failed = |error: std::io::Error| Stop::failed(format!("the command cannot be run: {error}"));
    fs::create_dir(out).map_err(failed)?;
    let folder = out.parent().unwrap_or(models);
    let absolute = |path: &Path| std::path::absolute(path).map_err(failed);
    let [package, models, cases, out] =
        [&base.package().dir, models, &folder.join("cases"), out].map(absolute);
    let (package, models, cases, out) = (package?, models?, cases?, out?);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let words = retrain.words(&RetrainPlaces {
        package: &text(&package),
        models: &text(&models),
        cases: &text(&cases),
        out: &text(&out),
        version: &run.new_version,
    });
    let order = command::Order { words, limits: retrain, path: &state.retrain.path, folder };
    let ended = command::run(&order).await.map_err(failed)?;
    match ended.failure {
        Some(reason) => Err(Stop::Failed(reason, ended.output)),
        None => Ok(ended.output),
    }
}

/// Checks what came out, holds it against the old version, and brings it into its place.
async fn finish(
    state: &AppState,
    run: &Retraining,
    base: Arc<Model>,
    reviewed: Arc<Reviewed>,
    out: &Path,
    output: String,
) -> Result<Value, Stop> {
    let (registry, pseudonyms) = (Arc::clone(&state.registry), state.pseudonyms.clone());
    let (run, out, shutdown) = (run.clone(), out.to_owned(), state.shutdown.clone());
    blocking(move || {
        let new = install::check(&registry, &out, base.package(), &run.new_version)?;
        let compared = compare::compare(&reviewed, &pseudonyms, &base, &new, &|| shutdown.is_cancelled());
        if shutdown.is_cancelled() {
            return Err("the service stopped".to_owned());
        }
        drop(new);
        let report = json!({ "comparison": compared, "output": output });
        let models = registry.dir().ok_or("this node runs no models")?;
        install::install(models, &run, &out, &report)
            .map_err(|error| format!("the new version cannot be put among the packages: {error}"))?;
        Ok(report)
    })
    .await
}

/// Puts the version in service, as one that watches.
async fn serve(state: &AppState, run: &Retraining, models: &Path) -> Result<(), Stop> {
    let (registry, place) = (Arc::clone(&state.registry), install::place(models, run));
    blocking(move || {
        registry.reload().map_err(|error| error.to_string())?;
        if registry.shadows().iter().any(|model| model.package().dir == place) {
            return Ok(());
        }
        let refused = registry.refused().into_iter().find(|refused| refused.dir == place);
        let reason =
            refused.map_or_else(|| "it is not among the models".to_owned(), |refused| refused.reason);
        install::remove(&place).map_err(|error| error.to_string())?;
        Err(format!("the new version cannot be put in service: {reason}"))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Stop::failed),
        Err(error) => Err(Stop::failed(format!("a thread ended early: {error}"))),
    }
}
