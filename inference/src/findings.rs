//! What models find, in numbers and words; stored as JSON, turned into DICOM by `results`.
//!
//! Nothing here says whose findings they are.

use imaging::{Code, LabelMap};
use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::package::{Color, Label};

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome<T> {
    Findings(T),
    /// The input is not what the package declares; nothing was computed.
    NotAnalysed {
        reason: String,
    },
}

impl<T> Outcome<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Findings(findings) => Outcome::Findings(change(findings)),
            Self::NotAnalysed { reason } => Outcome::NotAnalysed { reason },
        }
    }
}

/// The findings of any model, for storage and for fusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Findings {
    Segmentation(SegmentationFindings),
    Classification(ClassificationFindings),
    Tabular(Prediction),
}

/// Labels on the source grid, and what they measure.
#[derive(Debug, Clone)]
pub struct Segmentation {
    pub labels: LabelMap,
    /// For each segment of the findings, in their order: how likely the model holds each voxel of the source grid to
    /// be of it, (slice, row, column), before small pieces are dropped and holes filled. Only where the
    /// package's results need it: it is one more volume in f32 for each segment.
    pub probabilities: Option<Vec<Array3<f32>>>,
    pub findings: SegmentationFindings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentationFindings {
    /// One for each label of the package, found or not.
    pub segments: Vec<SegmentFinding>,
    /// Windows that were run and that were skipped as empty.
    pub windows_run: usize,
    pub windows_skipped: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentFinding {
    /// Counted from 1 in the order of the package.
    pub number: u16,
    /// The value in the label map.
    pub value: u8,
    pub name: String,
    pub category: Code,
    #[serde(rename = "type")]
    pub kind: Code,
    pub region: Option<Code>,
    pub color: Option<Color>,
    /// None: the structure was looked for and not found.
    pub measures: Option<Measures>,
}

impl SegmentFinding {
    pub(crate) fn new(number: u16, label: &Label, measures: Option<Measures>) -> Self {
        Self {
            number,
            value: label.value,
            name: label.name.clone(),
            category: label.category.clone(),
            kind: label.kind.clone(),
            region: label.region.clone(),
            color: label.color,
            measures,
        }
    }

    pub fn is_present(&self) -> bool {
        self.measures.is_some()
    }
}

/// A straight line in the patient, its ends in LPS mm and as voxels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Diameter {
    pub length_mm: f64,
    pub ends_lps: [[f64; 3]; 2],
    /// (column, row, slice) of the voxels whose centres are the ends.
    pub ends: [[usize; 3]; 2],
}

/// Inclusive corners, (column, row, slice).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundingBox {
    pub first: [usize; 3],
    pub last: [usize; 3],
}

/// Measurements of one segment, on the source grid and of the source's values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    pub voxels: u64,
    pub volume_ml: f64,
    /// The longest line between two voxel centres of one source slice.
    pub longest_diameter: Diameter,
    /// The longest line in the same slice at a right angle to it.
    pub perpendicular_diameter: Diameter,
    pub centroid_lps: [f64; 3],
    pub bounding_box: BoundingBox,
    pub mean: f64,
    /// Of the population.
    pub sd: f64,
    pub min: f64,
    pub max: f64,
    /// The segment reaches the first or last column, row or slice: it may go on outside.
    pub touches_edge: bool,
    /// A voxel (column, row, slice) inside the segment, deep in its largest slice.
    pub key_point: [usize; 3],
}

/// What a classification says, and where it looked.
#[derive(Debug, Clone)]
pub struct Classified {
    pub findings: ClassificationFindings,
    pub heatmap: Option<Heatmap>,
}

/// Where a classification looked: 0 … 1 on the source grid, (slice, row, column).
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    /// The first source slice that it covers.
    pub first_slice: usize,
    pub values: Array3<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationFindings {
    /// One for each class of the package, in its order.
    pub classes: Vec<ClassFinding>,
    /// The index of the most probable class.
    pub winner: usize,
    /// The source slice that speaks most for the winner; the key image.
    pub key_slice: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFinding {
    pub name: String,
    pub code: Code,
    pub normal: bool,
    pub probability: f64,
}

/// The answer for one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub probability: f64,
    /// 1 where the probability is at least the threshold.
    pub label: u8,
    pub threshold: f64,
    /// Values that are missing or outside their declared range, in words.
    pub warnings: Vec<String>,
}
