//! The crate against real files, against what other software makes of them, and against
//! files that mean harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_files;
mod builder;
mod charsets;
mod data;
mod geometry;
mod headers;
mod hostile;
mod real_series;
mod stacking;
mod syntaxes;
