//! Log lines: for people on a terminal, JSON elsewhere. They never carry patient data.

use std::{io::IsTerminal, path::Path};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Starts writing log lines to standard error.
///
/// # Errors
/// When `log.filter` is no filter.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    start_into(log, None)
}

/// Starts writing log lines to `file`, as JSON.
///
/// # Errors
/// When `log.filter` is no filter, or the file cannot be written.
pub(crate) fn start_in_file(log: &Log, file: &Path) -> anyhow::Result<()> {
    start_into(log, Some(file))
}

fn start_into(log: &Log, file: Option<&Path>) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&log.filter).with_context(|| {
        format!(
            "log.filter is {:?}; expected a level such as info, or parts such as info,scp=debug",
            log.filter
        )
    })?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    if let Some(file) = file {
        let open = std::fs::File::options().create(true).append(true).open(file);
        let open = open.with_context(|| format!("cannot write the log {}", file.display()))?;
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::sync::Mutex::new(open)))
            .init();
    } else if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
    } else {
        let ansi = std::io::stderr().is_terminal();
        registry.with(fmt::layer().compact().with_ansi(ansi).with_writer(std::io::stderr)).init();
    }
    Ok(())
}
