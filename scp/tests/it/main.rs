//! The listener and the sender against independent peers, bad data, and violent deaths.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]
#![allow(clippy::print_stderr, reason = "the listener's log belongs to a failed test's output")]

mod abuse;
mod answers;
mod conformance;
mod faults;
mod limits;
mod negotiation;
mod peers;
mod reconcile;
mod rows;
mod sending;
mod service;
mod statuses;
mod tls;
mod wire;
