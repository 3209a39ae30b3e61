//! What the tests stand on: ledger and spool in a folder, a bridge that can be stopped and started.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use imaging::{Header, StudyUid};
use ledger::{BootId, Ledger, NodeId};
use orthanc_bridge::{Bridge, BridgeHandle, Connection, Process, SourceConfig};
use peers::Orthanc;
use spool::{Spool, SpoolConfig};
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "a secret of the tests";

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    // Last: the folder goes after what uses it.
    _folder: tempfile::TempDir,
}

pub(crate) struct Running {
    pub(crate) handle: BridgeHandle,
    bridge: Bridge,
    shutdown: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("overread-bridge").tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url, ledger::Durability::Process).await.unwrap();
        let config = SpoolConfig {
            durability: spool::Durability::Process,
            min_free_bytes: 0,
            journal_bytes: 48 << 20,
            ..SpoolConfig::new(folder.path().join("spool"), folder.path().join("quarantine"))
        };
        Self { ledger, spool: Spool::open(config).unwrap(), _folder: folder }
    }

    pub(crate) fn follow(&self, sources: Vec<SourceConfig>) -> Running {
        let shutdown = CancellationToken::new();
        let process = Process { node: NodeId::new("test"), boot: BootId::new("one") };
        let bridge = Bridge::start(sources, &self.ledger, &self.spool, &process, &shutdown).unwrap();
        Running { handle: bridge.handle(), bridge, shutdown }
    }

    /// Follows one Orthanc, from now on.
    pub(crate) async fn follow_one(&self, orthanc: &Orthanc) -> Running {
        let running = self.follow(vec![source("main", &orthanc.url())]);
        eventually("the bridge follows", async || running.handle.status()["main"].reached_at.is_some()).await;
        running
    }

    pub(crate) async fn instances(&self, study: &StudyUid) -> u64 {
        self.ledger.study(study).await.unwrap().map_or(0, |row| row.instance_count)
    }

    /// Waits until every series of the study is stable with so many instances in all.
    pub(crate) async fn wait_for_stable(&self, study: &StudyUid, instances: u64) {
        eventually("the study is stable", async || {
            let evidence = self.ledger.evidence(study).await.unwrap();
            evidence.is_some_and(|evidence| {
                evidence.study.instance_count == instances
                    && evidence.series.iter().all(ledger::SeriesEvidence::is_stable)
            })
        })
        .await;
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.bridge.stopped().await;
    }
}

pub(crate) fn source(name: &str, url: &str) -> SourceConfig {
    SourceConfig {
        name: name.to_owned(),
        connection: Connection::to(url).unwrap(),
        webhook_secret: Some(SECRET.to_owned()),
        poll: Duration::from_millis(200),
    }
}

/// Asks again and again until `holds`; far longer than it takes on a busy machine.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A real MR series of 35 slices, unpacked once.
pub(crate) fn series() -> &'static [PathBuf] {
    static SERIES: OnceLock<(tempfile::TempDir, Vec<PathBuf>)> = OnceLock::new();
    let (_, files) = SERIES.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("overread-series").tempdir().unwrap();
        let packed = peers::workspace().join("tests/data/mr-brain/siemens-prisma-t1-sag2d.tar.xz");
        let unpacked = Command::new("tar").arg("xJf").arg(packed).arg("-C").arg(folder.path()).status();
        assert!(unpacked.unwrap().success(), "tar cannot unpack the series");
        let mut files = Vec::new();
        collect(folder.path(), &mut files);
        files.sort();
        (folder, files)
    });
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

pub(crate) fn study_of(file: &Path) -> StudyUid {
    Header::read_file(file).unwrap().study
}
