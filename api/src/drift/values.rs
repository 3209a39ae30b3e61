//! The numbers in what was asked and answered, by name.

use std::collections::{BTreeMap, BTreeSet};

use ledger::Answered;
use serde::Serialize;
use serde_json::Value;

/// Whether a number was asked or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Input,
    Output,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// For each number its values, one for each answer: NaN where it is missing.
#[derive(Debug, Default)]
pub(super) struct Values {
    by_name: BTreeMap<(Side, String), Vec<f64>>,
    answers: usize,
}

impl Values {
    pub(super) fn of(answers: &[Answered]) -> Self {
        let each: Vec<BTreeMap<(Side, String), f64>> = answers.iter().map(numbers).collect();
        let names: BTreeSet<&(Side, String)> = each.iter().flat_map(BTreeMap::keys).collect();
        let column = |name: &(Side, String)| {
            each.iter().map(|numbers| numbers.get(name).copied().unwrap_or(f64::NAN)).collect()
        };
        let by_name = names.into_iter().map(|name| (name.clone(), column(name))).collect();
        Self { by_name, answers: answers.len() }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &(Side, String)> {
        self.by_name.keys()
    }

    /// The values of a number; one that nobody asked or answered was missing each time.
    pub(super) fn of_key(&self, key: &(Side, String)) -> Vec<f64> {
        self.by_name.get(key).cloned().unwrap_or_else(|| vec![f64::NAN; self.answers])
    }
}

fn numbers(answered: &Answered) -> BTreeMap<(Side, String), f64> {
    match answered {
        Answered::Row { input, answer } => {
            let asked = input.as_object().into_iter().flatten();
            let asked = asked.map(|(name, value)| ((Side::Input, name.clone()), number(value)));
            let probability = ((Side::Output, "probability".to_owned()), number(&answer["probability"]));
            asked.chain([probability]).collect()
        }
        Answered::Findings(findings) => classes(findings).chain(segments(findings)).collect(),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn classes(findings: &Value) -> impl Iterator<Item = ((Side, String), f64)> + '_ {
    let all = findings["classes"].as_array().into_iter().flatten();
    all.filter_map(|class| {
        Some(((Side::Output, class["name"].as_str()?.to_owned()), number(&class["probability"])))
    })
}

/// What was not found has no volume.
fn segments(findings: &Value) -> impl Iterator<Item = ((Side, String), f64)> + '_ {
    let all = findings["segments"].as_array().into_iter().flatten();
    all.filter_map(|segment| {
        let volume = segment["measures"]["volume_ml"].as_f64().unwrap_or(0.0);
        Some(((Side::Output, segment["name"].as_str()?.to_owned()), volume))
    })
}
