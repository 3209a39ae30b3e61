//! What the listener is told: where to listen, who may come, how much and how long.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use imaging::SopClassUid;
use ipnet::IpNet;
use ledger::{BootId, NodeId};

use crate::{ae_title::AeTitle, identity::Identities};

#[derive(Debug, Clone)]
pub struct ScpConfig {
    pub listen: SocketAddr,
    /// A second listener that speaks TLS only.
    pub tls: Option<TlsConfig>,
    /// The titles that we answer to; the first is our own name.
    pub called: Vec<CalledAe>,
    /// Peers that may come besides loopback.
    pub allow: Vec<PeerRule>,
    pub allow_any: bool,
    /// Storage SOP classes besides those of the standard.
    pub extra_sop_classes: Vec<SopClassUid>,
    /// When there are any, an association must name one of them.
    pub identities: Identities,
    /// Where requesters of storage commitment listen; without an entry the report goes out on their association.
    pub commitment_peers: Vec<CommitmentPeer>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub node: NodeId,
    pub boot: BootId,
}

impl ScpConfig {
    /// Loopback only, the usual limits.
    pub fn new(listen: SocketAddr, ae_title: AeTitle, node: NodeId, boot: BootId) -> Self {
        Self {
            listen,
            tls: None,
            called: vec![CalledAe { ae_title, label: None }],
            allow: Vec::new(),
            allow_any: false,
            extra_sop_classes: Vec::new(),
            identities: Identities::default(),
            commitment_peers: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            node,
            boot,
        }
    }
}

/// One of our titles. The label travels with the association's instances, for routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledAe {
    pub ae_title: AeTitle,
    pub label: Option<String>,
}

/// A peer that may come; what is not said is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRule {
    pub ae_title: Option<AeTitle>,
    pub address: Option<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentPeer {
    pub ae_title: AeTitle,
    /// Host and port.
    pub address: String,
}

/// The files are read again when they change: new certificates need no restart.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    pub listen: SocketAddr,
    /// PEM, the chain with our certificate first.
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client: ClientCertificates,
}

#[derive(Debug, Clone)]
pub enum ClientCertificates {
    NotAsked,
    /// Checked against the authorities in the file when a peer shows one.
    Optional(PathBuf),
    Required(PathBuf),
}

/// What is not said otherwise is as the product's configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub associations_max: usize,
    pub associations_per_peer_max: usize,
    /// Longest PDU that peers may send us.
    pub pdu_bytes_max: u32,
    /// Longest data set of one instance.
    pub dataset_bytes_max: u64,
    /// Instances that may wait for the ledger; beyond that, associations wait.
    pub unrecorded_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations_max: 64,
            associations_per_peer_max: 32,
            pdu_bytes_max: 256 << 10,
            dataset_bytes_max: 16 << 30,
            unrecorded_max: 1024,
        }
    }
}

/// As for [`Limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection to the whole association request, and for the peer to close at the end (PS3.8 §9.1.5).
    pub artim: Duration,
    /// For the rest of a PDU once it has begun.
    pub pdu: Duration,
    /// For a whole message, command and data set.
    pub message: Duration,
    /// Between messages.
    pub idle: Duration,
    /// For one write to be taken by the peer.
    pub write: Duration,
    /// At shutdown, for messages that are under way.
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            artim: Duration::from_secs(30),
            pdu: Duration::from_secs(60),
            message: Duration::from_secs(3600),
            idle: Duration::from_secs(600),
            write: Duration::from_secs(60),
            grace: Duration::from_secs(20),
        }
    }
}
