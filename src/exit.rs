//! How the program ends when it could not do what was asked: one sentence and an exit code.

use std::{fmt, process::ExitCode};

/// A command that could not be carried out. Printed as one line, without a backtrace.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    sentence: String,
}

/// The work failed.
const FAILED: u8 = 1;
/// Refused before anything was started: the command line or the configuration (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

impl Failure {
    pub(crate) fn configuration(error: impl fmt::Display) -> Self {
        Self { code: USAGE, sentence: format!("cannot use the configuration: {error}") }
    }

    /// Flags that contradict each other.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self { code: USAGE, sentence: sentence.into() }
    }

    /// What was being done, then why it failed with all causes, in one line.
    pub(crate) fn new(error: &anyhow::Error) -> Self {
        Self { code: FAILED, sentence: format!("{error:#}") }
    }

    pub(crate) fn sentence(sentence: impl Into<String>) -> Self {
        Self { code: FAILED, sentence: sentence.into() }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(&error)
    }
}
