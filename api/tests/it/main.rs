//! The API from outside: requests in, answers out, over a real ledger and a real spool.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod forge;
mod log;
mod seed;

mod access;
mod artifacts;
mod bad_bodies;
mod batches;
mod compat_gateway;
mod compat_imaging;
mod compat_model_server;
mod compat_multimodal;
mod compat_workers;
mod contracts;
mod drift;
mod errors;
mod events;
mod export;
mod hooks;
mod idempotency;
mod keys;
mod oidc;
mod openapi;
mod orthanc_proxy;
mod paging;
mod parameters;
mod people;
mod predict;
mod privacy;
mod probes;
mod recipients;
mod retrainings;
mod reviews;
mod sign_in;
mod syslog;
mod trail;
mod transport;
mod upload;
mod work;
