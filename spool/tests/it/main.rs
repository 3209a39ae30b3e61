//! What the spool promises, tried from outside.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]

mod conflicts;
mod crashes;
mod house;
mod journal;
mod keeping;
