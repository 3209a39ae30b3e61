//! A place that results go to: how one object is sent there, and how its arrival is proved.
//!
//! Sending the same object twice leaves one: its UID is derived from the job, and each kind
//! of destination keeps one object for each UID. When and in which order things are sent is
//! decided in [`crate::outbox`], never here.

mod cstore;
mod folder;
mod orthanc;
mod stow;

use std::path::PathBuf;

use bytes::Bytes;
use imaging::{SeriesUid, SopInstanceUid, StudyUid};
use ledger::Priority;
pub(crate) use orthanc_bridge::chain;
use orthanc_bridge::{Connection, ConnectionError, RestError};

pub(crate) use cstore::{Asked, StorePeer};
use folder::Folder;
use orthanc::OrthancArchive;
use stow::Stow;

use crate::{
    form::Form,
    notify::{Notice, Push, SubscriberKind, Webhook},
};

/// A destination as a site configures it.
#[derive(Debug, Clone)]
pub struct DestinationConfig {
    pub name: String,
    pub kind: DestinationKind,
    /// How it wants its objects.
    pub form: Form,
}

impl DestinationConfig {
    /// A place that takes objects as each package writes them.
    #[must_use]
    pub fn new(name: &str, kind: DestinationKind) -> Self {
        Self { name: name.to_owned(), kind, form: Form::default() }
    }
}

/// The kinds of places, each with what it takes to reach it.
#[derive(Debug, Clone)]
pub enum DestinationKind {
    /// Files `STUDY/SOP.dcm` below a folder.
    Folder { path: PathBuf },
    /// Orthanc, by its own REST interface.
    Orthanc { connection: Connection },
    /// Any archive with DICOMweb (STOW-RS, and QIDO-RS for the proof of arrival).
    Stow { connection: Connection },
    /// Any archive by C-STORE.
    Cstore { peer: scp::ClientOptions, proof: StoreProof },
}

/// What counts as proof that an archive without REST keeps an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreProof {
    /// Its success status: PS3.4 §B.2.3 makes it responsible.
    Status,
    /// Its word that it keeps the object for good: storage commitment (PS3.4 Annex J).
    Commitment,
    /// The same where the archive offers it; else its success status.
    CommitmentIfOffered,
}

impl DestinationKind {
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::Orthanc { .. } => "orthanc",
            Self::Stow { .. } => "stow",
            Self::Cstore { .. } => "cstore",
        }
    }
}

/// One object on its way.
#[derive(Clone)]
pub(crate) struct Shipment {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) sop_instance: SopInstanceUid,
    pub(crate) urgency: Priority,
    /// A whole Part 10 file.
    pub(crate) file: Bytes,
    /// Where the spool keeps it.
    pub(crate) path: PathBuf,
}

/// What goes out in one delivery.
pub(crate) enum Freight {
    Object(Shipment),
    Message(Notice),
}

/// Why an object was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The destination judged this object; others may be welcome.
    #[error("the object was refused: {0}")]
    Refused(String),
    /// Nothing was said about the object; the destination itself is the trouble.
    #[error("{0}")]
    Unavailable(String),
    /// Whom the message was for is not there any more.
    #[error("the app is gone")]
    Gone,
}

/// What a destination says about an object that was sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It holds the object.
    Arrived,
    /// It answers, and does not hold it.
    Absent,
}

/// A destination that is ready to be used.
#[derive(Debug)]
pub(crate) enum Destination {
    Folder(Folder),
    Orthanc(OrthancArchive),
    Stow(Stow),
    Cstore(StorePeer),
    Webhook(Webhook),
    Push(Box<Push>),
}

impl Destination {
    pub(crate) fn open(kind: &DestinationKind) -> Result<Self, ConnectionError> {
        Ok(match kind {
            DestinationKind::Folder { path } => Self::Folder(Folder::new(path.clone())),
            DestinationKind::Orthanc { connection } => {
                Self::Orthanc(OrthancArchive::new(connection.clone())?)
            }
            DestinationKind::Stow { connection } => Self::Stow(Stow::new(connection.clone())?),
            DestinationKind::Cstore { peer, proof } => Self::Cstore(StorePeer::new(peer.clone(), *proof)),
        })
    }

    /// Somebody who is told of things rather than given objects.
    pub(crate) fn open_subscriber(kind: &SubscriberKind) -> Result<Self, ConnectionError> {
        Ok(match kind {
            SubscriberKind::Webhook { url, ca_file, secret } => {
                Self::Webhook(Webhook::open(url, ca_file.as_deref(), secret.clone())?)
            }
            SubscriberKind::Push(config) => Self::Push(Box::new(Push::open(config)?)),
        })
    }

    /// Sends one object or message; once this is well, the destination has said that it keeps it.
    pub(crate) async fn send(&self, freight: Freight) -> Result<(), SendError> {
        match (self, freight) {
            (Self::Webhook(webhook), Freight::Message(notice)) => webhook.tell(&notice).await,
            (Self::Push(push), Freight::Message(notice)) => push.tell(&notice).await,
            (archive, Freight::Object(shipment)) => archive.store(shipment).await,
            (_, Freight::Message(_)) => {
                Err(SendError::Refused("an archive takes objects, not messages".to_owned()))
            }
        }
    }

    async fn store(&self, shipment: Shipment) -> Result<(), SendError> {
        match self {
            Self::Folder(folder) => folder.send(shipment).await,
            Self::Orthanc(archive) => archive.send(shipment).await,
            Self::Stow(stow) => stow.send(shipment).await,
            Self::Cstore(peer) => peer.send(shipment).await,
            Self::Webhook(_) | Self::Push(_) => {
                Err(SendError::Refused("a subscriber takes messages, not objects".to_owned()))
            }
        }
    }

    /// The archive that has to be asked for storage commitment, if it is one.
    pub(crate) fn commits(&self) -> Option<&StorePeer> {
        match self {
            Self::Cstore(peer) if peer.proof != StoreProof::Status => Some(peer),
            _ => None,
        }
    }

    /// Asks anew, apart from the answer to the sending, whether what was sent is there.
    pub(crate) async fn prove(&self, freight: &Freight) -> Result<Proof, SendError> {
        // Whoever was told has answered; there is nobody to be asked what he remembers.
        let Freight::Object(shipment) = freight else { return Ok(Proof::Arrived) };
        match self {
            Self::Folder(folder) => folder.prove(shipment).await,
            Self::Orthanc(archive) => archive.prove(shipment).await,
            Self::Stow(stow) => stow.prove(shipment).await,
            // Its success was the proof, or its commitment is (see [`crate::outbox`]).
            Self::Cstore(_) | Self::Webhook(_) | Self::Push(_) => Ok(Proof::Arrived),
        }
    }

    /// Whether the destination can be reached as it is configured; nothing is sent.
    pub(crate) async fn check(&self) -> Result<(), SendError> {
        match self {
            Self::Folder(folder) => folder.check().await,
            Self::Orthanc(archive) => archive.check().await,
            Self::Stow(stow) => stow.check().await,
            Self::Cstore(peer) => peer.check().await,
            Self::Webhook(webhook) => webhook.check().await,
            Self::Push(push) => push.check().await,
        }
    }
}

impl From<RestError> for SendError {
    fn from(error: RestError) -> Self {
        let text = chain(&error);
        if error.is_refusal() { Self::Refused(text) } else { Self::Unavailable(text) }
    }
}
