//! Whether studies can be taken, analysed and written back: `/ready`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::state::AppState;

/// A line that takes longer counts as failed.
const PATIENCE: Duration = Duration::from_secs(3);
/// So long the last answer of the destinations stands.
const STILL_GOOD: Duration = Duration::from_secs(10);

/// The service, line by line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    lines: Vec<Line>,
}

/// One thing that must work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    /// `database`, `spool`, `models`, or `destination:` or `source:` and its name.
    name: String,
    ok: bool,
    /// What is wrong, or what was found.
    reason: String,
}

impl Line {
    fn of(name: impl Into<String>, found: Result<String, String>) -> Self {
        let (ok, reason) = match found {
            Ok(found) => (true, found),
            Err(wrong) => (false, wrong),
        };
        Self { name: name.into(), ok, reason }
    }

    fn withhold(&mut self) {
        "does not work; sign in to see why".clone_into(&mut self.reason);
    }
}

/// How much of a reason is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// To whoever is on this machine or signed in.
    Full,
    /// To strangers: which line, not which address does not answer.
    Bare,
}

pub(crate) async fn readiness(state: &AppState, detail: Detail) -> Readiness {
    let (database, spool, destinations) = tokio::join!(
        in_time(database(state)),
        in_time(spool(state)),
        in_time(state.destination_checks().recent(state)),
    );
    let mut lines =
        vec![Line::of("database", database), Line::of("spool", spool), Line::of("models", models(state))];
    lines.extend(destination_lines(destinations));
    lines.extend(source_lines(state));
    if detail == Detail::Bare {
        lines.iter_mut().filter(|line| !line.ok).for_each(Line::withhold);
    }
    Readiness { ready: lines.iter().all(|line| line.ok), lines }
}

async fn in_time<T>(check: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, check).await {
        Ok(found) => found,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn database(state: &AppState) -> Result<String, String> {
    match state.ledger.ping().await {
        Ok(()) => Ok("answers".to_owned()),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "not ready: the database does not answer");
            Err("does not answer; see the log".to_owned())
        }
    }
}

async fn spool(state: &AppState) -> Result<String, String> {
    let (spool, root) = (state.spool.clone(), state.spool_root.clone());
    let found = tokio::task::spawn_blocking(move || {
        spool.check_space().map_err(|error| error.to_string())?;
        rustix::fs::access(&root, rustix::fs::Access::WRITE_OK).map_err(|_| "cannot be written".to_owned())
    });
    match found.await {
        Ok(found) => found.map(|()| "can be written and has room".to_owned()),
        Err(_) => Err("cannot be looked at".to_owned()),
    }
}

fn models(state: &AppState) -> Result<String, String> {
    match state.registry.active().len() {
        0 => Err("no model is in service; `overread model list` says why".to_owned()),
        count => Ok(format!("{count} in service")),
    }
}

fn destination_lines(checked: Result<Checked, String>) -> Vec<Line> {
    match checked {
        Err(wrong) => vec![Line::of("destinations", Err(wrong))],
        Ok(checked) => checked
            .into_iter()
            .map(|(name, found)| {
                Line::of(format!("destination:{name}"), found.map(|()| "answers".to_owned()))
            })
            .collect(),
    }
}

fn source_lines(state: &AppState) -> impl Iterator<Item = Line> {
    state.bridge.status().into_iter().map(|(name, status)| {
        let found = match (status.failure, status.reached_at) {
            (Some(failure), _) => Err(failure),
            (None, Some(_)) => Ok("answers".to_owned()),
            (None, None) => Ok("not asked yet".to_owned()),
        };
        Line::of(format!("source:{name}"), found)
    })
}

type Checked = BTreeMap<String, Result<(), String>>;

/// What the destinations last answered: probes come often, and each asks all of them.
#[derive(Debug, Default)]
pub(crate) struct DestinationChecks(Mutex<Option<(Instant, Checked)>>);

impl DestinationChecks {
    async fn recent(&self, state: &AppState) -> Result<Checked, String> {
        let mut last = self.0.lock().await;
        if let Some((at, checked)) = last.as_ref()
            && at.elapsed() < STILL_GOOD
        {
            return Ok(checked.clone());
        }
        let checked = state.pipeline.check_destinations().await;
        *last = Some((Instant::now(), checked.clone()));
        Ok(checked)
    }
}
