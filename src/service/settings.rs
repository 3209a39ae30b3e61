//! From what a site wrote to what each part wants to know.

use std::{net::IpAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use imaging::SopClassUid;
use inference::{Demonstrations, Device, ModelId, RegistryOptions};
use ipnet::IpNet;
use orthanc_bridge::{Connection, Credentials, SourceConfig};
use pipeline::{
    DestinationConfig, DestinationKind, Form, NoticeKind, Part, Patience, PipelineConfig, PushConfig, PushTo,
    ServiceAccount, SiteRule, StoreProof, SubscriberConfig, SubscriberKind,
};
use results::{Background, Compression, EmptyFrames, Packing, SegmentationType};
use scp::{
    AeTitle, CalledAe, ClientCertificates, ClientOptions, CommitmentPeer, PeerRule, ScpConfig, TokenRule,
    UserPasscode,
};
use spool::{SameUid, SpoolConfig};

use super::Node;
use crate::config::{self, Config, Destination, Durability, Role, Secret};

pub(crate) fn spool(config: &Config) -> SpoolConfig {
    SpoolConfig {
        durability: match config.dicom.durability {
            Durability::Power => spool::Durability::Power,
            Durability::Process => spool::Durability::Process,
        },
        same_uid: match config.dicom.same_uid {
            config::SameUid::KeepFirst => SameUid::KeepFirst,
            config::SameUid::Replace => SameUid::Replace,
        },
        min_free_bytes: config.spool.min_free_bytes.0,
        journal_bytes: config.spool.journal_bytes.0,
        ..SpoolConfig::new(config.spool_dir(), config.quarantine_dir())
    }
}

pub(crate) fn onnxruntime(config: &Config) -> Option<PathBuf> {
    let path = &config.runtime.onnxruntime;
    (!path.as_os_str().is_empty()).then(|| path.clone())
}

pub(crate) fn registry(config: &Config) -> RegistryOptions {
    let named = config.models.allow_demonstration.iter().map(|id| ModelId::new(id)).collect();
    RegistryOptions {
        allow_demonstration: Demonstrations::Named(named),
        device: device(config),
        threads: threads(config),
    }
}

pub(crate) fn device(config: &Config) -> Device {
    match config.models.device {
        config::Device::Cpu => Device::Cpu,
    }
}

/// Threads of one model: as many as the machine has cores, unless told.
pub(crate) fn threads(config: &Config) -> NonZeroUsize {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(config.models.threads).unwrap_or_else(cores)
}

fn token_rule(tokens: &config::DicomTokens) -> anyhow::Result<TokenRule> {
    let path = &tokens.public_key_file;
    let told = || format!("dicom.tokens.public_key_file = {}", path.display());
    let pem = std::fs::read(path).with_context(told)?;
    TokenRule::new(&pem, tokens.issuer.as_deref(), tokens.audience.as_deref()).with_context(told)
}

pub(super) fn scp(config: &Config, node: &Node) -> anyhow::Result<ScpConfig> {
    let dicom = &config.dicom;
    let mut scp =
        ScpConfig::new(dicom.listen, ae_title(&dicom.ae_title)?, node.node.clone(), node.boot.clone());
    scp.allow = dicom.allow.iter().map(peer_rule).collect::<anyhow::Result<_>>()?;
    scp.allow_any = dicom.allow_any;
    scp.extra_sop_classes = dicom.extra_sop_classes.iter().cloned().map(SopClassUid::from).collect();
    for also in &dicom.also_called {
        scp.called.push(CalledAe { ae_title: ae_title(&also.ae_title)?, label: also.label.clone() });
    }
    let user = |user: &config::DicomUser| UserPasscode {
        name: user.name.clone(),
        passcode: user.passcode.expose().to_owned(),
    };
    scp.identities.users = dicom.users.iter().map(user).collect();
    scp.identities.tokens = dicom.tokens.as_ref().map(token_rule).transpose()?;
    for peer in &dicom.commitment {
        let title = ae_title(&peer.ae_title)?;
        scp.commitment_peers.push(CommitmentPeer { ae_title: title, address: peer.address.clone() });
    }
    scp.limits = scp_limits(config);
    scp.timeouts = scp_timeouts(config);
    if let (Some(listen), Some(cert), Some(key)) = (dicom.tls.listen, &dicom.tls.cert, &dicom.tls.key) {
        let client = match &dicom.tls.client_ca {
            Some(authorities) if dicom.tls.client_optional => {
                ClientCertificates::Optional(authorities.clone())
            }
            Some(authorities) => ClientCertificates::Required(authorities.clone()),
            None => ClientCertificates::NotAsked,
        };
        scp.tls = Some(scp::TlsConfig { listen, cert: cert.clone(), key: key.clone(), client });
    }
    Ok(scp)
}

fn scp_limits(config: &Config) -> scp::Limits {
    let dicom = &config.dicom;
    scp::Limits {
        associations_max: dicom.associations_max as usize,
        associations_per_peer_max: dicom.associations_per_peer_max as usize,
        pdu_bytes_max: u32::try_from(dicom.pdu_bytes_max.0).unwrap_or(u32::MAX),
        dataset_bytes_max: dicom.dataset_bytes_max.0,
        ..scp::Limits::default()
    }
}

fn scp_timeouts(config: &Config) -> scp::Timeouts {
    let timeouts = &config.dicom.timeouts;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    scp::Timeouts {
        artim: seconds(timeouts.artim_seconds.get()),
        pdu: seconds(timeouts.pdu_seconds.get()),
        message: seconds(timeouts.message_seconds.get()),
        idle: seconds(timeouts.idle_seconds.get()),
        write: seconds(timeouts.write_seconds.get()),
        grace: seconds(config.limits.shutdown_seconds),
    }
}

fn peer_rule(allow: &config::Allow) -> anyhow::Result<PeerRule> {
    Ok(PeerRule {
        ae_title: allow.ae_title.as_deref().map(ae_title).transpose()?,
        address: allow.address.as_deref().map(|text| network("dicom.allow.address", text)).transpose()?,
    })
}

pub(crate) fn ae_title(text: &str) -> anyhow::Result<AeTitle> {
    AeTitle::parse(text).with_context(|| format!("{text:?} is no AE title"))
}

pub(super) fn pipeline(config: &Config, node: &Node) -> anyhow::Result<PipelineConfig> {
    let mut pipeline = PipelineConfig::new(node.installation, node.node.clone(), node.boot.clone());
    pipeline.part = match (config.has_role(Role::Pipeline), config.has_role(Role::Worker)) {
        (true, true) | (false, false) => Part::All,
        (true, false) => Part::Decide,
        (false, true) => Part::Work,
    };
    pipeline.patience = patience(config);
    pipeline.site_rules = site_rules(config)?;
    pipeline.eyes = if config.review.four_eyes { ledger::Eyes::Four } else { ledger::Eyes::Two };
    pipeline.destinations =
        config.destinations.iter().map(|one| destination(one, config)).collect::<anyhow::Result<_>>()?;
    pipeline.subscribers = subscribers(config)?;
    pipeline.stop_within = Duration::from_secs(config.limits.shutdown_seconds.into());
    pipeline.utc_offset = node.utc_offset;
    Ok(pipeline)
}

pub(crate) fn patience(config: &Config) -> Patience {
    let (quiet, doubtful) = (config.readiness.quiet_seconds, config.readiness.doubtful_seconds);
    Patience {
        quiet: Duration::from_secs(quiet.into()),
        doubtful: Duration::from_secs(doubtful.max(quiet).into()),
    }
}

pub(crate) fn site_rules(config: &Config) -> anyhow::Result<Vec<SiteRule>> {
    let parsed = config.site_rules.iter().map(|rule| Ok(rule.parsed("site_rule")?));
    parsed.collect()
}

/// The checks of the configuration have seen to it that each kind has what it needs.
pub(crate) fn destination(destination: &Destination, config: &Config) -> anyhow::Result<DestinationConfig> {
    let missing = |key: &str| format!("destination {} has no {key}", destination.name);
    let rest = || {
        let url = destination.url.as_deref().with_context(|| missing("url"))?;
        connection(
            url,
            destination.username.as_deref(),
            destination.password.as_ref(),
            destination.ca_file.as_ref(),
        )
    };
    let kind = match destination.kind {
        config::DestinationKind::Folder => {
            DestinationKind::Folder { path: destination.path.clone().with_context(|| missing("path"))? }
        }
        config::DestinationKind::Orthanc => DestinationKind::Orthanc { connection: rest()? },
        config::DestinationKind::Stow => DestinationKind::Stow { connection: rest()? },
        config::DestinationKind::Cstore => {
            let address = destination.address.as_deref().with_context(|| missing("address"))?;
            let called = ae_title(destination.ae_title.as_deref().with_context(|| missing("ae_title"))?)?;
            let calling = ae_title(&config.dicom.ae_title)?;
            let proof = match destination.proof {
                None | Some(config::StoreProof::Status) => StoreProof::Status,
                Some(config::StoreProof::Commitment) => StoreProof::Commitment,
                Some(config::StoreProof::CommitmentIfOffered) => StoreProof::CommitmentIfOffered,
            };
            DestinationKind::Cstore { peer: ClientOptions::new(address, called, calling), proof }
        }
    };
    Ok(DestinationConfig { name: destination.name.clone(), kind, form: form(&destination.form) })
}

fn form(form: &config::Form) -> Form {
    Form {
        segmentation: form.seg.map(|kind| match kind {
            config::SegKind::Binary => SegmentationType::Binary,
            config::SegKind::Labelmap => SegmentationType::LabelMap,
            config::SegKind::Fractional => SegmentationType::Fractional,
        }),
        compression: form.rle.map(|rle| if rle { Compression::Rle } else { Compression::None }),
        background: form
            .describe_background
            .map(|describe| if describe { Background::Described } else { Background::Implied }),
        packing: form
            .file_per_segment
            .map(|each| if each { Packing::FilePerSegment } else { Packing::OneFile }),
        empty_frames: form
            .keep_empty_frames
            .map(|keep| if keep { EmptyFrames::Keep } else { EmptyFrames::LeaveOut }),
        parametric_map: form.parametric_map,
        summary: form.summary,
    }
}

/// Where push messages go, unless a stand-in is named.
const FCM: &str = "https://fcm.googleapis.com";

/// # Errors
/// A file that is named cannot be used.
pub(crate) fn subscribers(config: &Config) -> anyhow::Result<Vec<SubscriberConfig>> {
    config.subscribers.iter().map(subscriber).collect()
}

fn subscriber(one: &config::Notify) -> anyhow::Result<SubscriberConfig> {
    let missing = |key: &str| format!("notification {} has no {key}", one.name);
    let url = one.url.as_deref();
    let kind = match one.kind {
        config::NotifyKind::Webhook => {
            let secret = one.secret.as_ref().with_context(|| missing("secret"))?;
            SubscriberKind::Webhook {
                ca_file: one.ca_file.clone(),
                url: url.with_context(|| missing("url"))?.to_owned(),
                secret: secret.expose().parse()?,
            }
        }
        config::NotifyKind::Fcm => {
            let file = one.service_account.as_ref().with_context(|| missing("service_account"))?;
            let to = match (&one.topic, &one.device) {
                (Some(topic), _) => PushTo::Topic(topic.clone()),
                (None, Some(device)) => PushTo::Device(device.expose().to_owned()),
                (None, None) if one.registered => PushTo::Registered,
                (None, None) => anyhow::bail!(missing("topic")),
            };
            SubscriberKind::Push(Box::new(PushConfig {
                connection: connection(url.unwrap_or(FCM), None, None, one.ca_file.as_ref())?,
                account: ServiceAccount::read(file)?,
                to,
            }))
        }
    };
    let notices = one.events.clone().unwrap_or_else(|| NoticeKind::ALL.into());
    Ok(SubscriberConfig { name: one.name.clone(), kind, notices, names_patients: one.names_patients })
}

pub(super) fn sources(config: &Config) -> anyhow::Result<Vec<SourceConfig>> {
    let source = |source: &config::Source| {
        Ok(SourceConfig {
            name: source.name.clone(),
            connection: connection(
                &source.url,
                source.username.as_deref(),
                source.password.as_ref(),
                source.ca_file.as_ref(),
            )?,
            webhook_secret: source.webhook_secret.as_ref().map(|secret| secret.expose().to_owned()),
            poll: Duration::from_secs(source.poll_seconds.get().into()),
        })
    };
    config.sources.iter().map(source).collect()
}

fn connection(
    url: &str,
    username: Option<&str>,
    password: Option<&Secret>,
    ca_file: Option<&PathBuf>,
) -> anyhow::Result<Connection> {
    let mut connection = Connection::to(url)?;
    connection.ca_file = ca_file.cloned();
    connection.credentials = username.map(|username| Credentials {
        username: username.to_owned(),
        password: password.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
    });
    Ok(connection)
}

/// An address alone is the network of that one address.
fn network(key: &str, text: &str) -> anyhow::Result<IpNet> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.with_context(|| format!("{key} holds {text:?}, which is no address or network"))
}

fn oidc(config: &Config) -> anyhow::Result<Option<Arc<api::Oidc>>> {
    let oidc = &config.oidc;
    if oidc.issuer.is_empty() {
        return Ok(None);
    }
    let made = api::Oidc::new(api::OidcConfig {
        issuer: oidc.issuer.clone(),
        audience: oidc.audience.clone(),
        ca_file: oidc.ca_file.clone(),
        role_claim: oidc.role_claim.clone(),
        roles: oidc.roles.clone().into_iter().collect(),
    });
    Ok(Some(Arc::new(made.context("cannot use the settings of oidc")?)))
}

/// Nothing when no audit repository is named.
pub(super) fn syslog(config: &Config) -> anyhow::Result<Option<api::Syslog>> {
    let syslog = &config.syslog;
    if syslog.address.is_empty() {
        return Ok(None);
    }
    let transport = match (syslog.transport, &syslog.ca_file) {
        (config::SyslogTransport::Tls, Some(ca_file)) => api::SyslogTransport::Tls {
            ca_file: ca_file.clone(),
            identity: syslog.cert.clone().zip(syslog.key.clone()),
        },
        (config::SyslogTransport::Tls, None) => anyhow::bail!("syslog.ca_file is missing"),
        (config::SyslogTransport::Udp, _) => api::SyslogTransport::Udp,
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let made = api::Syslog::new(api::SyslogConfig { address: syslog.address.clone(), transport, host });
    Ok(Some(made.context("cannot use the settings of syslog")?))
}

pub(super) fn retrain(config: &Config) -> api::RetrainConfig {
    api::RetrainConfig { allow: config.retrain.allow.clone(), path: config.retrain.path.clone() }
}

pub(super) fn header_limit(config: &Config) -> Duration {
    Duration::from_secs(config.limits.header_seconds.get().into())
}

pub(super) fn http(config: &Config, is_tls: bool) -> anyhow::Result<api::HttpConfig> {
    let http = &config.http;
    let mut api = api::HttpConfig::default();
    api.listener = if is_tls { api::Listener::Tls } else { api::Listener::Plain };
    api.plain = if http.insecure { api::Plain::Everywhere } else { api::Plain::LoopbackOnly };
    api.trusted_proxies = http
        .trusted_proxies
        .iter()
        .map(|text| network("http.trusted_proxies", text))
        .collect::<anyhow::Result<_>>()?;
    let origins = http.cors_origins.iter().map(|origin| origin.parse());
    api.cors_origins = origins.collect::<Result<_, _>>().context("http.cors_origins holds no origin")?;
    api.limits.requests_per_minute = config.limits.requests_per_minute;
    api.limits.predicts_per_minute = config.limits.predicts_per_minute;
    api.limits.schemas_per_minute = config.limits.schemas_per_minute;
    api.limits.reloads_per_minute = config.limits.reloads_per_minute;
    api.limits.predict_bytes = usize::try_from(config.limits.predict_bytes.0).unwrap_or(usize::MAX);
    api.compat.default_model.clone_from(&config.compat.default_model);
    let key = config.compat.django_jwt_key.expose();
    if !key.is_empty() {
        let tokens = api::GatewayTokens::new(key.as_bytes(), config.compat.django_users.clone());
        api.compat.django = Some(tokens.context("compat.django_jwt_key cannot be used")?);
    }
    api.compat.polling_workers =
        config.compat.polling_workers.iter().map(polling_worker).collect::<anyhow::Result<_>>()?;
    api.compat.orthanc = Some(config.compat.orthanc.clone()).filter(|name| !name.is_empty());
    api.limits.upload_bytes = usize::try_from(config.limits.upload_bytes.0).unwrap_or(usize::MAX);
    api.limits.mask_bytes = config.limits.mask_bytes.0;
    api.oidc = oidc(config)?;
    api.drift = api::DriftConfig {
        reference_days: config.drift.reference_days.get(),
        window_days: config.drift.window_days.get(),
        psi_max: config.drift.psi_max,
        answers_min: config.drift.answers_min.get(),
    };
    Ok(api)
}

fn polling_worker(worker: &config::PollingWorker) -> anyhow::Result<api::PollingWorker> {
    match (&worker.key, &worker.address) {
        (Some(key), None) => Ok(api::PollingWorker::Key(key.clone())),
        (None, Some(address)) => {
            network("compat.polling_workers.address", address).map(api::PollingWorker::Address)
        }
        _ => anyhow::bail!("an entry of compat.polling_workers has either key or address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, Overrides, load};

    fn with(set: &[(&str, &str)]) -> Config {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(&Overrides { file: ConfigFile::Nothing, set }).unwrap()
    }

    /// From which the conformance statement is written.
    #[test]
    fn the_listeners_own_defaults_are_those_of_the_configuration() {
        let config = with(&[]);
        assert_eq!(scp_limits(&config), scp::Limits::default());
        assert_eq!(scp_timeouts(&config), scp::Timeouts::default());
    }

    #[test]
    fn the_listener_is_told_what_the_site_says() {
        let config = with(&[
            ("dicom.associations_max", "3"),
            ("dicom.associations_per_peer_max", "2"),
            ("dicom.pdu_bytes_max", "\"16KiB\""),
            ("dicom.dataset_bytes_max", "\"5MiB\""),
            ("dicom.timeouts.artim_seconds", "1"),
            ("dicom.timeouts.pdu_seconds", "2"),
            ("dicom.timeouts.message_seconds", "3"),
            ("dicom.timeouts.idle_seconds", "4"),
            ("dicom.timeouts.write_seconds", "5"),
            ("limits.shutdown_seconds", "6"),
        ]);
        let limits = scp_limits(&config);
        assert_eq!((limits.associations_max, limits.associations_per_peer_max), (3, 2));
        assert_eq!((limits.pdu_bytes_max, limits.dataset_bytes_max), (16 << 10, 5 << 20));
        let timeouts = scp_timeouts(&config);
        let all =
            [timeouts.artim, timeouts.pdu, timeouts.message, timeouts.idle, timeouts.write, timeouts.grace];
        assert_eq!(all.map(|duration| duration.as_secs()), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_spool_is_told_what_the_site_says() {
        let set = [("spool.journal_bytes", "\"64MiB\""), ("spool.min_free_bytes", "\"3MiB\"")];
        let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = load(&Overrides { file: ConfigFile::Nothing, set }).unwrap();
        let told = spool(&config);
        assert_eq!((told.journal_bytes, told.min_free_bytes), (64 << 20, 3 << 20));
    }
}
