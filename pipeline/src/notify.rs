//! Tells subscribers what happened: a diagnosis is ready, a job is dead, an archive is down.
//!
//! ```text
//! event log ──Teller──▶ outbox ──sender──▶ webhook or push service
//! ```
//!
//! A [`Teller`] reads the event log behind a place that is kept for its subscriber, and moves that place in
//! the transaction that puts the messages into the outbox: each event is told once, whatever dies in between.
//! The outbox then tries until the subscriber has taken the message; a receiver knows a repeat by the id.
//! No message names a patient, neither here nor in the ledger; where a site allows it, the name is looked up
//! when the message leaves.

mod address;
mod disk;
mod push;
mod registered;
mod teller;
mod webhook;

use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

use ledger::{PushToken, RecipientId, StudyRow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use disk::DiskWatch;
pub(crate) use push::Push;
pub use push::{PushConfig, PushTo, ServiceAccount, ServiceAccountError};
pub(crate) use teller::Teller;
pub(crate) use webhook::Webhook;
pub use webhook::{BadWebhookSecret, WebhookSecret};

/// Somebody who wants to be told, as a site configures it.
#[derive(Debug, Clone)]
pub struct SubscriberConfig {
    pub name: String,
    pub kind: SubscriberKind,
    /// What it is told of.
    pub notices: BTreeSet<NoticeKind>,
    /// Whether messages name the patient.
    pub names_patients: bool,
}

/// How a subscriber is told.
#[derive(Debug, Clone)]
pub enum SubscriberKind {
    /// A POST to an address of its own.
    Webhook { url: String, ca_file: Option<PathBuf>, secret: WebhookSecret },
    /// Firebase Cloud Messaging, HTTP v1.
    Push(Box<PushConfig>),
}

impl SubscriberConfig {
    /// Its name in the outbox. No destination can have it: their names hold no slash.
    pub(crate) fn destination(&self) -> String {
        format!("notify/{}", self.name)
    }

    /// Whether it stands for the doctors and patients who registered a telephone.
    pub(crate) fn is_of_the_registered(&self) -> bool {
        matches!(&self.kind, SubscriberKind::Push(config) if config.to == PushTo::Registered)
    }
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeKind {
    #[serde(rename = "diagnosis.ready")]
    DiagnosisReady,
    #[serde(rename = "diagnosis.confirmed")]
    DiagnosisConfirmed,
    #[serde(rename = "diagnosis.rejected")]
    DiagnosisRejected,
    #[serde(rename = "diagnosis.disputed")]
    DiagnosisDisputed,
    #[serde(rename = "study.held")]
    StudyHeld,
    #[serde(rename = "job.dead")]
    JobDead,
    #[serde(rename = "delivery.parked")]
    DeliveryParked,
    #[serde(rename = "destination.down")]
    DestinationDown,
    #[serde(rename = "disk.low")]
    DiskLow,
    #[serde(rename = "model.drift")]
    ModelDrift,
}

impl NoticeKind {
    pub const ALL: [Self; 10] = [
        Self::DiagnosisReady,
        Self::DiagnosisConfirmed,
        Self::DiagnosisRejected,
        Self::DiagnosisDisputed,
        Self::StudyHeld,
        Self::JobDead,
        Self::DeliveryParked,
        Self::DestinationDown,
        Self::DiskLow,
        Self::ModelDrift,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiagnosisReady => "diagnosis.ready",
            Self::DiagnosisConfirmed => "diagnosis.confirmed",
            Self::DiagnosisRejected => "diagnosis.rejected",
            Self::DiagnosisDisputed => "diagnosis.disputed",
            Self::StudyHeld => "study.held",
            Self::JobDead => "job.dead",
            Self::DeliveryParked => "delivery.parked",
            Self::DestinationDown => "destination.down",
            Self::DiskLow => "disk.low",
            Self::ModelDrift => "model.drift",
        }
    }

    /// For people.
    fn title(self) -> &'static str {
        match self {
            Self::DiagnosisReady => "Diagnosis ready",
            Self::DiagnosisConfirmed => "Diagnosis confirmed",
            Self::DiagnosisRejected => "Diagnosis rejected",
            Self::DiagnosisDisputed => "Two doctors do not agree",
            Self::StudyHeld => "Study held: a person has to look",
            Self::JobDead => "Analysis failed",
            Self::DeliveryParked => "Archive refused an object",
            Self::DestinationDown => "Archive does not answer",
            Self::DiskLow => "Disk nearly full",
            Self::ModelDrift => "A model sees or says something else than it used to",
        }
    }
}

/// A text that names nothing that can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no notification {0:?}")]
pub struct NoSuchNotice(String);

impl FromStr for NoticeKind {
    type Err = NoSuchNotice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| NoSuchNotice(text.to_owned()))
    }
}

/// A message as the ledger keeps it: without the patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The same for every try and every subscriber.
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: NoticeKind,
    /// When it happened, RFC 3339.
    pub(crate) timestamp: String,
    pub(crate) data: Map<String, Value>,
    /// Whom it is for, where that is one of those who registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<RecipientId>,
    /// Where he is reached: looked up when the message leaves, and never kept with it.
    #[serde(skip)]
    pub(crate) token: Option<PushToken>,
}

impl Notice {
    /// Adds who the patient is, for a subscriber that may know.
    pub(crate) fn name_patient(&mut self, study: &StudyRow) {
        let patient = serde_json::json!({
            "id": study.patient.id,
            "name": study.patient.name,
            "birth_date": study.patient.birth_date,
            "accession_number": study.accession_number,
        });
        self.data.insert("patient".to_owned(), patient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_is_read_as_it_is_written() {
        for kind in NoticeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("diagnosis".parse::<NoticeKind>().is_err());
    }
}
