//! What a model's findings become, and whether they leave by themselves.

use super::{PackageError, Task, manifest::Section};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegKind {
    Binary,
    Labelmap,
    Fractional,
}

/// When results may leave for a PACS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    HoldForReview,
    Write,
    /// Computed and kept, never sent.
    Shadow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writes {
    pub seg: Option<SegKind>,
    pub sr: bool,
    pub heatmap: bool,
    /// A page for viewers that show neither segmentations nor reports.
    pub summary: bool,
    /// For each segment an object with the probability of every voxel.
    pub parametric_map: bool,
    pub policy: Policy,
    /// Instead of the model's name.
    pub series_description: Option<String>,
}

impl Writes {
    /// Whether what is written holds how likely each voxel is, not only its label.
    pub fn needs_probabilities(&self) -> bool {
        self.seg == Some(SegKind::Fractional) || self.parametric_map
    }

    pub(super) fn read(root: &Section<'_>, task: &Task) -> Result<Self, PackageError> {
        let segments = matches!(task, Task::Segmentation(_));
        let explains = matches!(task, Task::Classification(model) if model.explain.is_some());
        let mut writes = Self {
            seg: segments.then_some(SegKind::Binary),
            sr: true,
            heatmap: explains,
            summary: false,
            parametric_map: false,
            policy: Policy::HoldForReview,
            series_description: None,
        };
        let Some(section) = root.section("writes")? else { return Ok(writes) };
        if let Some(field) = section.optional("seg") {
            writes.seg = field.choice(&[
                ("binary", Some(SegKind::Binary)),
                ("labelmap", Some(SegKind::Labelmap)),
                ("fractional", Some(SegKind::Fractional)),
                ("none", None),
            ])?;
            if writes.seg.is_some() && !segments {
                return Err(field.error("`writes.seg` is for segmentation models only"));
            }
        }
        writes.sr = section.boolean_or("sr", true)?;
        if let Some(field) = section.optional("heatmap") {
            writes.heatmap = field.boolean()?;
            if writes.heatmap && !explains {
                return Err(field.error("`writes.heatmap` needs a classification with `[explain]`"));
            }
        }
        writes.summary = section.boolean_or("summary", false)?;
        if let Some(field) = section.optional("parametric_map") {
            writes.parametric_map = field.boolean()?;
            if writes.parametric_map && !segments {
                return Err(field.error("`writes.parametric_map` is for segmentation models only"));
            }
        }
        if let Some(field) = section.optional("policy") {
            writes.policy = field.choice(&[
                ("hold-for-review", Policy::HoldForReview),
                ("write", Policy::Write),
                ("shadow", Policy::Shadow),
            ])?;
        }
        writes.series_description = section.optional_text("series_description")?.map(str::to_owned);
        section.done()?;
        Ok(writes)
    }
}
