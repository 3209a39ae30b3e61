//! What a report can say: measured segments, classes with probabilities, nothing found, not analysed.

use imaging::Code;

use crate::{Reference, Segment};

/// One statement of the report; a report has at least one.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A segment that is there, with its measurements (TID 1411).
    Segment(SegmentFinding),
    /// A label that was looked for and not found (TID 1501, "Absent").
    Absent(Segment),
    /// A class with its probability (TID 1501).
    Classification(Classification),
    /// The model did not look at the series, and why.
    NotAnalysed { reason: String },
}

/// Measurements of one segment of a SEG.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentFinding {
    pub segment: Segment,
    /// The SEG that holds it and its Segment Number there; none when no SEG is written.
    pub segmentation: Option<(Reference, u16)>,
    /// A voxel inside the segment on its largest slice: viewers draw the measurements there.
    pub point: Point,
    pub measurements: Vec<Measurement>,
}

/// A voxel of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Index of the frame in [`crate::Source::frames`].
    pub frame: usize,
    pub row: u32,
    pub column: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub quantity: Quantity,
    pub value: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    /// In millilitres.
    Volume,
    /// Longest diameter on a slice, in millimetres.
    LongestDiameter,
    /// Longest diameter perpendicular to it, in millimetres.
    PerpendicularDiameter,
    /// Statistics of the source's values in the segment, in the source's unit.
    Mean,
    StandardDeviation,
    Minimum,
    Maximum,
    /// Anything else, with a UCUM unit.
    Other {
        name: Code,
        unit: Code,
    },
}

/// The answer of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// Tells apart several questions of one model; part of the tracking UID.
    pub id: String,
    /// What was asked, for example `(121071, DCM, "Finding")`.
    pub question: Code,
    pub classes: Vec<ClassProbability>,
    /// Index in `classes` of the answer.
    pub chosen: usize,
    pub threshold: Option<f64>,
    /// How probabilities were calibrated.
    pub calibration: Option<String>,
    pub region: Option<Code>,
    /// Where the answer comes from, for example the hottest pixel; the middle of the series when unknown.
    pub point: Option<Point>,
    /// The picture that explains the answer.
    pub heatmap: Option<Reference>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClassProbability {
    pub class: Code,
    pub probability: f64,
}
