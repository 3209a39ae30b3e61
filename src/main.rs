//! The binary `overread`: command line, configuration and wiring; no logic.

mod anchors;
mod cli;
mod config;
mod data_dir;
mod demo;
mod exit;
mod findings;
mod first_login;
mod logging;
mod nifti;
mod picture;
mod serve;
mod service;
mod store;
mod volume_file;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // One provider for every TLS connection of the process; a second install is refused
    // and harmless.
    rustls::crypto::ring::default_provider().install_default().ok();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            failure.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a failed command belongs on standard error")]
fn complain(failure: &exit::Failure) {
    eprintln!("overread: {failure}");
}
