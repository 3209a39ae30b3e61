//! Turns volumes and rows into findings by running model packages; knows no network, no SQL, no DICOM object.

mod classify;
mod cleanup;
mod contributions;
mod control;
mod deidentified;
mod device;
mod error;
mod explain;
pub mod expression;
mod findings;
mod fitness;
mod forest;
mod graph;
mod image;
mod measures;
mod model;
pub mod npy;
mod onnx;
pub mod package;
mod pieces;
mod predict;
mod projection;
mod registry;
mod routing;
mod runtime;
mod segment;
mod selftest;
mod series;
mod slices;
mod sliding;

pub use contributions::{Contributions, NotExplained};
pub use control::{Cancelled, Control, Urgency};
pub use deidentified::{Deidentified, deidentify};
pub use device::{Device, NotADevice};
pub use error::InferenceError;
pub use findings::{
    BoundingBox, ClassFinding, ClassificationFindings, Classified, Diameter, Findings, Heatmap, Measures,
    Outcome, Prediction, SegmentFinding, Segmentation, SegmentationFindings,
};
pub use forest::Scale;
pub use graph::GraphError;
pub use model::{Model, ModelError};
pub use package::{ModelId, Package, PackageError, Version};
pub use predict::Row;
pub use registry::{Demonstrations, HeldBack, Refused, Registry, RegistryError, RegistryOptions, Reloaded};
pub use routing::{Mismatch, SeriesFacts};
pub use runtime::{Runtime, RuntimeError};
pub use selftest::SelfTestError;
