//! Starts the real programs that the tests run against; for tests only.
//!
//! A program that is missing fails the test with the name of the package that has it:
//! a test that skips itself proves nothing. Each peer gets a folder and ports of its own and
//! ends with its value.

mod http;
mod orthanc;
mod postgres;
mod process;
mod tool;

pub use http::{Answer, Http};
pub use orthanc::{Orthanc, OrthancOptions};
pub use postgres::Postgres;
pub use process::{Guarded, free_port, mortal, wait_until};
pub use tool::{dcmtk, onnxruntime, program, python, workspace};
