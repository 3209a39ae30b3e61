//! Turns findings into DICOM segmentations, structured reports and notes; pure, bytes in and bytes out.
//!
//! Each function takes the headers of the source series and what a model found in
//! it, and gives back whole Part 10 files. The same input gives the same bytes: UIDs
//! come from [`Identity`], dates from [`Production::written_at`], nothing from a clock
//! or a random generator. Patient, study and frame of reference are copied from the
//! source; plane positions are copied as the text that the source has.
//!
//! Nothing here reads pixel data, sends, stores, or decides whether a result may leave.

mod color;
mod concepts;
mod context;
mod dataset;
mod deidentify;
mod description;
mod encoded;
mod error;
mod finding;
mod follow_up;
mod heatmap;
mod identity;
mod labels_file;
mod parametric_map;
mod picture;
mod production;
mod report;
mod segment;
mod segmentation;
mod source;
mod summary;
mod validate;

pub use deidentify::{DEIDENTIFICATION_METHOD, NotDeidentified, Pseudonyms, deidentify};
pub use description::{Description, DescriptionError};
pub use encoded::{Encoded, Reference};
pub use error::EncodeError;
pub use finding::{ClassProbability, Classification, Finding, Measurement, Point, Quantity, SegmentFinding};
pub use follow_up::{
    Correction, FollowUp, Observer, Rejection, RejectionReason, Review, Superseded, corrected_report,
    rejection, rejection_note, superseding_note, verified_report, withdrawal_note,
};
pub use heatmap::{HeatmapInput, heatmap};
pub use identity::{Identity, Role};
pub use labels_file::{LabelsFileError, open_labels, open_nifti};
pub use parametric_map::{ParametricMapInput, parametric_map};
pub use production::{
    Algorithm, Background, Compression, DEMONSTRATION_NOTICE, EmptyFrames, IntendedUse, Packing, Production,
    Profile, SegmentationType,
};
pub use report::{ReportInput, report};
pub use segment::{AlgorithmType, Segment};
pub use segmentation::{
    LabelPlane, LabelPlanes, Segmentation, SegmentationInput, segmentation, segmentation_of_planes,
};
pub use source::{Measures, Plane, Source, SourceError, SourceFrame, SourceInstance};
pub use summary::{SummaryInput, summary};
pub use validate::{Violation, validate};
