//! What a study waits for and why each model was or was not chosen, for people.

use std::collections::BTreeMap;

use imaging::{SeriesUid, StudyUid};
use inference::Package;
use ledger::{Ledger, Millis};
use serde::Serialize;

use crate::{
    picture::{self, StudyPicture},
    plan::Plan,
    readiness::{Patience, Verdict},
    routing::{ModelRoute, SiteRule},
};

/// Everything that the pipeline would say about a study now. No patient data but the values of conditions that did
/// not hold: a description, which somebody typed, or the age.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub study: StudyUid,
    pub revision: i64,
    /// Why no result of the study may leave until a person has decided.
    pub holds: Vec<HoldView>,
    pub series: Vec<SeriesView>,
    pub models: Vec<ModelRoute>,
}

/// A hold that is open.
#[derive(Debug, Clone, Serialize)]
pub struct HoldView {
    pub reason: String,
    pub raised_at: Millis,
}

/// One series with its evidence.
#[derive(Debug, Clone, Serialize)]
pub struct SeriesView {
    pub series: SeriesUid,
    pub modality: String,
    pub series_number: Option<i64>,
    pub instances: u32,
    pub stacks: Vec<StackView>,
    /// How many instances are no input, for each reason.
    pub left_out: BTreeMap<String, usize>,
    /// Nothing for a series that no model could look at.
    pub readiness: Option<Verdict>,
}

/// One stack of a series.
#[derive(Debug, Clone, Serialize)]
pub struct StackView {
    pub slices: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    pub missing_slices: usize,
}

impl Explanation {
    /// For those who may not see whose images these are: which condition did not hold, and not what it saw where
    /// that may name a patient.
    #[must_use]
    pub fn without_free_text(mut self) -> Self {
        for unchosen in self.models.iter_mut().flat_map(|model| &mut model.not_chosen) {
            unchosen.because.hide_what_was_typed();
        }
        self
    }
}

/// What a pipeline with these packages and rules would say about a study now; nothing when the
/// ledger does not know it. Nothing is changed.
///
/// # Errors
/// When the ledger does not answer.
pub async fn explain_study(
    ledger: &Ledger,
    study: &StudyUid,
    packages: &[Package],
    rules: &[SiteRule],
    patience: Patience,
) -> Result<Option<Explanation>, ledger::Error> {
    let Some(picture) = picture::of_study(ledger, study).await? else { return Ok(None) };
    let plan = Plan::of(&picture, packages, rules, patience, Millis::now());
    Ok(Some(explain(&picture, plan)))
}

pub(crate) fn explain(picture: &StudyPicture, mut plan: Plan) -> Explanation {
    let series = picture.series.iter().map(|series| {
        let stacks = series.stacks.stacks.iter().map(|stack| StackView {
            slices: series.slices(stack),
            split: stack.split.clone(),
            missing_slices: stack.holes.iter().map(|hole| hole.missing).sum(),
        });
        let mut left_out = BTreeMap::new();
        for one in &series.stacks.left_out {
            *left_out.entry(one.reason.to_string()).or_default() += 1;
        }
        SeriesView {
            series: series.row.series.clone(),
            modality: series.row.modality.clone(),
            series_number: series.row.series_number,
            instances: series.facts.instances,
            stacks: stacks.collect(),
            left_out,
            readiness: plan.verdicts.remove(&series.row.series),
        }
    });
    Explanation {
        study: picture.study.study.clone(),
        revision: picture.study.revision,
        holds: picture
            .holds
            .iter()
            .map(|hold| HoldView { reason: hold.reason.to_string(), raised_at: hold.raised_at })
            .collect(),
        series: series.collect(),
        models: plan.routes,
    }
}
