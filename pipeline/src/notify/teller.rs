//! From the event log into the outbox, for one subscriber.

use std::{sync::Arc, time::Duration};

use inference::Registry;
use ledger::{Event, EventSeq, Ledger, Millis, NewDelivery, Parcel, RecipientId, ResultRow, Topic};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Notice, NoticeKind, SubscriberConfig, registered};
use crate::{config::PipelineConfig, destination::chain};

/// The net under the wake-ups.
const SLOW_TICK: Duration = Duration::from_secs(5);
/// Events that are read at once.
const EVENTS_MAX: u32 = 200;
/// The place in the log is kept after so many events at the latest, also when nothing was to be told.
const KEPT_EVERY: i64 = 1000;
/// What is older is no news: a subscriber that was taken out of the configuration and came back.
const OLD: Duration = Duration::from_secs(3 * 24 * 3600);
/// The lane of what belongs to no study.
const SITE_LANE: &str = "site";

/// Tells one subscriber until it is told to stop.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) subscriber: SubscriberConfig,
    pub(crate) ledger: Ledger,
    pub(crate) registry: Arc<Registry>,
    pub(crate) config: Arc<PipelineConfig>,
}

impl Teller {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut changes = self.ledger.changed(Topic::Events);
        let mut read = None;
        while !shutdown.is_cancelled() {
            if let Err(error) = self.tell(&mut read).await {
                warn!(subscriber = %self.subscriber.name, error = %chain(&error), "cannot note what {} is to be told, trying again", self.subscriber.name);
                read = None;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = changes.next() => {}
                () = tokio::time::sleep(SLOW_TICK) => {}
            }
        }
    }

    /// Reads on from `read`, or from the place that is kept.
    async fn tell(&self, read: &mut Option<EventSeq>) -> Result<(), ledger::Error> {
        let mut kept = self.kept_place().await?;
        let mut place = read.filter(|read| read.0 > kept.0).unwrap_or(kept);
        loop {
            let events = self.ledger.events_after(place, EVENTS_MAX).await?;
            let Some(last) = events.last() else { break };
            let reached = last.seq;
            let mut messages = Vec::new();
            for event in &events {
                messages.extend(self.messages(event).await?);
            }
            if !messages.is_empty() || reached.0 - kept.0 >= KEPT_EVERY {
                let now = self.config.clock.now();
                if !self.ledger.tell(&self.cursor(), kept, reached, &messages, now).await? {
                    // Another node was first: its place is the one.
                    *read = None;
                    return Ok(());
                }
                kept = reached;
            }
            place = reached;
        }
        *read = Some(place);
        Ok(())
    }

    fn cursor(&self) -> String {
        format!("{}/events", self.subscriber.destination())
    }

    /// A new subscriber begins with the present.
    async fn kept_place(&self) -> Result<EventSeq, ledger::Error> {
        let kept = self.ledger.cursor(&self.cursor()).await?;
        if let Some(place) = kept.and_then(|kept| kept.value.parse().ok()) {
            return Ok(EventSeq(place));
        }
        let present = self.ledger.last_event().await?;
        self.ledger.set_cursor(&self.cursor(), &present.0.to_string(), self.config.clock.now()).await?;
        Ok(present)
    }

    async fn messages(&self, event: &Event) -> Result<Vec<NewDelivery>, ledger::Error> {
        let Some(kind) = self.kind_of(event).filter(|kind| self.subscriber.notices.contains(kind)) else {
            return Ok(Vec::new());
        };
        let is_old = self.config.clock.now().since(event.at) > OLD;
        let about_itself = event.detail["destination"] == self.subscriber.destination();
        if is_old || about_itself {
            return Ok(Vec::new());
        }
        let Some(data) = self.data(kind, event).await? else { return Ok(Vec::new()) };
        let notice = Notice {
            id: format!("{}-{}", self.config.installation.simple(), event.seq),
            kind,
            timestamp: rfc3339(event.at),
            data,
            to: None,
            token: None,
        };
        if !self.subscriber.is_of_the_registered() {
            let lane = event.study.as_ref().map_or_else(|| SITE_LANE.to_owned(), ToString::to_string);
            return Ok(vec![self.delivery(event, lane, &notice)]);
        }
        let registered = registered::of_event(&self.ledger, &self.registry, kind, event).await?;
        // A lane for each, so that nobody waits for another's telephone.
        let one = |to: RecipientId| {
            self.delivery(event, format!("recipient/{to}"), &Notice { to: Some(to), ..notice.clone() })
        };
        Ok(registered.into_iter().map(one).collect())
    }

    fn delivery(&self, event: &Event, lane: String, notice: &Notice) -> NewDelivery {
        let payload = serde_json::to_value(notice).expect("a notice is texts and JSON");
        let parcel = Parcel::Message { lane, study: event.study.clone(), payload };
        NewDelivery { destination: self.subscriber.destination(), parcel }
    }

    /// Predictions are answered to whoever asks: only those who registered are told of them besides.
    fn kind_of(&self, event: &Event) -> Option<NoticeKind> {
        let of_prediction = || registered::kind_of_prediction(event);
        kind_of(&event.kind).or_else(|| self.subscriber.is_of_the_registered().then(of_prediction).flatten())
    }

    /// What the message says; nothing when there is nothing to be said.
    async fn data(
        &self,
        kind: NoticeKind,
        event: &Event,
    ) -> Result<Option<Map<String, Value>>, ledger::Error> {
        let mut data = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                data.insert(key.to_owned(), value);
            }
        };
        put("study_uid", json!(event.study));
        put("job_id", json!(event.job));
        put("result_id", json!(event.result));
        // So that whoever asked finds what came of it.
        put("request_id", json!(event.request_id));
        put("delivery_id", json!(event.delivery.map(|delivery| delivery.0)));
        for key in ["destination", "reason", "free_bytes", "min_free_bytes", "model"] {
            put(key, event.detail[key].clone());
        }
        if let Some(result) = event.result {
            let Some(row) = self.ledger.result(result).await? else { return Ok(None) };
            if self.is_tried_out(&row) {
                return Ok(None);
            }
            put("model", json!(row.model_id));
            put("model_version", json!(row.model_version));
            put("outcome", json!(row.outcome.as_str()));
        } else if let (NoticeKind::JobDead, Some(job)) = (kind, event.job) {
            let row = self.ledger.job(job).await?;
            put("model", json!(row.map(|job| job.model.id)));
        }
        Ok(Some(data))
    }

    /// Nobody is told of results that nobody is to see.
    fn is_tried_out(&self, result: &ResultRow) -> bool {
        self.registry.shadows().iter().any(|shadow| {
            let package = shadow.package();
            package.id.as_str() == result.model_id && package.version.to_string() == result.model_version
        })
    }
}

fn kind_of(event: &str) -> Option<NoticeKind> {
    Some(match event {
        "job.done" => NoticeKind::DiagnosisReady,
        "result.accepted" | "result.corrected" => NoticeKind::DiagnosisConfirmed,
        "result.rejected" => NoticeKind::DiagnosisRejected,
        "result.disputed" => NoticeKind::DiagnosisDisputed,
        "study.held" => NoticeKind::StudyHeld,
        "job.dead" => NoticeKind::JobDead,
        "delivery.parked" => NoticeKind::DeliveryParked,
        "destination.down" => NoticeKind::DestinationDown,
        "disk.low" => NoticeKind::DiskLow,
        "model.drift" => NoticeKind::ModelDrift,
        _ => return None,
    })
}

fn rfc3339(at: Millis) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
