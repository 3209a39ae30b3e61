//! `overread echo`: does a DICOM node answer?

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{JsonFlag, Output, peer::PeerArgs, terminal};
use crate::{config::Config, exit::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  overread echo 127.0.0.1:11112\n  overread echo pacs.example:104 --called PACS --calling OVERREAD"
)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn run(args: EchoArgs, config: &Config) -> Result<(), Failure> {
    let peer = args.peer.options(config)?;
    let answered = scp::echo(&peer).with_context(|| format!("no echo from {}", args.peer.address()))?;
    let milliseconds = answered.as_secs_f64() * 1000.0;
    match args.json.output() {
        Output::Text => terminal::line(&format!("{} answered in {milliseconds:.1} ms", args.peer.address())),
        Output::Json => {
            terminal::line(
                &json!({ "address": args.peer.address(), "milliseconds": milliseconds }).to_string(),
            );
        }
    }
    Ok(())
}
