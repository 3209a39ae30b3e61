//! What a pipeline is told: who it is, what it does, where results go.

use std::time::Duration;

use ledger::{BootId, Eyes, Millis, NodeId};
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::{
    backoff::Backoff, clock::Clock, destination::DestinationConfig, notify::SubscriberConfig,
    readiness::Patience, routing::SiteRule,
};

/// Everything that a pipeline needs to know beside ledger, spool and models.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Names all results of this installation; survives recovery and restore.
    pub installation: Uuid,
    pub node: NodeId,
    pub boot: BootId,
    pub part: Part,
    /// Jobs that run at once on this node; one for each device.
    pub workers: usize,
    pub patience: Patience,
    pub destinations: Vec<DestinationConfig>,
    /// Who is told what happens.
    pub subscribers: Vec<SubscriberConfig>,
    pub site_rules: Vec<SiteRule>,
    /// How many doctors have to agree, where no rule of a model says it.
    pub eyes: Eyes,
    pub leases: Leases,
    pub retries: Retries,
    /// The zone in which results state their dates.
    pub utc_offset: UtcOffset,
    /// How long a stop may take; then leases are left to run out.
    pub stop_within: Duration,
    pub clock: Clock,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Decides, computes and delivers.
    All,
    /// Readiness, routing and the outbox; jobs are computed elsewhere.
    Decide,
    /// Computes jobs, nothing else.
    Work,
}

/// How long the right to a job or a delivery lasts without being renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leases {
    pub job: Duration,
    pub delivery: Duration,
}

/// How long to wait before another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    pub job: Backoff,
    /// A destination that does not answer, as a whole.
    pub destination: Backoff,
    /// A delivery that failed although its destination answers.
    pub delivery: Backoff,
}

impl PipelineConfig {
    /// One node that does everything, with the documented defaults and no destination.
    #[must_use]
    pub fn new(installation: Uuid, node: NodeId, boot: BootId) -> Self {
        let seconds = Duration::from_secs;
        Self {
            installation,
            node,
            boot,
            part: Part::All,
            workers: 1,
            patience: Patience::with_quiet(seconds(5)),
            destinations: Vec::new(),
            subscribers: Vec::new(),
            site_rules: Vec::new(),
            eyes: Eyes::Two,
            leases: Leases { job: seconds(30), delivery: seconds(300) },
            retries: Retries {
                job: Backoff { first: seconds(10), longest: seconds(600) },
                destination: Backoff { first: seconds(1), longest: seconds(300) },
                delivery: Backoff { first: seconds(5), longest: seconds(3600) },
            },
            utc_offset: UtcOffset::UTC,
            stop_within: seconds(20),
            clock: Clock::system(),
        }
    }

    /// Results bear the time of their job, so that a job that is done again writes the same
    /// bytes. Nothing when that time is no date.
    pub(crate) fn local_time(&self, at: Millis) -> Option<OffsetDateTime> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000);
        time.map(|time| time.to_offset(self.utc_offset)).ok()
    }

    /// The destinations that the site allows for a model.
    pub(crate) fn destinations_of(&self, model: &str) -> impl Iterator<Item = &DestinationConfig> {
        let rule = self.site_rules.iter().find(|rule| rule.model == model);
        let listed = rule.and_then(|rule| rule.destinations.as_ref());
        let is_allowed = move |name: &String| listed.is_none_or(|listed| listed.contains(name));
        self.destinations.iter().filter(move |destination| is_allowed(&destination.name))
    }

    /// How many doctors have to agree on a result of a model.
    pub(crate) fn eyes_for(&self, model: &str) -> Eyes {
        let rule = self.site_rules.iter().find(|rule| rule.model == model);
        match rule.and_then(|rule| rule.four_eyes) {
            Some(true) => Eyes::Four,
            Some(false) => Eyes::Two,
            None => self.eyes,
        }
    }

    pub(crate) fn decides(&self) -> bool {
        matches!(self.part, Part::All | Part::Decide)
    }

    pub(crate) fn works(&self) -> bool {
        matches!(self.part, Part::All | Part::Work)
    }
}
