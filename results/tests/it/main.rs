//! What other implementations make of the objects that are written here.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod archive;
mod follow_up;
mod heatmap;
mod labels_file;
mod probabilities;
mod profiles;
mod programs;
mod real;
mod report;
mod segmentation;
mod sources;
mod summary;
mod validator;
