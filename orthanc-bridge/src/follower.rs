//! Follows one Orthanc: hints of its script, and its change log, which is the truth.

use std::{collections::BTreeMap, time::Duration};

use ledger::Millis;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    bridge::SourceStatus,
    chain::chain,
    feed::{self, Feed},
    hook::Hint,
    intake::{Intake, IntakeError},
    orthanc::OrthancId,
};

/// Lines of the change log that are read at once.
const CHANGES_MAX: u32 = 1000;
/// The longest pause between two tries to reach an Orthanc.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The same for a study that Orthanc cannot give.
const STUMBLE_PAUSE_MAX: Duration = Duration::from_secs(600);

/// Between two questions for damaged instances that Orthanc does not have.
const AGAIN_PAUSE: Duration = Duration::from_secs(30);

/// A study that could not be taken in.
struct Stumble {
    failures: u32,
    again_at: Instant,
}

/// The task that follows one Orthanc.
pub(crate) struct Follower {
    /// Where the ledger keeps the position.
    cursor: String,
    intake: Intake,
    poll: Duration,
    hinted: mpsc::Receiver<Hint>,
    status: watch::Sender<SourceStatus>,
    stumbled: BTreeMap<OrthancId, Stumble>,
    /// When it may be asked again for what was damaged on our disk.
    ask_again_at: Instant,
}

impl Follower {
    pub(crate) fn new(
        intake: Intake,
        poll: Duration,
        hinted: mpsc::Receiver<Hint>,
        status: watch::Sender<SourceStatus>,
    ) -> Self {
        let cursor = format!("orthanc/{}/changes", intake.source);
        Self { cursor, intake, poll, hinted, status, stumbled: BTreeMap::new(), ask_again_at: Instant::now() }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
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
                _ = ticks.tick() => {
                    self.read_changes(&mut feed).await?;
                    self.fetch_again().await?;
                }
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

    /// What this Orthanc does not have either is not asked for all the time.
    async fn fetch_again(&mut self) -> Result<(), IntakeError> {
        if Instant::now() >= self.ask_again_at && self.intake.fetch_again().await? {
            self.ask_again_at = Instant::now() + AGAIN_PAUSE;
        }
        Ok(())
    }

    async fn follow_hint(&mut self, feed: &mut Feed, hint: Hint) -> Result<(), IntakeError> {
        match hint {
            Hint::Study(id) => self.take_in(feed, &id).await,
            Hint::Series(id) => match self.intake.series(&id).await {
                Ok(()) => Ok(()),
                Err(error) => self.stumble(&id, error).await,
            },
        }
    }

    /// Fetches what has become stable of the studies that changed.
    async fn settle(&mut self, feed: &mut Feed) -> Result<(), IntakeError> {
        for study in feed.unsettled() {
            let waits = self.stumbled.get(&study).is_some_and(|stumble| Instant::now() < stumble.again_at);
            if !waits {
                self.take_in(feed, &study).await?;
            }
        }
        Ok(())
    }

    async fn take_in(&mut self, feed: &mut Feed, study: &OrthancId) -> Result<(), IntakeError> {
        match self.intake.study(study).await {
            Ok(is_settled) => {
                self.stumbled.remove(study);
                if is_settled {
                    feed.settled(study);
                }
                Ok(())
            }
            Err(error) => self.stumble(study, error).await,
        }
    }

    /// A study that Orthanc cannot give, while it answers otherwise, is tried again later and holds up no other.
    async fn stumble(&mut self, study: &OrthancId, error: IntakeError) -> Result<(), IntakeError> {
        if !error.is_about_what_was_asked() || self.intake.orthanc.system().await.is_err() {
            return Err(error);
        }
        let source = &self.intake.source;
        metrics::counter!("overread_orthanc_studies_failed_total", "source" => source.clone()).increment(1);
        let failures = self.stumbled.get(study).map_or(0, |stumble| stumble.failures);
        if failures == 0 {
            warn!(%study, error = %chain(&error), "Orthanc {source} cannot give study {study}; others go on");
        }
        let pause = Duration::from_secs(1 << failures.min(20)).min(STUMBLE_PAUSE_MAX);
        let stumble = Stumble { failures: failures.saturating_add(1), again_at: Instant::now() + pause };
        self.stumbled.insert(study.clone(), stumble);
        Ok(())
    }
}
