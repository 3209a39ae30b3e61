//! The pipeline with a real ledger, a real spool, a real model and real archives.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]

mod commitment;
mod delivery;
mod echo;
mod flow;
mod forms;
mod fusion;
mod fusion_parts;
mod notices;
#[allow(dead_code, reason = "other tests use more of it")]
mod phantom;
mod policy;
mod read_once;
mod review;
mod superseding;
mod unplaced;
mod world;
