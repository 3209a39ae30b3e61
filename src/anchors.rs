//! Ends of the audit trail, noted outside the database: one line each in a file of the data
//! folder, which only grows. Whoever can write to the database alone can cut the trail's
//! tail off, or write all of it anew, but not so that it fits these lines.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use anyhow::{Context, bail};
use ledger::{AuditHead, Ledger, Millis};
use tracing::{info, warn};

/// Lines are `row number`, `MAC` and unix milliseconds, for people and for `overread audit verify`.
const FILE: &str = "audit-anchors";

/// The file of one data folder.
#[derive(Debug, Clone)]
pub(crate) struct Anchors {
    file: PathBuf,
}

impl Anchors {
    pub(crate) fn of(data_dir: &std::path::Path) -> Self {
        Self { file: data_dir.join(FILE) }
    }

    /// All ends that were noted, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it was changed.
    pub(crate) fn read(&self) -> anyhow::Result<Vec<AuditHead>> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.file.display())),
        };
        // A line that was cut off by a crash has no end yet and anchors nothing.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| self.parse(line)).collect()
    }

    fn parse(&self, line: &str) -> anyhow::Result<AuditHead> {
        let mut words = line.split_ascii_whitespace();
        match (words.next().and_then(|word| word.parse().ok()), words.next()) {
            (Some(seq), Some(mac)) => Ok(AuditHead { seq, mac: mac.to_owned() }),
            _ => bail!("{} has a line that is no anchor: {line:?}", self.file.display()),
        }
    }

    /// Notes the trail's end if it has moved since the last time.
    pub(crate) async fn note(&self, ledger: &Ledger, last: &mut Option<AuditHead>) {
        let head = match ledger.audit_head().await {
            Ok(Some(head)) if Some(&head) != last.as_ref() => head,
            Ok(_) => return,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot anchor the audit trail");
                return;
            }
        };
        match self.append(&head) {
            Ok(()) => {
                info!(seq = head.seq, mac = head.mac, "the audit trail ends with row {}", head.seq);
                *last = Some(head);
            }
            Err(error) => warn!(error = %format!("{error:#}"), "cannot anchor the audit trail"),
        }
    }

    fn append(&self, head: &AuditHead) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.file)?;
        file.write_all(format!("{} {} {}\n", head.seq, head.mac, Millis::now()).as_bytes())?;
        file.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let anchors = Anchors::of(folder.path());
        assert_eq!(anchors.read().unwrap(), []);
        let head = |seq, mac: &str| AuditHead { seq, mac: mac.to_owned() };
        anchors.append(&head(3, "ab")).unwrap();
        anchors.append(&head(9, "cd")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&anchors.file).unwrap();
        file.write_all(b"12 e").unwrap();
        assert_eq!(anchors.read().unwrap(), [head(3, "ab"), head(9, "cd")]);
        std::fs::write(&anchors.file, "not an anchor\n").unwrap();
        assert!(anchors.read().unwrap_err().to_string().contains("no anchor"));
    }
}
