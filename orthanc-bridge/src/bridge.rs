//! Follows every Orthanc that a site names as a source.
//!
//! One task for each: hints of the Lua script are the fast way, the change log is the
//! truth. An Orthanc that is down is tried again for ever, with growing pauses; the others
//! go on meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ledger::Ledger;
use spool::Spool;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use crate::{
    connection::{Connection, ConnectionError},
    follower::Follower,
    hook::{self, Hint, HookError},
    intake::{Intake, Process},
    orthanc::Orthanc,
    proxy::Proxy,
};

/// Hints that may wait; one that finds no room is lost, as the change log has it too.
const HINTS_MAX: usize = 256;

/// An Orthanc from which studies are taken.
#[derive(Clone)]
pub struct SourceConfig {
    pub name: String,
    pub connection: Connection,
    /// The bearer token that the Lua script sends. Without one no webhook is accepted.
    pub webhook_secret: Option<String>,
    /// How often the change log is read.
    pub poll: Duration,
}

impl std::fmt::Debug for SourceConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SourceConfig")
            .field("name", &self.name)
            .field("connection", &self.connection)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

/// Whether an Orthanc answers, for `/ready`, `doctor` and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SourceStatus {
    /// When its change log was last read, unix milliseconds.
    pub reached_at: Option<i64>,
    /// Why it cannot be read now.
    pub failure: Option<String>,
}

/// The running bridge. Clones are handles of one.
#[derive(Clone, Debug)]
pub struct BridgeHandle {
    sources: Arc<BTreeMap<String, SourceHandle>>,
}

#[derive(Debug)]
struct SourceHandle {
    secret: Option<String>,
    proxy: Proxy,
    hints: mpsc::Sender<Hint>,
    status: watch::Receiver<SourceStatus>,
}

/// The tasks of the bridge.
#[derive(Debug)]
pub struct Bridge {
    tasks: JoinSet<()>,
    handle: BridgeHandle,
}

impl Bridge {
    /// Starts following `sources` until `shutdown`.
    ///
    /// # Errors
    /// A certificate of a source cannot be used. An Orthanc that is down is no error.
    pub fn start(
        sources: Vec<SourceConfig>,
        ledger: &Ledger,
        spool: &Spool,
        process: &Process,
        shutdown: &CancellationToken,
    ) -> Result<Self, ConnectionError> {
        let mut tasks = JoinSet::new();
        let mut handles = BTreeMap::new();
        for source in sources {
            let orthanc = Orthanc::new(source.connection.clone())?;
            let proxy = Proxy::new(source.connection.clone())?;
            let (hints, hinted) = mpsc::channel(HINTS_MAX);
            let (status, seen) = watch::channel(SourceStatus::default());
            let intake = Intake {
                source: source.name.clone(),
                orthanc,
                ledger: ledger.clone(),
                spool: spool.clone(),
                process: process.clone(),
            };
            let follower = Follower::new(intake, source.poll, hinted, status);
            let span = info_span!("source", source.name = %source.name);
            tasks.spawn(follower.run(shutdown.clone()).instrument(span));
            let handle = SourceHandle { secret: source.webhook_secret, proxy, hints, status: seen };
            handles.insert(source.name, handle);
        }
        Ok(Self { tasks, handle: BridgeHandle { sources: Arc::new(handles) } })
    }

    #[must_use]
    pub fn handle(&self) -> BridgeHandle {
        self.handle.clone()
    }

    /// Waits until every task has ended, which they do after the shutdown was asked for.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a task of the Orthanc bridge ended badly");
            }
        }
    }
}

impl BridgeHandle {
    /// Takes a call of the Lua script: `bearer` is the token of its `Authorization` header.
    ///
    /// # Errors
    /// The caller is not the script of this source, or says something else.
    pub fn webhook(&self, source: &str, bearer: Option<&str>, body: &[u8]) -> Result<(), HookError> {
        let source = self.sources.get(source).ok_or(HookError::NoSuchSource)?;
        let hint = hook::read(source.secret.as_deref(), bearer, body)?;
        if source.hints.try_send(hint).is_err() {
            metrics::counter!("overread_orthanc_hints_dropped_total").increment(1);
        }
        Ok(())
    }

    /// A way to the source of that name; without a name to the only one.
    #[must_use]
    pub fn proxy(&self, source: Option<&str>) -> Option<&Proxy> {
        let source = match source {
            Some(name) => self.sources.get(name)?,
            None if self.sources.len() == 1 => self.sources.values().next()?,
            None => return None,
        };
        Some(&source.proxy)
    }

    /// Each source by name, with what is known of it.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, SourceStatus> {
        self.sources.iter().map(|(name, source)| (name.clone(), source.status.borrow().clone())).collect()
    }
}
