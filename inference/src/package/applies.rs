//! Which series a model is for (`[applies_to]`) and what it declares fit (`[fitness]`): data only.
//!
//! The conditions are evaluated in [`crate::routing`] and [`crate::fitness`].

use std::fmt;

use imaging::Plane;
use regex::Regex;

use super::{
    PackageError,
    manifest::{Field, Section},
};

/// A regular expression that knows its text.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let text = field.text()?;
        Regex::new(text).map(Self).map_err(|error| {
            let reason = match &error {
                regex::Error::Syntax(long) => long.lines().last().unwrap_or("bad syntax").to_owned(),
                other => other.to_string(),
            };
            field.error(format!("`{}` is no regular expression: {reason}", field.name()))
        })
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}/", self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// From `min` to `max`, both included, either open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Interval {
    pub fn contains(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    pub(super) fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let section = field.section()?;
        let min = section.optional("min").map(|field| field.number()).transpose()?;
        let max = section.optional("max").map(|field| field.number()).transpose()?;
        section.done()?;
        match (min, max) {
            (None, None) => {
                Err(field.error(format!("`{}` has no bound: expected `min`, `max` or both", field.name())))
            }
            (Some(low), Some(high)) if low > high => {
                Err(field.error(format!("`{}` is empty: `min` {low} is above `max` {high}", field.name())))
            }
            _ => Ok(Self { min, max }),
        }
    }

    fn optional(section: &Section<'_>, key: &'static str) -> Result<Option<Self>, PackageError> {
        section.optional(key).map(|field| Self::read(&field)).transpose()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(formatter, "{min} to {max}"),
            (Some(min), None) => write!(formatter, "at least {min}"),
            (None, Some(max)) => write!(formatter, "at most {max}"),
            (None, None) => formatter.write_str("anything"),
        }
    }
}

/// Whether a contrast agent must be stated, (0018,0010).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contrast {
    Required,
    Absent,
}

/// The conditions of `[applies_to]`; an absent one always holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppliesTo {
    pub modality: Option<Vec<String>>,
    pub body_part: Option<Vec<String>>,
    pub study_description: Option<Pattern>,
    pub series_description: Option<Pattern>,
    pub series_description_not: Option<Pattern>,
    pub protocol_name: Option<Pattern>,
    pub manufacturer: Option<Vec<String>>,
    pub orientation: Option<Vec<Plane>>,
    pub contrast: Option<Contrast>,
    pub slices: Option<Interval>,
    pub slice_thickness_mm: Option<Interval>,
    pub age_years: Option<Interval>,
    pub calling_ae: Option<Vec<String>>,
}

/// Whether the table has to name modalities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modality {
    Required,
    Optional,
}

impl AppliesTo {
    pub(super) fn read(section: &Section<'_>, modality: Modality) -> Result<Self, PackageError> {
        if modality == Modality::Required {
            section.required("modality", "a list such as [\"MR\"]")?;
        }
        let pattern = |key| section.optional(key).map(|field| Pattern::read(&field)).transpose();
        let contrast = section
            .optional("contrast")
            .map(|field| field.choice(&[("required", Contrast::Required), ("absent", Contrast::Absent)]));
        let applies_to = Self {
            modality: words(section, "modality")?,
            body_part: words(section, "body_part")?,
            study_description: pattern("study_description")?,
            series_description: pattern("series_description")?,
            series_description_not: pattern("series_description_not")?,
            protocol_name: pattern("protocol_name")?,
            manufacturer: words(section, "manufacturer")?,
            orientation: planes(section)?,
            contrast: contrast.transpose()?,
            slices: Interval::optional(section, "slices")?,
            slice_thickness_mm: Interval::optional(section, "slice_thickness_mm")?,
            age_years: Interval::optional(section, "age_years")?,
            calling_ae: words(section, "calling_ae")?,
        };
        section.done()?;
        Ok(applies_to)
    }

    pub(super) fn read_optional(section: &Section<'_>) -> Result<Self, PackageError> {
        let table = section.section("applies_to")?;
        table.map_or(Ok(Self::default()), |table| Self::read(&table, Modality::Optional))
    }
}

fn words(section: &Section<'_>, key: &'static str) -> Result<Option<Vec<String>>, PackageError> {
    let Some(field) = section.optional(key) else { return Ok(None) };
    let words = field.texts()?;
    if words.is_empty() {
        return Err(field.error(format!("`{}` is an empty list: it would never hold", field.name())));
    }
    Ok(Some(words))
}

fn planes(section: &Section<'_>) -> Result<Option<Vec<Plane>>, PackageError> {
    let Some(field) = section.optional("orientation") else { return Ok(None) };
    let plane = |item: &Field<'_>| {
        item.choice(&[
            ("axial", Plane::Axial),
            ("sagittal", Plane::Sagittal),
            ("coronal", Plane::Coronal),
            ("oblique", Plane::Oblique),
            ("unplaced", Plane::Unplaced),
        ])
    };
    field.list()?.iter().map(plane).collect::<Result<Vec<_>, _>>().map(Some)
}

/// What an input must be for the answer to mean something.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fitness {
    pub in_plane_spacing_mm: Option<Interval>,
    pub slice_spacing_mm: Option<Interval>,
    /// Along the slice direction, outer face to outer face.
    pub coverage_mm: Option<Interval>,
    /// The shorter side of a slice.
    pub in_plane_mm: Option<Interval>,
    /// The 1st and the 99th percentile of the voxels lie inside.
    pub intensity: Option<Interval>,
    pub orientation: Option<Vec<Plane>>,
    pub age_years: Option<Interval>,
}

impl Fitness {
    pub(super) fn read(root: &Section<'_>) -> Result<Self, PackageError> {
        let Some(section) = root.section("fitness")? else { return Ok(Self::default()) };
        let fitness = Self {
            in_plane_spacing_mm: Interval::optional(&section, "in_plane_spacing_mm")?,
            slice_spacing_mm: Interval::optional(&section, "slice_spacing_mm")?,
            coverage_mm: Interval::optional(&section, "coverage_mm")?,
            in_plane_mm: Interval::optional(&section, "in_plane_mm")?,
            intensity: Interval::optional(&section, "intensity")?,
            orientation: planes(&section)?,
            age_years: Interval::optional(&section, "age_years")?,
        };
        section.done()?;
        Ok(fitness)
    }
}
