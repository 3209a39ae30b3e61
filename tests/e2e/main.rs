//! The whole product from outside: the real binary, real senders, real archives, the public API alone.

mod command;
mod delivery;
mod recover;
mod refusals;
mod running;
mod service;
mod study;
mod viewer;
