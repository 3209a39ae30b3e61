//! Opens the ledger that the configuration names.

use anyhow::Context;
use ledger::{AuditKey, Ledger};
use time::UtcOffset;

use crate::{
    config::{Config, Durability},
    data_dir::DataDir,
};

/// # Errors
/// One sentence: what is wrong with the database, and what to do.
pub(crate) async fn open_ledger(config: &Config) -> anyhow::Result<Ledger> {
    let durability = match config.dicom.durability {
        Durability::Power => ledger::Durability::Power,
        Durability::Process => ledger::Durability::Process,
    };
    Ledger::open(&config.database_url(), durability).await.context("cannot open the database")
}

/// Adds the calls that a service which was killed has left to the audit trail; one that runs sees to it by itself.
/// Before any other row: after a power cut the trail is as it was before only in the order of before.
///
/// # Errors
/// When the journal of calls or the database fails.
pub(crate) async fn add_left_calls(ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
    let data_dir = DataDir::open(&config.data_dir)?;
    let Ok(_lock) = data_dir.lock() else { return Ok(()) };
    let key = AuditKey::new(data_dir.key("audit")?);
    ledger.add_left_calls(&data_dir.call_journal(), &key).await.context("cannot use the journal of calls")
}

/// A runtime for one command.
///
/// # Errors
/// When the operating system gives no threads, or the work fails.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run_on(tokio::runtime::Builder::new_multi_thread().worker_threads(2), work)
}

/// A runtime for the service.
///
/// # Errors
/// When the operating system gives no threads, or the work fails.
pub(crate) fn block_on_all_cores<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run_on(&mut tokio::runtime::Builder::new_multi_thread(), work)
}

fn run_on<T>(
    builder: &mut tokio::runtime::Builder,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    builder.enable_all().build().context("cannot start the asynchronous runtime")?.block_on(work)
}

/// The zone in which results state their dates, as the system's `date` tells it; UTC when it does not.
pub(crate) fn local_offset() -> UtcOffset {
    let told = std::process::Command::new("date").arg("+%z").output().ok();
    told.and_then(|output| parse_offset(std::str::from_utf8(&output.stdout).ok()?)).unwrap_or(UtcOffset::UTC)
}

/// `+0930` and the like.
fn parse_offset(text: &str) -> Option<UtcOffset> {
    let text = text.trim();
    let (hours, minutes) = (text.get(..3)?.parse().ok()?, text.get(3..)?.parse::<i8>().ok()?);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    UtcOffset::from_hms(hours, sign * minutes, 0).ok()
}

/// Who acts, for the events of what a command changes.
pub(crate) fn actor() -> String {
    format!("command line, user id {}", rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_date_prints_them() {
        for (text, seconds) in [("+0000\n", 0), ("+0930", 34_200), ("-0330", -12_600), ("-0030", -1800)] {
            assert_eq!(parse_offset(text).map(UtcOffset::whole_seconds), Some(seconds), "{text}");
        }
        assert_eq!(parse_offset("CET"), None);
    }
}
