//! `overread send`: files and folders to a DICOM node.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use scp::{SendEvent, SendOptions, SendReport};
use serde_json::json;

use super::{JsonFlag, Output, peer::PeerArgs, terminal};
use crate::{config::Config, exit::Failure};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  overread send 127.0.0.1:11112 study/
  overread send pacs.example:104 --called PACS --associations 4 a.dcm b.dcm folder/")]
pub(crate) struct SendArgs {
    #[command(flatten)]
    peer: PeerArgs,
    /// Files, and folders with everything below them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Associations at once.
    #[arg(long, default_value_t = 1)]
    associations: usize,
    /// Further tries of a file after a failure that may pass.
    #[arg(long, default_value_t = 3)]
    retries: u32,
    #[command(flatten)]
    json: JsonFlag,
}

pub(crate) fn run(args: SendArgs, config: &Config) -> Result<(), Failure> {
    let mut options = SendOptions::new(args.peer.options(config)?);
    options.associations = args.associations.max(1);
    options.retries = args.retries;
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Failure::sentence("there are no files to send"));
    }
    let bar = terminal::bar(files.len() as u64, "sending");
    let report = scp::send(files, &options, &|event| match event {
        SendEvent::Stored { .. } | SendEvent::Failed { .. } => bar.inc(1),
        SendEvent::Postponed { reason, .. } => bar.set_message(format!("again: {reason}")),
    });
    bar.finish_and_clear();
    show(&report, args.json.output());
    match report.failed.len() {
        0 => Ok(()),
        failed => {
            Err(Failure::sentence(format!("{failed} of {} files were not sent", failed + report.stored)))
        }
    }
}

fn show(report: &SendReport, output: Output) {
    let reason = |error: &scp::SendFailure| {
        // One line with the causes.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    };
    match output {
        Output::Text => {
            for (path, error) in &report.failed {
                terminal::line(&format!("not sent: {}: {}", path.display(), reason(error)));
            }
            terminal::line(&format!("sent {} files", report.stored));
        }
        Output::Json => {
            let failed: Vec<_> = report
                .failed
                .iter()
                .map(|(path, error)| json!({ "file": path, "reason": reason(error) }))
                .collect();
            terminal::line(&json!({ "sent": report.stored, "failed": failed }).to_string());
        }
    }
}

/// The files below `path`, in the order of their names.
pub(crate) fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let context = || format!("cannot read {}", path.display());
    if !std::fs::metadata(path).with_context(context)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(context)?;
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(context)?;
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, files))
}
