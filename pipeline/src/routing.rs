//! Which model gets which stack of a study, and for every other one the first reason why not.
//!
//! A model of one channel gets one job for each series that suits it: a job needs only its
//! own series, so it waits for no other. Where one series holds several stacks that suit
//! (echoes, time points) the one with most slices is taken; images without a place in the
//! patient (CR, DX, MG, photographs) stand for themselves and get one job each. A model of several channels gets
//! one job, with the best stack for each channel; all must share the frame of reference of
//! the first.

use imaging::{Header, Plane, SeriesUid, Stack};
use inference::{Package, SeriesFacts, package::Channel};
use regex::Regex;
use serde::Serialize;

use crate::picture::{self, SeriesPicture};

/// What a site says about a model beside what the model's package says.
#[derive(Debug, Clone, Default)]
pub struct SiteRule {
    /// The model's id.
    pub model: String,
    /// Never run it.
    pub disabled: bool,
    /// Run it before what is routine.
    pub stat: bool,
    /// Run it only on what these AE titles sent.
    pub calling_ae: Option<Vec<String>>,
    /// Run it only on series with such a description.
    pub series_description: Option<Regex>,
    pub series_description_not: Option<Regex>,
    /// Send its results to these destinations only.
    pub destinations: Option<Vec<String>>,
    /// Whether its results are final only when two doctors agree; none: as the site says for all.
    pub four_eyes: Option<bool>,
}

const NOT_STATED: &str = "not stated";

/// One condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    pub condition: String,
    pub expected: String,
    pub seen: String,
}

/// A stack that a model would be run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChosenStack {
    pub channel: String,
    pub series: SeriesUid,
    /// Its number among the stacks of the series.
    pub stack: u32,
    pub slices: usize,
    /// What tells it from the other stacks of the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// It is one image without a place in the patient, and stands for itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stands_alone: bool,
    #[serde(skip)]
    pub(crate) series_idx: usize,
}

/// A stack, or a whole series, that a model is not run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unchosen {
    pub series: SeriesUid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<u32>,
    pub because: Because,
}

/// What routing says about one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelRoute {
    pub model: String,
    pub version: String,
    /// One entry for each job: the stacks of its channels, in order.
    pub jobs: Vec<Vec<ChosenStack>>,
    pub not_chosen: Vec<Unchosen>,
}

/// Decides for files that lie somewhere, without a ledger; readiness plays no part.
#[must_use]
pub fn route_headers<'a>(
    headers: &[Header],
    packages: impl IntoIterator<Item = &'a Package>,
    rules: &[SiteRule],
) -> Vec<ModelRoute> {
    let series = picture::of_headers(headers);
    packages.into_iter().map(|package| route(package, rules, &series)).collect()
}

/// Decides for one model.
pub(crate) fn route(package: &Package, rules: &[SiteRule], series: &[SeriesPicture]) -> ModelRoute {
    let mut found = ModelRoute {
        model: package.id.to_string(),
        version: package.version.to_string(),
        jobs: Vec::new(),
        not_chosen: Vec::new(),
    };
    let rule = rules.iter().find(|rule| rule.model == package.id.as_str());
    match channels(package) {
        [] => {}
        [channel] => one_channel(package, channel, rule, series, &mut found),
        several => several_channels(package, several, rule, series, &mut found),
    }
    found
}

pub(crate) fn channels(package: &Package) -> &[Channel] {
    package.image_input().map_or(&[], |input| input.series())
}

fn one_channel(
    package: &Package,
    channel: &Channel,
    rule: Option<&SiteRule>,
    series: &[SeriesPicture],
    found: &mut ModelRoute,
) {
    for (series_idx, picture) in series.iter().enumerate() {
        let (suited, unsuited) = suited(package, channel, rule, picture, series_idx);
        found.not_chosen.extend(unsuited);
        let (alone, suited): (Vec<_>, Vec<_>) = suited.into_iter().partition(|stack| stack.stands_alone);
        found.jobs.extend(alone.into_iter().map(|image| vec![image]));
        let Some(best) = best(&suited) else { continue };
        for other in suited.iter().filter(|other| other.stack != best.stack) {
            let because = because("stack", "the stack with most slices", &format!("{} slices", other.slices));
            found.not_chosen.push(Unchosen {
                series: other.series.clone(),
                stack: Some(other.stack),
                because,
            });
        }
        found.jobs.push(vec![best.clone()]);
    }
}

fn several_channels(
    package: &Package,
    channels: &[Channel],
    rule: Option<&SiteRule>,
    series: &[SeriesPicture],
    found: &mut ModelRoute,
) {
    let mut chosen: Vec<ChosenStack> = Vec::new();
    for channel in channels {
        let mut suited_here = Vec::new();
        for (series_idx, picture) in series.iter().enumerate() {
            let (suited, unsuited) = suited(package, channel, rule, picture, series_idx);
            suited_here.extend(suited);
            found.not_chosen.extend(unsuited);
        }
        if let Some(first) = chosen.first() {
            let frame = frame_of_reference(series, first);
            suited_here.retain(|stack| frame.is_some() && frame_of_reference(series, stack) == frame);
        }
        suited_here.retain(|stack| {
            !chosen.iter().any(|taken| (&taken.series, taken.stack) == (&stack.series, stack.stack))
        });
        match best(&suited_here) {
            Some(best) => chosen.push(best.clone()),
            // Without one of its channels the model cannot be asked.
            None => return,
        }
    }
    found.jobs.push(chosen);
}

fn frame_of_reference<'a>(series: &'a [SeriesPicture], chosen: &ChosenStack) -> Option<&'a imaging::Uid> {
    let picture = &series[chosen.series_idx];
    let member = picture.stacks.stacks[chosen.stack as usize].members.first()?;
    picture.headers[*member].frame_of_reference.as_ref()
}

/// The stacks of a series that suit a channel, and the reasons why the others do not.
fn suited(
    package: &Package,
    channel: &Channel,
    rule: Option<&SiteRule>,
    picture: &SeriesPicture,
    series_idx: usize,
) -> (Vec<ChosenStack>, Vec<Unchosen>) {
    let series = &picture.row.series;
    if picture.stacks.stacks.is_empty() {
        let because = no_stack(picture);
        return (Vec::new(), vec![Unchosen { series: series.clone(), stack: None, because }]);
    }
    let (mut suited, mut unsuited) = (Vec::new(), Vec::new());
    for (number, stack) in (0_u32..).zip(&picture.stacks.stacks) {
        match mismatch(package, channel, rule, picture, stack) {
            Some(because) => unsuited.push(Unchosen { series: series.clone(), stack: Some(number), because }),
            None => suited.push(ChosenStack {
                channel: channel.name.clone(),
                series: series.clone(),
                stack: number,
                slices: picture.slices(stack),
                split: stack.split.clone(),
                stands_alone: stack.plane == Plane::Unplaced,
                series_idx,
            }),
        }
    }
    (suited, unsuited)
}

fn no_stack(picture: &SeriesPicture) -> Because {
    let seen = match picture.stacks.left_out.first() {
        Some(left_out) => left_out.reason.to_string(),
        None if picture.headers.is_empty() => "only results of our own".to_owned(),
        None => "images without a position in the patient".to_owned(),
    };
    because("images", "original images with a position in the patient", &seen)
}

fn mismatch(
    package: &Package,
    channel: &Channel,
    rule: Option<&SiteRule>,
    picture: &SeriesPicture,
    stack: &Stack,
) -> Option<Because> {
    let first = stack.members.first().map(|member| &picture.headers[*member])?;
    let facts = SeriesFacts::new(first, stack.plane, picture.slices(stack), &picture.calling_ae);
    site_mismatch(rule, &facts)
        .or_else(|| package.applies_to.as_ref()?.mismatch(&facts).map(Because::from))
        .or_else(|| channel.applies_to.mismatch(&facts).map(Because::from))
        .or_else(|| (stack.plane == Plane::Unplaced && !takes_unplaced(package, &facts)).then(no_place))
}

/// A slice without a place is none: what comes as CT or MR and has no position shows something else.
fn takes_unplaced(package: &Package, facts: &SeriesFacts) -> bool {
    package.takes_unplaced() && !matches!(facts.modality.as_str(), "CT" | "MR" | "PT" | "NM")
}

fn no_place() -> Because {
    because("images", "images with a position in the patient", "an image without one")
}

fn site_mismatch(rule: Option<&SiteRule>, facts: &SeriesFacts) -> Option<Because> {
    let rule = rule?;
    if rule.disabled {
        return Some(because("site rule", "enabled", "disabled"));
    }
    if let Some(listed) = &rule.calling_ae
        && !listed.iter().any(|title| title.trim() == facts.calling_ae.trim())
    {
        return Some(because("site rule calling_ae", &listed.join(" or "), &facts.calling_ae));
    }
    if let Some(pattern) =
        rule.series_description.as_ref().filter(|pattern| !pattern.is_match(&facts.series_description))
    {
        let expected = format!("a match of /{pattern}/");
        return Some(because("site rule series_description", &expected, &facts.series_description));
    }
    let excluded =
        rule.series_description_not.as_ref().filter(|pattern| pattern.is_match(&facts.series_description));
    excluded.map(|pattern| {
        because(
            "site rule series_description_not",
            &format!("no match of /{pattern}/"),
            &facts.series_description,
        )
    })
}

/// Most slices; among equals the series and the stack that come first.
fn best(stacks: &[ChosenStack]) -> Option<&ChosenStack> {
    stacks.iter().max_by(|one, other| {
        one.slices
            .cmp(&other.slices)
            .then(other.series_idx.cmp(&one.series_idx))
            .then(other.stack.cmp(&one.stack))
    })
}

fn because(condition: &str, expected: &str, seen: &str) -> Because {
    let seen = if seen.is_empty() { NOT_STATED } else { seen };
    Because { condition: condition.to_owned(), expected: expected.to_owned(), seen: seen.to_owned() }
}

/// Conditions whose value says what a scanner made and who sent it. What any other looks at was typed by somebody,
/// or is about the patient.
const NAMES_NOBODY: [&str; 11] = [
    "modality",
    "body_part",
    "manufacturer",
    "orientation",
    "slices",
    "slice_thickness_mm",
    "calling_ae",
    "stack",
    "images",
    "site rule",
    "site rule calling_ae",
];

impl Because {
    /// For those who may not see whose images these are.
    pub(crate) fn hide_what_was_typed(&mut self) {
        if !NAMES_NOBODY.contains(&self.condition.as_str()) && self.seen != NOT_STATED {
            "not shown to you".clone_into(&mut self.seen);
        }
    }
}

impl From<inference::Mismatch> for Because {
    fn from(mismatch: inference::Mismatch) -> Self {
        Self { condition: mismatch.condition, expected: mismatch.expected, seen: mismatch.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_scanner_says_is_shown_to_everybody() {
        for (condition, expect) in [
            ("series_description_not", "not shown to you"),
            ("study_description", "not shown to you"),
            ("protocol_name", "not shown to you"),
            ("contrast", "not shown to you"),
            ("age_years", "not shown to you"),
            ("site rule series_description", "not shown to you"),
            ("slices", "ANGIO Kim Minji"),
        ] {
            let mut because = because(condition, "no match of angio", "ANGIO Kim Minji");
            because.hide_what_was_typed();
            assert_eq!(because.seen, expect, "{condition}");
            assert_eq!(because.expected, "no match of angio");
        }
        let mut unstated = because("age_years", "at least 18", "");
        unstated.hide_what_was_typed();
        assert_eq!(unstated.seen, NOT_STATED);
    }
}
