//! The old version and the new one on the same reviewed cases.
//!
//! A row or a class has a truth: what the doctor confirmed or gave instead. A segmentation has one only where it
//! was accepted, and only by the very version that is compared with: then its labels are the truth, and the new
//! version's overlap with them is told. Segmentations that a doctor brought are not compared voxel by voxel.

use std::{collections::BTreeMap, path::PathBuf};

use imaging::LabelMap;
use inference::{Control, Model, Outcome, Row, Urgency, package::Task};
use ledger::ReviewState;
use pipeline::{ReadOnce, Reading, read_once};
use results::Pseudonyms;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::split::{is_held_out, is_known};
use crate::{
    export::{Reviewed, ReviewedCase, truth},
    feedback,
};

/// Images of so many cases are looked at, the newest.
const IMAGE_CASES_MAX: usize = 200;

/// How two versions answer reviewed cases.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report {
    old_version: String,
    new_version: String,
    /// All that were compared, those that the new version was trained on among them.
    all: Part,
    /// Cases of patients that the new version has not seen; none when there are no such patients.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Part>,
    /// Reviewed cases that could not be compared: no truth, no image, or no answer.
    left_out: usize,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Part {
    cases: usize,
    /// Where both versions say the same.
    same_answer: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Score>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Score>,
    /// Mean Dice of the new version with accepted segmentations, by label.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dice: BTreeMap<String, f64>,
}

/// One version against the truth.
#[derive(Debug, PartialEq, Serialize)]
struct Score {
    agreement: f64,
    /// Of the answers that found something, those that are true; none when there was no such answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ppv: Option<f64>,
    confusion: Vec<Cell>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Cell {
    predicted: String,
    truth: String,
    count: usize,
}

/// One case that both versions answered.
struct Compared {
    is_held_out: bool,
    said: Said,
}

enum Said {
    Class {
        old: Answer,
        new: Answer,
        truth: String,
    },
    /// Dice of each label that either of them has.
    Labels(Vec<(String, f64)>),
}

struct Answer {
    name: String,
    finds: bool,
}

/// Blocking: both versions answer everything once.
pub(super) fn compare(
    reviewed: &Reviewed,
    pseudonyms: &Pseudonyms,
    old: &Model,
    new: &Model,
    is_cancelled: &dyn Fn() -> bool,
) -> Report {
    let compared = match &old.package().task {
        Task::Tabular(_) => rows(reviewed, pseudonyms, old, new),
        Task::Segmentation(_) | Task::Classification(_) => {
            images(reviewed, pseudonyms, old, new, is_cancelled)
        }
        // What a fusion took from other models is not kept with its answer.
        Task::Fusion(_) => Vec::new(),
    };
    let all = reviewed.predictions.len() + reviewed.cases.len();
    let held_out: Vec<&Compared> = compared.iter().filter(|one| one.is_held_out).collect();
    Report {
        old_version: old.package().version.to_string(),
        new_version: new.package().version.to_string(),
        left_out: all.saturating_sub(compared.len()),
        held_out: (!held_out.is_empty()).then(|| part(&held_out)),
        all: part(&compared.iter().collect::<Vec<_>>()),
    }
}

fn rows(reviewed: &Reviewed, pseudonyms: &Pseudonyms, old: &Model, new: &Model) -> Vec<Compared> {
    let known = reviewed.predictions.iter().map(|one| (one, truth(one)));
    let known: Vec<_> = known.filter(|(_, truth)| is_known(truth)).collect();
    let asked: Vec<Row> = known
        .iter()
        .map(|(one, _)| {
            let values = one.prediction.input.as_object().into_iter().flatten();
            values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
        })
        .collect();
    let answers = |model: &Model| model.predict(&asked).unwrap_or_default();
    let pairs = answers(old).into_iter().zip(answers(new));
    let pairs = known.into_iter().zip(pairs);
    pairs
        .filter_map(|((one, truth), (old, new))| {
            let said = Said::Class { old: label(&old)?, new: label(&new)?, truth };
            Some(Compared { is_held_out: is_held_out(pseudonyms, &one.prediction.patient_id), said })
        })
        .collect()
}

fn label(answer: &Outcome<inference::Prediction>) -> Option<Answer> {
    match answer {
        Outcome::Findings(found) => Some(Answer { name: found.label.to_string(), finds: found.label == 1 }),
        Outcome::NotAnalysed { .. } => None,
    }
}

fn images(
    reviewed: &Reviewed,
    pseudonyms: &Pseudonyms,
    old: &Model,
    new: &Model,
    is_cancelled: &dyn Fn() -> bool,
) -> Vec<Compared> {
    let newest = reviewed.cases.iter().rev().take(IMAGE_CASES_MAX);
    newest
        .take_while(|_| !is_cancelled())
        .filter_map(|one| {
            let (before, after) = (read(old, &one.images)?, read(new, &one.images)?);
            let said = classes(one, &before, &after).or_else(|| labels(one, old, &before, &after))?;
            Some(Compared { is_held_out: is_held_out(pseudonyms, &one.patient), said })
        })
        .collect()
}

fn read(model: &Model, images: &[PathBuf]) -> Option<Reading> {
    let order = ReadOnce { installation: Uuid::nil(), written_at: OffsetDateTime::UNIX_EPOCH };
    let control = Control { progress: &|_| {}, cancelled: &|| false, urgency: Urgency::Background };
    // Why one could not be read was told when it was analysed; here it counts as left out.
    read_once(model, images, &order, &control).ok()
}

fn classes(one: &ReviewedCase, old: &Reading, new: &Reading) -> Option<Said> {
    let (_, truth) = feedback::said_and_truth(&one.case.decided);
    let answer = |reading: &Reading| {
        let (name, is_normal) = feedback::predicted(&reading.findings)?;
        Some(Answer { name, finds: !is_normal })
    };
    let (old, new) = (answer(old)?, answer(new)?);
    (!truth.is_empty() && truth != feedback::UNKNOWN).then_some(Said::Class { old, new, truth })
}

fn labels(one: &ReviewedCase, old: &Model, before: &Reading, after: &Reading) -> Option<Said> {
    let decided = &one.case.decided;
    let is_truth =
        decided.state == ReviewState::Accepted && decided.model_version == old.package().version.to_string();
    let Task::Segmentation(task) = &old.package().task else { return None };
    let (before, after) = (before.labels.as_ref()?, after.labels.as_ref()?);
    let dice = |value: u8| (is_truth && before.grid == after.grid).then(|| dice(before, after, value));
    let named = task.output.labels.iter();
    let named = named.filter_map(|label| Some((label.name.clone(), dice(label.value)??)));
    is_truth.then(|| Said::Labels(named.collect()))
}

/// None where neither has the label.
fn dice(one: &LabelMap, other: &LabelMap, value: u8) -> Option<f64> {
    let (mut both, mut sum) = (0_u64, 0_u64);
    for (one, other) in one.labels.iter().zip(&other.labels) {
        let (one, other) = (*one == value, *other == value);
        both += u64::from(one && other);
        sum += u64::from(one) + u64::from(other);
    }
    (sum > 0).then(|| 2.0 * both as f64 / sum as f64)
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn part(compared: &[&Compared]) -> Part {
    let mut same = 0;
    let mut dice: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let (mut old_pairs, mut new_pairs) = (Vec::new(), Vec::new());
    for one in compared {
        match &one.said {
            Said::Class { old, new, truth } => {
                same += usize::from(old.name == new.name);
                old_pairs.push((old, truth.as_str()));
                new_pairs.push((new, truth.as_str()));
            }
            Said::Labels(labels) => {
                same += usize::from(labels.iter().all(|(_, dice)| *dice == 1.0));
                for (name, value) in labels {
                    dice.entry(name.clone()).or_default().push(*value);
                }
            }
        }
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    Part {
        cases: compared.len(),
        same_answer: ratio(same, compared.len()),
        old: score(&old_pairs),
        new: score(&new_pairs),
        dice: dice.into_iter().map(|(name, values)| (name, mean(values))).collect(),
    }
}

fn score(pairs: &[(&Answer, &str)]) -> Option<Score> {
    let mut cells: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (answer, truth) in pairs {
        *cells.entry((&answer.name, truth)).or_default() += 1;
    }
    let is_right = |(answer, truth): &&(&Answer, &str)| answer.name == *truth;
    let found: Vec<_> = pairs.iter().filter(|(answer, _)| answer.finds).collect();
    let confirmed = found.iter().filter(|one| is_right(one)).count();
    let cell = |((predicted, truth), count): ((&str, &str), usize)| Cell {
        predicted: predicted.to_owned(),
        truth: truth.to_owned(),
        count,
    };
    (!pairs.is_empty()).then(|| Score {
        agreement: ratio(pairs.iter().filter(is_right).count(), pairs.len()),
        ppv: (!found.is_empty()).then(|| ratio(confirmed, found.len())),
        confusion: cells.into_iter().map(cell).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(old: u8, new: u8, truth: u8, is_held_out: bool) -> Compared {
        let answer = |label: u8| Answer { name: label.to_string(), finds: label == 1 };
        let said = Said::Class { old: answer(old), new: answer(new), truth: truth.to_string() };
        Compared { is_held_out, said }
    }

    #[test]
    fn each_version_is_held_against_the_truth() {
        let rows = [row(1, 1, 1, false), row(1, 0, 0, false), row(0, 0, 0, true), row(0, 1, 1, true)];
        let part = part(&rows.iter().collect::<Vec<_>>());
        assert_eq!((part.cases, part.same_answer), (4, 0.5));
        let (old, new) = (part.old.unwrap(), part.new.unwrap());
        assert_eq!((old.agreement, old.ppv), (0.5, Some(0.5)));
        assert_eq!((new.agreement, new.ppv), (1.0, Some(1.0)));
        let cells: Vec<_> =
            old.confusion.iter().map(|one| (one.predicted.as_str(), one.truth.as_str(), one.count)).collect();
        assert_eq!(cells, [("0", "0", 1), ("0", "1", 1), ("1", "0", 1), ("1", "1", 1)]);
    }

    #[test]
    fn nothing_compared_is_no_score() {
        assert_eq!(part(&[]), Part::default());
    }
}
