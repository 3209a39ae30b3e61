//! What doctors' decisions say about a model: counts, agreement, PPV and confusion, for each
//! version, scanner and month.
//!
//! A result counts once, with the decision in force. Its truth is what the model said when it
//! was accepted, what the doctor gave when it was corrected, and unknown when it was rejected.

use std::collections::BTreeMap;

use ledger::{Decided, ReviewState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::view::timestamp;

/// The truth that a rejection leaves open.
pub(crate) const UNKNOWN: &str = "unknown";
/// A truth that the model has no class for.
pub(crate) const OTHER: &str = "other";

/// One group of decided results.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct FeedbackView {
    model_id: String,
    model_version: String,
    /// Manufacturer and model, as the images say.
    scanner: String,
    /// `YYYY-MM`, in which the results were computed.
    month: String,
    decided: u64,
    accepted: u64,
    rejected: u64,
    corrected: u64,
    /// Accepted of decided.
    agreement: f64,
    /// Of the results that found something, those whose finding is there: accepted, or a
    /// segmentation that was mended. None when no result found anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    ppv: Option<f64>,
    /// For classifiers: how often which class was said where which was true.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    confusion: Vec<ConfusionView>,
    #[serde(skip)]
    positive: u64,
    #[serde(skip)]
    confirmed: u64,
    #[serde(skip)]
    pairs: BTreeMap<(String, String), u64>,
}

/// One cell of a confusion matrix.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ConfusionView {
    predicted: String,
    /// `unknown` where the answer was rejected.
    truth: String,
    count: u64,
}

/// The groups, in the order of model, version, scanner and month.
pub(crate) fn groups(decided: &[Decided]) -> Vec<FeedbackView> {
    let mut groups: BTreeMap<[String; 4], FeedbackView> = BTreeMap::new();
    for one in decided {
        let key = [one.model_id.clone(), one.model_version.clone(), scanner(one), month(one)];
        groups.entry(key).or_default().count(one);
    }
    groups.into_iter().map(|(key, group)| group.finished(key)).collect()
}

impl FeedbackView {
    fn count(&mut self, one: &Decided) {
        self.decided += 1;
        match one.state {
            ReviewState::Accepted => self.accepted += 1,
            ReviewState::Rejected => self.rejected += 1,
            ReviewState::Corrected => self.corrected += 1,
            ReviewState::Pending | ReviewState::AwaitingSecond | ReviewState::Disputed => {}
        }
        match predicted(&one.findings) {
            Some((class, is_normal)) => self.count_class(one, class, is_normal),
            None => self.count_segments(one),
        }
    }

    fn count_class(&mut self, one: &Decided, class: String, is_normal: bool) {
        let truth = truth_of(one, &class);
        self.positive += u64::from(!is_normal);
        self.confirmed += u64::from(!is_normal && truth == class);
        *self.pairs.entry((class, truth)).or_default() += 1;
    }

    fn count_segments(&mut self, one: &Decided) {
        let is_found = |segment: &Value| !segment["measures"].is_null();
        let found = one.findings["segments"].as_array().is_some_and(|all| all.iter().any(is_found));
        self.positive += u64::from(found);
        self.confirmed += u64::from(found && one.state != ReviewState::Rejected);
    }

    fn finished(mut self, [model_id, model_version, scanner, month]: [String; 4]) -> Self {
        let ratio = |part: u64, whole: u64| part as f64 / whole as f64;
        self.agreement = ratio(self.accepted, self.decided);
        self.ppv = (self.positive > 0).then(|| ratio(self.confirmed, self.positive));
        let pairs = std::mem::take(&mut self.pairs).into_iter();
        self.confusion =
            pairs.map(|((predicted, truth), count)| ConfusionView { predicted, truth, count }).collect();
        Self { model_id, model_version, scanner, month, ..self }
    }
}

/// The meaning of the class that a classifier chose, and whether it says that nothing is there.
pub(crate) fn predicted(findings: &Value) -> Option<(String, bool)> {
    let winner = usize::try_from(findings["winner"].as_u64()?).ok()?;
    let class = &findings["classes"][winner];
    Some((meaning(&class["code"])?, class["normal"] == true))
}

fn truth_of(one: &Decided, class: &str) -> String {
    match one.state {
        ReviewState::Accepted => class.to_owned(),
        ReviewState::Corrected => given(one).unwrap_or_else(|| UNKNOWN.to_owned()),
        ReviewState::Rejected
        | ReviewState::Pending
        | ReviewState::AwaitingSecond
        | ReviewState::Disputed => UNKNOWN.to_owned(),
    }
}

fn given(one: &Decided) -> Option<String> {
    meaning(&one.correction.as_ref()?["class"])
}

fn meaning(code: &Value) -> Option<String> {
    code["meaning"].as_str().map(str::to_owned)
}

/// What the model said and what it really was, where it chose between classes; else the decision on
/// what it found.
pub(crate) fn said_and_truth(one: &Decided) -> (String, String) {
    let Some((class, _)) = predicted(&one.findings) else {
        return (String::new(), String::new());
    };
    let truth = truth_of(one, &class);
    (class, truth)
}

/// The same for those who may not read what somebody typed: a class that the model does not have is `other`.
pub(crate) fn said_and_known_truth(one: &Decided) -> (String, String) {
    let (said, truth) = said_and_truth(one);
    let classes = one.findings["classes"].as_array();
    let has = |class: &Value| meaning(&class["code"]).is_some_and(|known| known == truth);
    let is_known =
        truth.is_empty() || truth == UNKNOWN || classes.is_some_and(|classes| classes.iter().any(has));
    (said, if is_known { truth } else { OTHER.to_owned() })
}

pub(crate) fn scanner(one: &Decided) -> String {
    let (manufacturer, model) = one.scanner.clone().unwrap_or_default();
    let both = format!("{manufacturer} {model}");
    let both = both.trim();
    if both.is_empty() { "unknown".to_owned() } else { both.to_owned() }
}

fn month(one: &Decided) -> String {
    timestamp(one.computed_at).chars().take(7).collect()
}

#[cfg(test)]
mod tests {
    use ledger::Millis;
    use serde_json::json;

    use super::*;

    const NOVEMBER: Millis = Millis(1_700_000_000_000);

    fn decided(state: ReviewState, findings: Value) -> Decided {
        Decided {
            model_id: "m".to_owned(),
            model_version: "1.0.0".to_owned(),
            state,
            findings,
            correction: None,
            scanner: Some(("ACME".to_owned(), "One".to_owned())),
            computed_at: NOVEMBER,
        }
    }

    fn class(state: ReviewState, winner: usize, truth: Option<&str>) -> Decided {
        let classes =
            ["bleed", "none"].map(|name| json!({ "code": { "meaning": name }, "normal": name == "none" }));
        let correction = truth.map(|name| json!({ "class": { "meaning": name } }));
        Decided { correction, ..decided(state, json!({ "winner": winner, "classes": classes })) }
    }

    #[test]
    fn a_classifier_has_a_confusion_matrix() {
        let all = [
            class(ReviewState::Accepted, 0, None),
            class(ReviewState::Accepted, 1, None),
            class(ReviewState::Corrected, 0, Some("none")),
            class(ReviewState::Rejected, 0, None),
        ];
        let groups = groups(&all);
        let [group] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!((group.decided, group.accepted, group.corrected, group.rejected), (4, 2, 1, 1));
        // Of the three that said "bleed" one was confirmed.
        assert_eq!((group.agreement, group.ppv), (0.5, Some(1.0 / 3.0)));
        let cells: Vec<_> = group
            .confusion
            .iter()
            .map(|cell| (cell.predicted.as_str(), cell.truth.as_str(), cell.count))
            .collect();
        assert_eq!(
            cells,
            [("bleed", "bleed", 1), ("bleed", "none", 1), ("bleed", "unknown", 1), ("none", "none", 1)]
        );
    }

    #[test]
    fn a_mended_segmentation_found_something_and_an_empty_one_counts_for_no_ppv() {
        let found = json!({ "segments": [{ "measures": { "volume_ml": 1.0 } }] });
        let empty = json!({ "segments": [{ "measures": null }] });
        let all = [
            decided(ReviewState::Corrected, found.clone()),
            decided(ReviewState::Rejected, found),
            decided(ReviewState::Accepted, empty),
        ];
        assert_eq!(groups(&all)[0].ppv, Some(0.5));
    }

    #[test]
    fn a_class_that_a_doctor_typed_is_told_where_the_model_has_it() {
        let told = |one: &Decided| said_and_known_truth(one).1;
        assert_eq!(told(&class(ReviewState::Corrected, 0, Some("none"))), "none");
        assert_eq!(told(&class(ReviewState::Corrected, 0, Some("Glioma Kim Minji 4711"))), OTHER);
        assert_eq!(told(&class(ReviewState::Accepted, 0, None)), "bleed");
        assert_eq!(told(&class(ReviewState::Rejected, 0, None)), UNKNOWN);
        assert_eq!(told(&decided(ReviewState::Corrected, json!({ "segments": [] }))), "");
    }

    #[test]
    fn versions_scanners_and_months_are_counted_apart() {
        let base = class(ReviewState::Accepted, 0, None);
        let all = [
            base.clone(),
            Decided { model_version: "2.0.0".to_owned(), ..base.clone() },
            Decided { scanner: None, ..base.clone() },
            Decided { computed_at: NOVEMBER.plus(std::time::Duration::from_secs(40 * 86_400)), ..base },
        ];
        let groups = groups(&all);
        let keys: Vec<_> =
            groups.iter().map(|group| (group.scanner.as_str(), group.month.as_str())).collect();
        assert_eq!(
            keys,
            [
                ("ACME One", "2023-11"),
                ("ACME One", "2023-12"),
                ("unknown", "2023-11"),
                ("ACME One", "2023-11")
            ]
        );
    }
}
