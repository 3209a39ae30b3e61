//! The API from outside: requests in, answers out, over a real ledger and a real spool.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod forge;
mod log;
mod seed;

mod access;
mod artifacts;
mod bad_bodies;
mod compat_gateway;
mod compat_imaging;
mod compat_model_server;
mod errors;
mod events;
mod hooks;
mod keys;
mod openapi;
mod paging;
mod people;
mod predict;
mod privacy;
mod probes;
mod reviews;
mod sign_in;
mod trail;
mod transport;
mod upload;
mod work;
