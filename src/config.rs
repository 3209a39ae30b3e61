//! What the service is told to do, read once and checked whole before any socket opens.
//!
//! Order: the compiled-in default file, `overread.toml`, the environment, `--set`. An
//! unknown key, a bad value or two settings that contradict each other end the start with
//! one sentence that names the key, the value and what is allowed. Nothing outside this
//! module reads the environment.

mod check;
mod load;
mod notify;
mod place;
mod site_rule;
mod values;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use check::ConfigError;
pub(crate) use load::{ConfigFile, Overrides, load};
pub(crate) use notify::{Notify, NotifyKind};
pub(crate) use place::{Destination, DestinationKind, Form, SegKind, Source, StoreProof};
pub(crate) use site_rule::SiteRule;
pub(crate) use values::{ByteSize, Secret};

/// The commented file that is default and documentation at once.
pub(crate) const DEFAULT_FILE: &str = include_str!("config/default.toml");

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) roles: Vec<Role>,
    pub(crate) http: Http,
    pub(crate) dicom: Dicom,
    pub(crate) database: Database,
    pub(crate) spool: Spool,
    pub(crate) models: Models,
    pub(crate) retrain: Retrain,
    pub(crate) runtime: Runtime,
    pub(crate) readiness: Readiness,
    pub(crate) review: Review,
    pub(crate) limits: Limits,
    pub(crate) oidc: Oidc,
    pub(crate) drift: Drift,
    pub(crate) syslog: Syslog,
    pub(crate) compat: Compat,
    pub(crate) log: Log,
    #[serde(default, rename = "source")]
    pub(crate) sources: Vec<Source>,
    #[serde(default, rename = "destination")]
    pub(crate) destinations: Vec<Destination>,
    #[serde(default, rename = "notify")]
    pub(crate) subscribers: Vec<Notify>,
    #[serde(default, rename = "site_rule")]
    pub(crate) site_rules: Vec<SiteRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Scp,
    Api,
    Pipeline,
    Worker,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    #[serde(deserialize_with = "values::socket_address")]
    pub(crate) listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) insecure: bool,
    pub(crate) cors_origins: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dicom {
    #[serde(deserialize_with = "values::socket_address")]
    pub(crate) listen: SocketAddr,
    pub(crate) ae_title: String,
    pub(crate) durability: Durability,
    pub(crate) allow: Vec<Allow>,
    pub(crate) allow_any: bool,
    pub(crate) also_called: Vec<AlsoCalled>,
    pub(crate) users: Vec<DicomUser>,
    pub(crate) tokens: Option<DicomTokens>,
    pub(crate) extra_sop_classes: Vec<imaging::Uid>,
    pub(crate) same_uid: SameUid,
    pub(crate) commitment: Vec<CommitmentPeer>,
    pub(crate) associations_max: u32,
    pub(crate) associations_per_peer_max: u32,
    pub(crate) pdu_bytes_max: ByteSize,
    pub(crate) dataset_bytes_max: ByteSize,
    pub(crate) timeouts: DicomTimeouts,
    #[serde(default)]
    pub(crate) tls: DicomTls,
}

/// How long senders are waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomTimeouts {
    pub(crate) artim_seconds: std::num::NonZeroU32,
    pub(crate) pdu_seconds: std::num::NonZeroU32,
    pub(crate) message_seconds: std::num::NonZeroU32,
    pub(crate) idle_seconds: std::num::NonZeroU32,
    pub(crate) write_seconds: std::num::NonZeroU32,
}

/// Another title that we answer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlsoCalled {
    pub(crate) ae_title: String,
    /// What rules for routing see instead of the title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
}

/// A user identity (PS3.7 §D.3.3.7).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomUser {
    pub(crate) name: String,
    pub(crate) passcode: Secret,
}

/// User identities that are JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomTokens {
    /// The issuer's public key in PEM form.
    pub(crate) public_key_file: PathBuf,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SameUid {
    KeepFirst,
    Replace,
}

/// Where a requester of storage commitment listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitmentPeer {
    pub(crate) ae_title: String,
    pub(crate) address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Power,
    Process,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ae_title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomTls {
    #[serde(
        default,
        deserialize_with = "values::optional_socket_address",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether a client may also show no certificate.
    #[serde(default)]
    pub(crate) client_optional: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    /// May hold a password: shown without it.
    pub(crate) url: values::DatabaseUrl,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spool {
    pub(crate) url: String,
    pub(crate) min_free_bytes: ByteSize,
    pub(crate) journal_bytes: ByteSize,
}

/// A provider of sign-ins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) role_claim: String,
    pub(crate) roles: std::collections::BTreeMap<String, ledger::Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// When what models see and say counts as changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drift {
    pub(crate) reference_days: std::num::NonZeroU32,
    pub(crate) window_days: std::num::NonZeroU32,
    pub(crate) psi_max: f64,
    pub(crate) answers_min: std::num::NonZeroU32,
}

/// Where the audit trail is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Syslog {
    pub(crate) address: String,
    pub(crate) transport: SyslogTransport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyslogTransport {
    Tls,
    Udp,
}

/// How doctors decide.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Review {
    pub(crate) four_eyes: bool,
}

/// Training models anew, by their packages' own commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retrain {
    pub(crate) allow: Vec<String>,
    pub(crate) path: Vec<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Models {
    pub(crate) dir: PathBuf,
    pub(crate) device: Device,
    pub(crate) threads: usize,
    pub(crate) allow_demonstration: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Device {
    Cpu,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    pub(crate) onnxruntime: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Readiness {
    pub(crate) quiet_seconds: u32,
    pub(crate) doubtful_seconds: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) requests_per_minute: std::num::NonZeroU32,
    pub(crate) predicts_per_minute: std::num::NonZeroU32,
    pub(crate) schemas_per_minute: std::num::NonZeroU32,
    pub(crate) reloads_per_minute: std::num::NonZeroU32,
    pub(crate) predict_bytes: ByteSize,
    pub(crate) upload_bytes: ByteSize,
    pub(crate) mask_bytes: ByteSize,
    pub(crate) header_seconds: std::num::NonZeroU32,
    pub(crate) shutdown_seconds: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compat {
    pub(crate) default_model: String,
    pub(crate) django_jwt_key: Secret,
    pub(crate) django_users: std::collections::BTreeMap<String, String>,
    pub(crate) polling_workers: Vec<PollingWorker>,
    /// Name of the source that viewers see; empty: the only one.
    pub(crate) orthanc: String,
}

/// A program outside that asks for series to segment: by the name of its API key, or by where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PollingWorker {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
}

impl Config {
    pub(crate) fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// `sqlite:ledger.db` means a file in `data_dir`.
    pub(crate) fn database_url(&self) -> String {
        let url = self.database.url.expose();
        match url.strip_prefix("sqlite:") {
            Some(file) => format!("sqlite:{}", self.data_dir.join(file).display()),
            None => url.to_owned(),
        }
    }

    pub(crate) fn spool_dir(&self) -> PathBuf {
        let folder = self.spool.url.strip_prefix("file:").unwrap_or(&self.spool.url);
        self.data_dir.join(folder)
    }

    pub(crate) fn quarantine_dir(&self) -> PathBuf {
        self.data_dir.join("quarantine")
    }
}
