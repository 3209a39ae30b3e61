//! Whether what models are asked and what they answer is still what it was: for each version, its first weeks
//! against the last days.
//!
//! Each number that a row holds and each number that an answer holds is one distribution. The first
//! `drift.reference_days` of a version are what it is compared with, the last `drift.window_days` are what is
//! compared; the population stability index says how far they are apart, and the Kolmogorov–Smirnov statistic beside it.

mod apart;
mod values;

use std::{collections::BTreeMap, time::Duration};

use ledger::{AnsweringVersion, Millis, NewEvent, Span};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{state::AppState, view::timestamp};

use values::{Side, Values};

/// So many answers stand for a time in which there were more; the newest.
const ANSWERS_MAX: u32 = 20_000;
/// How often it is looked after by itself.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// What counts as drift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftConfig {
    /// The first days of a version, which it is compared with.
    pub reference_days: u32,
    /// The last days.
    pub window_days: u32,
    /// More than this is told.
    pub psi_max: f64,
    /// With fewer answers on either side nothing is said.
    pub answers_min: u32,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { reference_days: 28, window_days: 7, psi_max: 0.25, answers_min: 100 }
    }
}

/// What a version was asked and answered lately, beside its first weeks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriftView {
    model_id: String,
    model_version: String,
    /// The first answers: from then on,
    reference_from: String,
    /// until then. Nothing is compared before the version is older than that.
    reference_to: String,
    recent_from: String,
    reference_answers: usize,
    recent_answers: usize,
    values: Vec<ValueDrift>,
}

/// One number that is asked or answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValueDrift {
    #[schema(value_type = String)]
    side: Side,
    /// The feature; `probability`; the class; or the segment, whose volume it is.
    name: String,
    /// Population stability index over ten parts of the reference and one for what is missing: below 0.1 is
    /// usual, above 0.25 is another population.
    psi: f64,
    /// The largest distance of the two cumulative distributions, of what is not missing.
    ks: f64,
    /// The limit was passed.
    over: bool,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All versions that have answered within the window; of one model when it is named.
pub(crate) async fn drifts(state: &AppState, model: Option<&str>) -> Result<Vec<DriftView>, ledger::Error> {
    let rule = state.http.drift;
    let recent = state.now().minus(DAY * rule.window_days);
    let mut views = Vec::new();
    for version in state.ledger.answering_versions(recent).await? {
        if model.is_none_or(|model| model == version.model_id) {
            views.extend(drift(state, &version, rule, recent).await?);
        }
    }
    Ok(views)
}

/// Nothing while the version is not older than its reference, or has answered too little.
async fn drift(
    state: &AppState,
    version: &AnsweringVersion,
    rule: DriftConfig,
    recent: Millis,
) -> Result<Option<DriftView>, ledger::Error> {
    let reference_to = version.first_at.plus(DAY * rule.reference_days);
    if recent < reference_to {
        return Ok(None);
    }
    let span = |from: Millis, before: Millis| Span { from, before, limit: ANSWERS_MAX };
    let before = state.ledger.answers_of(version, span(version.first_at, reference_to)).await?;
    let after = state.ledger.answers_of(version, span(recent, Millis(i64::MAX))).await?;
    let fewest = before.len().min(after.len());
    if fewest < usize::try_from(rule.answers_min).unwrap_or(usize::MAX) {
        return Ok(None);
    }
    let view = |values: Vec<ValueDrift>| DriftView {
        model_id: version.model_id.clone(),
        model_version: version.model_version.clone(),
        reference_from: timestamp(version.first_at),
        reference_to: timestamp(reference_to),
        recent_from: timestamp(recent),
        reference_answers: before.len(),
        recent_answers: after.len(),
        values,
    };
    let compared = compared(&Values::of(&before), &Values::of(&after), rule.psi_max);
    Ok(Some(view(compared)))
}

fn compared(before: &Values, after: &Values, psi_max: f64) -> Vec<ValueDrift> {
    let keys: BTreeMap<&(Side, String), ()> =
        before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    let value = |key: &(Side, String)| {
        let (before, after) = (before.of_key(key), after.of_key(key));
        let (psi, ks) = (apart::psi(&before, &after), apart::ks(&before, &after));
        ValueDrift { side: key.0, name: key.1.clone(), psi, ks, over: psi > psi_max }
    };
    keys.into_keys().map(value).collect()
}

/// Looks after drift until the service stops: the gauge `overread_drift_psi`, and an event `model.drift` when a
/// number goes over the limit.
pub async fn watch_drift(state: AppState) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if let Err(error) = state.look_after_drift().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "drift is not looked after: the ledger did not answer");
        }
    }
}

impl AppState {
    /// One round of [`watch_drift`].
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn look_after_drift(&self) -> Result<(), ledger::Error> {
        look(self).await
    }
}

async fn look(state: &AppState) -> Result<(), ledger::Error> {
    for view in drifts(state, None).await? {
        for value in &view.values {
            tell(state, &view, value).await?;
        }
        for side in [Side::Input, Side::Output] {
            let of_side = view.values.iter().filter(|value| value.side == side).map(|value| value.psi);
            let labels = [
                ("model", view.model_id.clone()),
                ("version", view.model_version.clone()),
                ("side", side.as_str().to_owned()),
            ];
            metrics::gauge!("overread_drift_psi", &labels).set(of_side.fold(0.0, f64::max));
        }
    }
    Ok(())
}

/// An event when a number goes over the limit, and none while it stays there.
async fn tell(state: &AppState, view: &DriftView, value: &ValueDrift) -> Result<(), ledger::Error> {
    let name =
        format!("drift/{}@{}/{}/{}", view.model_id, view.model_version, value.side.as_str(), value.name);
    let was_over = state.ledger.cursor(&name).await?.is_some_and(|cursor| cursor.value == "over");
    if was_over == value.over {
        return Ok(());
    }
    if value.over {
        let detail = json!({
            "model": view.model_id, "version": view.model_version, "side": value.side, "value": value.name,
            "psi": value.psi, "ks": value.ks,
            "reason": format!("{} of {} {} is not what it was (PSI {:.2})", value.name, view.model_id, view.model_version, value.psi),
        });
        state.ledger.add_event(NewEvent::new("model.drift", state.now()).detail(detail)).await?;
    }
    state.ledger.set_cursor(&name, if value.over { "over" } else { "within" }, state.now()).await
}
