//! `[[source]]` and `[[destination]]`: which keys each kind needs, and which it must not have.

use std::{num::NonZeroU32, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::values::Secret;

/// Where studies are taken from, beside the DICOM listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) kind: SourceKind,
    pub(crate) name: String,
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Secret>,
    /// Authorities to believe beside those of the system, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_secret: Option<Secret>,
    /// How often its change log is read, beside the webhook.
    #[serde(default = "poll_seconds")]
    pub(crate) poll_seconds: NonZeroU32,
}

fn poll_seconds() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(1)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceKind {
    Orthanc,
}

/// Where results go. One flat table for every kind, so that a wrong key is named with its
/// place; [`Destination::problem`] says what does not fit together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    pub(crate) kind: DestinationKind,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Secret>,
    /// Authorities to believe beside those of the system, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ae_title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<StoreProof>,
    #[serde(default, skip_serializing_if = "Form::is_open")]
    pub(crate) form: Form,
}

/// What counts as proof that an archive keeps what it was sent by C-STORE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreProof {
    Status,
    Commitment,
    CommitmentIfOffered,
}

/// How a destination wants its objects; what is not given is as the package of the model says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seg: Option<SegKind>,
    /// Compresses label maps (RLE Lossless).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rle: Option<bool>,
    /// Describes the background of label maps as segment 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) describe_background: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_per_segment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_empty_frames: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parametric_map: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<bool>,
}

impl Form {
    fn is_open(&self) -> bool {
        *self == Self::default()
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        let is_other = self.seg.is_some_and(|kind| kind != SegKind::Labelmap);
        let of_label_maps = [("form.rle", self.rle), ("form.describe_background", self.describe_background)];
        let (key, _) = of_label_maps.into_iter().find(|(_, wanted)| is_other && *wanted == Some(true))?;
        Some((key, "is for label maps; it needs seg = \"labelmap\"".to_owned()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SegKind {
    Binary,
    Labelmap,
    Fractional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DestinationKind {
    Orthanc,
    Stow,
    Cstore,
    Folder,
}

impl DestinationKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orthanc => "orthanc",
            Self::Stow => "stow",
            Self::Cstore => "cstore",
            Self::Folder => "folder",
        }
    }

    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Orthanc | Self::Stow => &["url"],
            Self::Cstore => &["address", "ae_title"],
            Self::Folder => &["path"],
        }
    }

    fn allows(self) -> &'static [&'static str] {
        match self {
            Self::Orthanc | Self::Stow => &["url", "username", "password", "ca_file"],
            Self::Cstore => &["address", "ae_title", "proof"],
            Self::Folder => &["path"],
        }
    }
}

impl Destination {
    /// The key that is missing or does not belong to this kind, with a sentence about it.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let given = [
            ("url", self.url.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("address", self.address.is_some()),
            ("ae_title", self.ae_title.is_some()),
            ("path", self.path.is_some()),
            ("proof", self.proof.is_some()),
        ];
        let is_given = |key: &str| given.iter().any(|(name, there)| *name == key && *there);
        let kind = self.kind.name();
        if let Some(key) = self.kind.needs().iter().find(|key| !is_given(key)) {
            return Some((key, format!("is missing; a destination of kind \"{kind}\" needs it")));
        }
        let stranger = given.iter().find(|(key, there)| *there && !self.kind.allows().contains(key));
        if let Some((key, _)) = stranger {
            let allowed = self.kind.allows().join(", ");
            let problem = format!("does not belong to a destination of kind \"{kind}\"; allowed: {allowed}");
            return Some((key, problem));
        }
        self.form.problem()
    }
}
