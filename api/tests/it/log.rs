//! Everything that the whole test run logs, searched for what no log may hold.

use std::{
    io,
    sync::{Mutex, Once},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::seed;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Collects the log of this process, in all detail of our own crates, from now on.
pub(crate) fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter =
            EnvFilter::new("debug,api=trace,ledger=trace,pipeline=trace,spool=trace,tower_http=trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Lines).init();
    });
}

/// Called when a test ends: what all tests have logged since the last call is free of secrets and
/// of patients.
pub(crate) fn holds_no_secret() {
    let lines = std::mem::take(&mut *LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let text = String::from_utf8_lossy(&lines);
    // A JWT begins with these letters; the passwords of all test accounts with those.
    let secrets = [seed::PATIENT_NAME, seed::PATIENT_ID, seed::ACCESSION, "eyJ", "the password of"];
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret:?} stands in the log: {line:?}");
    }
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

#[test]
fn the_collected_log_is_searched_and_not_empty() {
    collect();
    // Another test may empty the log in between, not a hundred times.
    let is_collected = |number: u32| {
        let line = format!("line {number} of the test itself");
        tracing::info!("{line}");
        String::from_utf8_lossy(&LINES.lock().unwrap()).contains(&line)
    };
    assert!((0..100).any(is_collected));
}
