//! `overread config` and `overread version`.

use anyhow::Context;
use clap::Args;

use super::{JsonFlag, Output, terminal};
use crate::{
    config::{Config, DEFAULT_FILE},
    exit::Failure,
};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Prints the commented default file instead, to start one's own from.
    #[arg(long, conflicts_with = "json")]
    default: bool,
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn config(args: ConfigArgs, config: &Config) -> Result<(), Failure> {
    if args.default {
        terminal::print(DEFAULT_FILE);
        return Ok(());
    }
    let text = match args.json.output() {
        Output::Text => toml::to_string_pretty(config).context("cannot print the configuration")?,
        Output::Json => {
            serde_json::to_string_pretty(config).context("cannot print the configuration")? + "\n"
        }
    };
    terminal::print(&text);
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn version(args: VersionArgs) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match args.json.output() {
        Output::Text => terminal::line(&format!("overread {version}")),
        Output::Json => {
            terminal::line(&serde_json::json!({ "name": "overread", "version": version }).to_string());
        }
    }
    Ok(())
}
