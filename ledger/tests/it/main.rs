//! Every promise of the ledger, tried on SQLite and on PostgreSQL.

#[path = "../support/database.rs"]
mod database;
#[path = "../support/examples.rs"]
mod examples;

mod audit;
mod batches;
mod claims;
mod deeds;
mod events;
mod evidence;
mod idempotency;
mod intake;
mod jobs;
mod leases;
mod opening;
mod outbox;
mod owed_reports;
mod people;
mod predictions;
mod recipients;
mod releases;
mod retention;
mod schema;
mod segmentation_requests;
mod throughput;
mod wanted_again;
