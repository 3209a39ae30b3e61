//! The whole product from outside: the real binary, real senders, real archives, the public API alone.

mod audit;
mod command;
mod commitment;
mod delivery;
mod demo;
mod doors;
mod faults;
mod first_login;
mod fusion;
mod hostile_http;
mod notices;
mod openapi;
mod orthanc;
mod packages;
#[allow(dead_code, clippy::unwrap_used, reason = "the tests of the pipeline use more of it")]
#[path = "../../pipeline/tests/it/phantom.rs"]
mod phantom;
mod recover;
mod refusals;
mod review;
mod route;
mod running;
mod service;
mod study;
mod viewer;
