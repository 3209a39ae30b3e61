//! Whether a series is one that a model is for, and if not, the first reason why.
//!
//! Pure: facts in, explanation out. Which of several series is run is for `pipeline`.

use imaging::{Header, Plane};
use serde::{Deserialize, Serialize};

use crate::package::{AppliesTo, Contrast, Interval, Pattern};

/// What the conditions of `[applies_to]` ask of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFacts {
    pub modality: String,
    pub body_part: String,
    pub study_description: String,
    pub series_description: String,
    pub protocol_name: String,
    pub manufacturer: String,
    pub contrast_agent: String,
    pub age_years: Option<f64>,
    pub slice_thickness_mm: Option<f64>,
    pub plane: Plane,
    pub slices: usize,
    /// Empty when the study did not come over an association.
    pub calling_ae: String,
}

impl SeriesFacts {
    /// The facts of a stack: its first slice's header, its plane and its number of slices.
    pub fn new(header: &Header, plane: Plane, slices: usize, calling_ae: &str) -> Self {
        let facts = &header.facts;
        Self {
            modality: facts.modality.clone(),
            body_part: facts.body_part.clone(),
            study_description: facts.study_description.clone(),
            series_description: facts.series_description.clone(),
            protocol_name: facts.protocol_name.clone(),
            manufacturer: facts.manufacturer.clone(),
            contrast_agent: facts.contrast_agent.clone(),
            age_years: facts.patient.age_years,
            slice_thickness_mm: facts.slice_thickness,
            plane,
            slices,
            calling_ae: calling_ae.to_owned(),
        }
    }
}

/// The first condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The key in `[applies_to]`.
    pub condition: String,
    pub expected: String,
    /// The value that was seen; "not stated" when there is none.
    pub seen: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} is {}: expected {}", self.condition, self.seen, self.expected)
    }
}

impl AppliesTo {
    /// None when every condition holds, else the first that does not, in the order of the documentation.
    pub fn mismatch(&self, facts: &SeriesFacts) -> Option<Mismatch> {
        [
            word_is_listed("modality", self.modality.as_deref(), &facts.modality),
            word_is_listed("body_part", self.body_part.as_deref(), &facts.body_part),
            matches("study_description", self.study_description.as_ref(), &facts.study_description),
            matches("series_description", self.series_description.as_ref(), &facts.series_description),
            matches_not(
                "series_description_not",
                self.series_description_not.as_ref(),
                &facts.series_description,
            ),
            matches("protocol_name", self.protocol_name.as_ref(), &facts.protocol_name),
            contains("manufacturer", self.manufacturer.as_deref(), &facts.manufacturer),
            plane_is_listed(self.orientation.as_deref(), facts.plane),
            contrast(self.contrast, &facts.contrast_agent),
            within("slices", self.slices, Some(facts.slices as f64)),
            within("slice_thickness_mm", self.slice_thickness_mm, facts.slice_thickness_mm),
            within("age_years", self.age_years, facts.age_years),
            word_is_listed("calling_ae", self.calling_ae.as_deref(), &facts.calling_ae),
        ]
        .into_iter()
        .flatten()
        .next()
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "not stated".to_owned() } else { format!("\"{text}\"") }
}

fn mismatch(condition: &str, expected: String, seen: String) -> Option<Mismatch> {
    Some(Mismatch { condition: condition.to_owned(), expected, seen })
}

fn list(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" or ")
}

fn word_is_listed(condition: &str, listed: Option<&[String]>, seen: &str) -> Option<Mismatch> {
    let listed = listed?;
    let seen = seen.trim();
    if listed.iter().any(|word| word.trim().to_lowercase() == seen.to_lowercase()) {
        None
    } else {
        mismatch(condition, list(listed), quoted(seen))
    }
}

fn contains(condition: &str, listed: Option<&[String]>, seen: &str) -> Option<Mismatch> {
    let listed = listed?;
    let folded = seen.to_lowercase();
    if listed.iter().any(|word| folded.contains(&word.to_lowercase())) {
        None
    } else {
        mismatch(condition, list(listed), quoted(seen))
    }
}

fn matches(condition: &str, pattern: Option<&Pattern>, seen: &str) -> Option<Mismatch> {
    let pattern = pattern?;
    if pattern.matches(seen) {
        None
    } else {
        mismatch(condition, format!("a match of {pattern:?}"), quoted(seen))
    }
}

fn matches_not(condition: &str, pattern: Option<&Pattern>, seen: &str) -> Option<Mismatch> {
    let pattern = pattern?;
    if pattern.matches(seen) {
        mismatch(condition, format!("no match of {pattern:?}"), quoted(seen))
    } else {
        None
    }
}

fn plane_is_listed(listed: Option<&[Plane]>, seen: Plane) -> Option<Mismatch> {
    let listed = listed?;
    if listed.contains(&seen) {
        return None;
    }
    let words = listed.iter().map(|plane| plane_name(*plane)).collect::<Vec<_>>().join(" or ");
    mismatch("orientation", words, plane_name(seen).to_owned())
}

pub(crate) fn plane_name(plane: Plane) -> &'static str {
    match plane {
        Plane::Axial => "axial",
        Plane::Sagittal => "sagittal",
        Plane::Coronal => "coronal",
        Plane::Oblique => "oblique",
        Plane::Unplaced => "unplaced",
    }
}

fn contrast(wanted: Option<Contrast>, agent: &str) -> Option<Mismatch> {
    match (wanted?, agent.is_empty()) {
        (Contrast::Required, true) => {
            mismatch("contrast", "a contrast agent".to_owned(), "not stated".to_owned())
        }
        (Contrast::Absent, false) => mismatch("contrast", "no contrast agent".to_owned(), quoted(agent)),
        (Contrast::Required, false) | (Contrast::Absent, true) => None,
    }
}

fn within(condition: &str, wanted: Option<Interval>, seen: Option<f64>) -> Option<Mismatch> {
    let wanted = wanted?;
    match seen {
        Some(value) if wanted.contains(value) => None,
        Some(value) => mismatch(condition, wanted.to_string(), value.to_string()),
        None => mismatch(condition, wanted.to_string(), "not stated".to_owned()),
    }
}
