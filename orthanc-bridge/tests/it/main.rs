//! The bridge against a real Orthanc, with a real ledger and spool.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]

mod hooks;
mod intake;
mod uploads;
mod world;
