//! The listener alone, without models: for side-by-side measurements and for tests that kill it.
//!
//!     cargo run -p scp --example listen -- --listen 127.0.0.1:11112 --dir /tmp/data [--aet OVERREAD]
//!         [--durability power|process] [--min-free-bytes N] [--commitment-peer TITLE@HOST:PORT]
//!         [--tls-listen A --tls-cert F --tls-key F [--tls-ca F [--tls-client optional]]]
//!         [--same-uid replace] [--user NAME:PASSCODE]
//!         [--token-key FILE] [--journal-bytes N] [--associations-max N] [--associations-per-peer-max N]
//!         [--dataset-bytes-max N] [--artim-ms N] [--pdu-ms N] [--message-ms N] [--idle-ms N] [--write-ms N]
//!
//! SIGTERM or Ctrl-C end it in order. Port 0 picks a free one; `DIR/ports` tells which.

use std::{collections::HashMap, error::Error, fs, path::PathBuf, sync::Arc, time::Duration};

use ledger::{BootId, Ledger, NodeId};
use scp::{
    AeTitle, ClientCertificates, CommitmentPeer, Limits, Listener, ScpConfig, Timeouts, TlsConfig, TokenRule,
    UserPasscode,
};
use spool::{Durability, SameUid, Spool, SpoolConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn Error + Send + Sync>;

struct Arguments(HashMap<String, String>);

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let mut given = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            let name = name.strip_prefix("--").ok_or("arguments come as --name value")?.to_owned();
            given.insert(name, words.next().ok_or("an argument has no value")?);
        }
        Ok(Self(given))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number<N: std::str::FromStr<Err: Error + Send + Sync + 'static>>(
        &self,
        name: &str,
        default: N,
    ) -> Result<N, Failure> {
        Ok(self.get(name).map(str::parse).transpose()?.unwrap_or(default))
    }

    fn duration(&self, name: &str, default: Duration) -> Result<Duration, Failure> {
        Ok(self.get(name).map(str::parse).transpose()?.map_or(default, Duration::from_millis))
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::read()?;
    let dir = PathBuf::from(arguments.get("dir").ok_or("--dir is missing")?);
    fs::create_dir_all(&dir)?;
    let process = arguments.get("durability") == Some("process");
    let spool = Spool::open(SpoolConfig {
        durability: if process { Durability::Process } else { Durability::Power },
        journal_bytes: match arguments.get("journal-bytes") {
            Some(bytes) => bytes.parse()?,
            None => SpoolConfig::JOURNAL_BYTES,
        },
        min_free_bytes: arguments.get("min-free-bytes").map(str::parse).transpose()?.unwrap_or(64 << 20),
        same_uid: if arguments.get("same-uid") == Some("replace") {
            SameUid::Replace
        } else {
            SameUid::KeepFirst
        },
        ..SpoolConfig::new(dir.join("spool"), dir.join("quarantine"))
    })?;
    let durability = if process { ledger::Durability::Process } else { ledger::Durability::Power };
    let url = format!("sqlite:{}", dir.join("ledger.db").display());
    let ledger = Ledger::open(&url, durability).await?;
    let config = config(&arguments)?;
    scp::reconcile(&spool, &ledger, &config.node, &config.boot).await?;
    let (node, boot) = (config.node.clone(), config.boot.clone());
    let shutdown = CancellationToken::new();
    tokio::spawn(scp::record_owed(spool.clone(), ledger.clone(), node, boot, shutdown.clone()));
    let listener = Listener::bind(config, spool, ledger.clone(), Arc::new(|| {}))?;
    let mut ports = listener.local_addr()?.port().to_string();
    if let Some(tls) = listener.local_tls_addr()? {
        ports = format!("{ports} {}", tls.port());
    }
    // Renamed into place, so that whoever waits for it reads it whole.
    fs::write(dir.join("ports.new"), ports)?;
    fs::rename(dir.join("ports.new"), dir.join("ports"))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.cancel();
    });
    listener.run(shutdown).await?;
    ledger.close().await;
    Ok(())
}

/// Different at each start.
fn boot() -> Result<BootId, Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(BootId::new(format!("{}-{}", now.as_nanos(), std::process::id())))
}

fn config(arguments: &Arguments) -> Result<ScpConfig, Failure> {
    let title = AeTitle::parse(arguments.get("aet").unwrap_or("OVERREAD"))?;
    let listen = arguments.get("listen").unwrap_or("127.0.0.1:0").parse()?;
    let mut config = ScpConfig::new(listen, title, NodeId::new("listen"), boot()?);
    config.limits = Limits {
        associations_max: arguments.number("associations-max", 200)?,
        associations_per_peer_max: arguments.number("associations-per-peer-max", 200)?,
        dataset_bytes_max: arguments.number("dataset-bytes-max", Limits::default().dataset_bytes_max)?,
        ..Limits::default()
    };
    let usual = Timeouts::default();
    config.timeouts = Timeouts {
        artim: arguments.duration("artim-ms", usual.artim)?,
        pdu: arguments.duration("pdu-ms", usual.pdu)?,
        message: arguments.duration("message-ms", usual.message)?,
        idle: arguments.duration("idle-ms", usual.idle)?,
        write: arguments.duration("write-ms", usual.write)?,
        ..usual
    };
    if let Some(listen) = arguments.get("tls-listen") {
        config.tls = Some(TlsConfig {
            listen: listen.parse()?,
            cert: arguments.get("tls-cert").ok_or("--tls-cert is missing")?.into(),
            key: arguments.get("tls-key").ok_or("--tls-key is missing")?.into(),
            client: match (arguments.get("tls-ca"), arguments.get("tls-client")) {
                (None, _) => ClientCertificates::NotAsked,
                (Some(path), Some("optional")) => ClientCertificates::Optional(path.into()),
                (Some(path), _) => ClientCertificates::Required(path.into()),
            },
        });
    }
    if let Some((name, passcode)) = arguments.get("user").and_then(|user| user.split_once(':')) {
        config.identities.users.push(UserPasscode { name: name.to_owned(), passcode: passcode.to_owned() });
    }
    if let Some(path) = arguments.get("token-key") {
        config.identities.tokens = Some(TokenRule::new(&std::fs::read(path)?, Some("hospital"), None)?);
    }
    if let Some((title, address)) = arguments.get("commitment-peer").and_then(|peer| peer.split_once('@')) {
        let peer = CommitmentPeer { ae_title: AeTitle::parse(title)?, address: address.to_owned() };
        config.commitment_peers.push(peer);
    }
    Ok(config)
}
