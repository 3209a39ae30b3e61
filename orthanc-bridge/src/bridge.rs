//! Follows every Orthanc that a site names as a source.
//!
//! One task for each: hints of the Lua script are the fast way, the change log is the
//! truth. An Orthanc that is down is tried again for ever, with growing pauses; the others
//! go on meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ledger::{Ledger, Millis};
use spool::Spool;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::{
    connection::{Connection, ConnectionError},
    feed::{self, Feed},
    hook::{self, Hint, HookError},
    intake::{Intake, IntakeError, Process},
    orthanc::Orthanc,
    proxy::Proxy,
};

/// Lines of the change log that are read at once.
const CHANGES_MAX: u32 = 1000;
/// Hints that may wait; one that finds no room is lost, as the change log has it too.
const HINTS_MAX: usize = 256;
/// The longest pause between two tries to reach an Orthanc.
const PAUSE_MAX: Duration = Duration::from_secs(60);

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
            let follower = Follower {
                cursor: format!("orthanc/{}/changes", source.name),
                intake,
                poll: source.poll,
                hinted,
                status,
            };
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

/// The task that follows one Orthanc.
struct Follower {
    /// Where the ledger keeps the position.
    cursor: String,
    intake: Intake,
    poll: Duration,
    hinted: mpsc::Receiver<Hint>,
    status: watch::Sender<SourceStatus>,
}

impl Follower {
    async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut failures = 0_u32;
            loop {
                match self.follow(&mut failures).await {
                    Ok(never) => match never {},
                    Err(error) => self.note_failure(&error, failures),
                }
                failures = failures.saturating_add(1);
                let pause = Duration::from_secs(1 << failures.min(10)).min(PAUSE_MAX).max(self.poll);
                tokio::time::sleep(pause).await;
            }
        };
        // What is under way may be cut off anywhere: it is taken up again at the next start.
        shutdown.run_until_cancelled(work).await;
    }

    fn note_failure(&self, error: &IntakeError, failures: u32) {
        let text = chain(error);
        if failures == 0 {
            warn!(error = %text, "cannot take in from Orthanc {}", self.intake.source);
        }
        metrics::gauge!("overread_orthanc_source_up", "source" => self.intake.source.clone()).set(0.0);
        self.status.send_modify(|status| status.failure = Some(text));
    }

    fn note_success(&self) {
        let was_down = self.status.borrow().failure.is_some();
        if was_down {
            info!("Orthanc {} answers again", self.intake.source);
        }
        metrics::gauge!("overread_orthanc_source_up", "source" => self.intake.source.clone()).set(1.0);
        self.status.send_modify(|status| {
            *status = SourceStatus { reached_at: Some(Millis::now().0), failure: None }
        });
    }

    /// Follows until something fails.
    async fn follow(&mut self, failures: &mut u32) -> Result<std::convert::Infallible, IntakeError> {
        let mut feed = Feed::from(self.start_position().await?);
        let mut kept = feed.durable_position();
        let mut ticks = tokio::time::interval_at(Instant::now(), self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.read_changes(&mut feed).await?,
                Some(hint) = self.hinted.recv() => self.follow_hint(&mut feed, hint).await?,
            }
            self.settle(&mut feed).await?;
            if feed.durable_position() != kept {
                kept = feed.durable_position();
                self.intake.ledger.set_cursor(&self.cursor, &kept.to_string(), Millis::now()).await?;
            }
            self.note_success();
            *failures = 0;
        }
    }

    /// Where the last run stopped; at the very first start the present: an archive of years
    /// is not to be worked through because somebody named it as a source.
    async fn start_position(&self) -> Result<i64, IntakeError> {
        let newest = self.intake.orthanc.last_change().await?;
        let kept = self.intake.ledger.cursor(&self.cursor).await?;
        let position = match kept.and_then(|cursor| cursor.value.parse::<i64>().ok()) {
            Some(position) if position <= newest => position,
            Some(position) => {
                // Its log is shorter than what was read of it: another database, from its beginning.
                warn!(position, newest, "Orthanc {} has begun a new change log", self.intake.source);
                0
            }
            None => {
                self.intake.ledger.set_cursor(&self.cursor, &newest.to_string(), Millis::now()).await?;
                newest
            }
        };
        Ok(position)
    }

    async fn read_changes(&self, feed: &mut Feed) -> Result<(), IntakeError> {
        loop {
            let changes = self.intake.orthanc.changes(feed.position(), CHANGES_MAX).await?;
            let touched = self.intake.orthanc.studies_of(&feed::touching(&changes.changes)).await?;
            feed.advance(changes.last, touched);
            if changes.done || changes.changes.is_empty() && changes.last <= feed.position() {
                return Ok(());
            }
        }
    }

    async fn follow_hint(&self, feed: &mut Feed, hint: Hint) -> Result<(), IntakeError> {
        match hint {
            Hint::Study(id) => {
                if self.intake.study(&id).await? {
                    feed.settled(&id);
                }
            }
            Hint::Series(id) => self.intake.series(&id).await?,
        }
        Ok(())
    }

    /// Fetches what has become stable of the studies that changed.
    async fn settle(&self, feed: &mut Feed) -> Result<(), IntakeError> {
        for study in feed.unsettled() {
            if self.intake.study(&study).await? {
                feed.settled(&study);
            }
        }
        Ok(())
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
