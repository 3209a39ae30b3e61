//! Features that are other models' findings.

use super::{ModelId, PackageError, manifest::Section};

/// Which of another model's findings is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Segment(String),
    Class(String),
    /// The one answer of a tabular or fusion model.
    Row,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    VolumeMl,
    LongestDiameterMm,
    PerpendicularMm,
    Mean,
    /// 1 or 0.
    Present,
    Probability,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FusionFeature {
    pub name: String,
    pub model: ModelId,
    pub part: Part,
    pub measure: Measure,
}

impl FusionFeature {
    pub(super) fn read_all(root: &Section<'_>) -> Result<Vec<Self>, PackageError> {
        let section = root.required("fusion", "`[[fusion.feature]]` tables")?.section()?;
        let sections = section.sections("feature")?;
        section.done()?;
        if sections.is_empty() {
            return Err(
                section.error("`[[fusion.feature]]` is missing: expected one for each finding that goes in")
            );
        }
        sections.iter().map(Self::read).collect()
    }

    fn read(section: &Section<'_>) -> Result<Self, PackageError> {
        let name = section.text("name", "the feature's name")?.to_owned();
        let model = ModelId::read_alias(&section.required("model", "the id of another model")?)?;
        let part = match (section.optional_text("segment")?, section.optional_text("class")?) {
            (Some(segment), None) => Part::Segment(segment.to_owned()),
            (None, Some(class)) => Part::Class(class.to_owned()),
            (None, None) => Part::Row,
            (Some(_), Some(_)) => return Err(section.error("a feature has `segment` or `class`, not both")),
        };
        let field = section.required("measure", "what is taken of the finding")?;
        let measure = field.choice(&[
            ("volume_ml", Measure::VolumeMl),
            ("longest_diameter_mm", Measure::LongestDiameterMm),
            ("perpendicular_mm", Measure::PerpendicularMm),
            ("mean", Measure::Mean),
            ("present", Measure::Present),
            ("probability", Measure::Probability),
        ])?;
        section.done()?;
        let fits = matches!(part, Part::Segment(_)) != (measure == Measure::Probability);
        if !fits {
            return Err(field.error(format!(
                "`{}` does not fit: segments are measured, classes and rows have a probability",
                field.name()
            )));
        }
        Ok(Self { name, model, part, measure })
    }
}
