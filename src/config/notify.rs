//! `[[notify]]`: who is told what happens, and how.

use std::{collections::BTreeSet, path::PathBuf};

use pipeline::NoticeKind;
use serde::{Deserialize, Serialize};

use super::values::Secret;

/// One flat table for both kinds; [`Notify::problem`] says what does not fit together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    pub(crate) kind: NotifyKind,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Signs what a webhook is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Secret>,
    /// Those that doctors and patients registered by the API.
    #[serde(default)]
    pub(crate) registered: bool,
    /// Authorities to believe beside those of the system, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// All that there are, when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<BTreeSet<NoticeKind>>,
    #[serde(default)]
    pub(crate) names_patients: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NotifyKind {
    Webhook,
    Fcm,
}

impl Notify {
    /// The key that is missing or does not belong here, with a sentence about it.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let missing =
            |key, kind| Some((key, format!("is missing; a notification of kind \"{kind}\" needs it")));
        let stranger =
            |key, kind| Some((key, format!("does not belong to a notification of kind \"{kind}\"")));
        match self.kind {
            NotifyKind::Webhook => match (&self.url, &self.secret) {
                (None, _) => missing("url", "webhook"),
                (_, None) => missing("secret", "webhook"),
                _ if self.service_account.is_some() => stranger("service_account", "webhook"),
                _ if self.topic.is_some() => stranger("topic", "webhook"),
                _ if self.device.is_some() => stranger("device", "webhook"),
                _ if self.registered => stranger("registered", "webhook"),
                (Some(url), Some(secret)) => self.insecure(url).or_else(|| bad_secret(secret)),
            },
            NotifyKind::Fcm => match (&self.service_account, &self.topic, &self.device) {
                (None, ..) => missing("service_account", "fcm"),
                (_, None, None) if self.registered && self.names_patients => Some((
                    "names_patients",
                    "is true, but who registers may be anybody's telephone".to_owned(),
                )),
                (_, None, None) if self.registered => self.url.as_ref().and_then(|url| self.insecure(url)),
                (_, None, None) => {
                    Some(("topic", "is missing; name a topic, a device, or registered = true".to_owned()))
                }
                _ if self.registered => {
                    Some(("registered", "stands beside topic or device; use one of the three".to_owned()))
                }
                (_, Some(_), Some(_)) => {
                    Some(("device", "stands beside topic; use one of the two".to_owned()))
                }
                _ if self.secret.is_some() => stranger("secret", "fcm"),
                _ => self.url.as_ref().and_then(|url| self.insecure(url)),
            },
        }
    }

    /// Names of patients leave encrypted or not at all.
    fn insecure(&self, url: &str) -> Option<(&'static str, String)> {
        let plain = url.starts_with("http:") && self.names_patients;
        plain.then(|| ("names_patients", format!("is true, but {url:?} is not https")))
    }
}

fn bad_secret(secret: &Secret) -> Option<(&'static str, String)> {
    let parsed = secret.expose().parse::<pipeline::WebhookSecret>();
    parsed.err().map(|error| ("secret", format!("cannot be used: {error}")))
}
