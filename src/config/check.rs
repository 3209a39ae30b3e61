//! What is wrong with a configuration, as one sentence; and the settings that must fit together.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use super::{Config, Role};

/// A configuration that is refused. Its text is for the person who wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

impl ConfigError {
    pub(super) fn key(key: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("{key} {problem}"))
    }

    pub(super) fn no_file(file: &Path) -> Self {
        Self(format!(
            "there is no configuration file {}; name another with --config, or leave it out",
            file.display()
        ))
    }

    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self(format!("cannot read {}: {error}", file.display()))
    }

    pub(super) fn syntax(file: &Path, error: &toml::de::Error) -> Self {
        Self(format!("{} is no valid TOML: {}", file.display(), error.to_string().trim_end()))
    }

    pub(super) fn from_figment(error: figment::Error) -> Self {
        // Several errors come as a chain; the first that was met is the outermost.
        let key = error.path.join(".");
        let place = error.metadata.as_ref().map(|metadata| place(&metadata.name)).unwrap_or_default();
        let problem = match error.kind {
            figment::error::Kind::UnknownField(field, allowed) => {
                let full = if key.is_empty() { field.clone() } else { key.clone() };
                let full = if full.ends_with(&field) { full } else { format!("{full}.{field}") };
                return Self(format!(
                    "{full} is no known setting{place}; allowed here: {}",
                    allowed.join(", ")
                ));
            }
            figment::error::Kind::MissingField(field) => {
                return Self(format!("{} is missing{place}", join(&key, &field)));
            }
            figment::error::Kind::UnknownVariant(given, allowed) => {
                format!("is \"{given}\"{place}; allowed: {}", allowed.join(", "))
            }
            figment::error::Kind::InvalidType(given, expected)
            | figment::error::Kind::InvalidValue(given, expected) => {
                format!("is {given}{place}; expected {expected}")
            }
            other => format!("cannot be used{place}: {other}"),
        };
        Self::key(&key, problem)
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn place(metadata_name: &str) -> String {
    if metadata_name.contains("environment") {
        " in the environment".to_owned()
    } else if metadata_name.contains("TOML source string") {
        String::new()
    } else {
        format!(" in {metadata_name}")
    }
}

/// Refuses settings that contradict each other or that only the whole shows to be wrong.
pub(super) fn whole(config: &Config) -> Result<(), ConfigError> {
    roles(config)?;
    http(config)?;
    dicom(config)?;
    stores(config)?;
    sources(config)?;
    oidc(config)?;
    syslog(config)?;
    polling_workers(config)?;
    destinations(config)?;
    subscribers(config)?;
    site_rules(config)
}

fn roles(config: &Config) -> Result<(), ConfigError> {
    if config.roles.is_empty() {
        return Err(ConfigError::key("roles", "is empty; allowed: scp, api, pipeline, worker"));
    }
    let is_sqlite = config.database.url.expose().starts_with("sqlite:");
    let every_role =
        [Role::Scp, Role::Api, Role::Pipeline, Role::Worker].iter().all(|role| config.has_role(*role));
    // A part of the roles means that another process does the rest; a bench or a receiver
    // alone may still use SQLite, but only a worker without a pipeline is surely a mistake.
    if is_sqlite && !every_role && config.has_role(Role::Worker) && !config.has_role(Role::Pipeline) {
        return Err(ConfigError::key(
            "roles",
            "has worker without pipeline, but database.url is SQLite, which one node alone can use; \
             add pipeline, or set database.url to postgres://…",
        ));
    }
    Ok(())
}

fn http(config: &Config) -> Result<(), ConfigError> {
    let http = &config.http;
    match (&http.tls_cert, &http.tls_key) {
        (Some(_), None) => {
            return Err(ConfigError::key("http.tls_key", "is missing; http.tls_cert needs it"));
        }
        (None, Some(_)) => {
            return Err(ConfigError::key("http.tls_cert", "is missing; http.tls_key needs it"));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    let plain = http.tls_cert.is_none();
    if plain && !http.listen.ip().is_loopback() && !http.insecure && http.trusted_proxies.is_empty() {
        return Err(ConfigError::key(
            "http.listen",
            format!(
                "is {}, which others can reach, but HTTP there would be plain; set http.tls_cert and http.tls_key, \
                 name http.trusted_proxies, or allow it with http.insecure = true",
                http.listen
            ),
        ));
    }
    for proxy in &http.trusted_proxies {
        if !is_network(proxy) {
            return Err(not_a_network("http.trusted_proxies", proxy));
        }
    }
    Ok(())
}

fn oidc(config: &Config) -> Result<(), ConfigError> {
    let oidc = &config.oidc;
    if oidc.issuer.is_empty() {
        return Ok(());
    }
    let loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let is_loopback = loopback.iter().any(|start| {
        oidc.issuer.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if !oidc.issuer.starts_with("https://") && !is_loopback {
        return Err(ConfigError::key("oidc.issuer", "is neither https nor on loopback"));
    }
    if oidc.audience.is_empty() {
        return Err(ConfigError::key(
            "oidc.audience",
            "is empty; a token for anybody would open this service",
        ));
    }
    if oidc.roles.is_empty() {
        return Err(ConfigError::key(
            "oidc.roles",
            "is empty; nobody of the provider would have a role here",
        ));
    }
    Ok(())
}

fn syslog(config: &Config) -> Result<(), ConfigError> {
    let syslog = &config.syslog;
    if syslog.address.is_empty() {
        return Ok(());
    }
    if syslog.transport == crate::config::SyslogTransport::Tls && syslog.ca_file.is_none() {
        return Err(ConfigError::key("syslog.ca_file", "is missing; TLS needs to know whom to believe"));
    }
    if syslog.cert.is_some() != syslog.key.is_some() {
        return Err(ConfigError::key("syslog.key", "and syslog.cert need each other"));
    }
    Ok(())
}

fn dicom(config: &Config) -> Result<(), ConfigError> {
    let dicom = &config.dicom;
    ae_title("dicom.ae_title", &dicom.ae_title)?;
    for also in &dicom.also_called {
        ae_title("dicom.also_called.ae_title", &also.ae_title)?;
    }
    for peer in &dicom.commitment {
        ae_title("dicom.commitment.ae_title", &peer.ae_title)?;
        if peer.address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            let problem = format!("is \"{}\"; expected HOST:PORT, such as 10.1.2.3:104", peer.address);
            return Err(ConfigError::key("dicom.commitment.address", problem));
        }
    }
    for allow in &dicom.allow {
        if let Some(title) = &allow.ae_title {
            ae_title("dicom.allow.ae_title", title)?;
        }
        if let Some(address) = allow.address.as_deref().filter(|address| !is_network(address)) {
            return Err(not_a_network("dicom.allow.address", address));
        }
        if allow.ae_title.is_none() && allow.address.is_none() {
            return Err(ConfigError::key("dicom.allow", "has an entry with neither ae_title nor address"));
        }
    }
    if dicom.allow_any && !dicom.allow.is_empty() {
        return Err(ConfigError::key(
            "dicom.allow_any",
            "is true, but dicom.allow lists peers; use one of the two",
        ));
    }
    open_to_strangers("dicom.listen", dicom.listen, config)?;
    let tls = &dicom.tls;
    if let Some(listen) = tls.listen {
        open_to_strangers("dicom.tls.listen", listen, config)?;
        for (key, value) in [("dicom.tls.cert", &tls.cert), ("dicom.tls.key", &tls.key)] {
            if value.is_none() {
                return Err(ConfigError::key(key, "is missing; dicom.tls.listen needs it"));
            }
        }
    } else if tls.cert.is_some() || tls.key.is_some() || tls.client_ca.is_some() {
        return Err(ConfigError::key(
            "dicom.tls.listen",
            "is missing; without it the other dicom.tls settings do nothing",
        ));
    }
    if tls.client_optional && tls.client_ca.is_none() {
        return Err(ConfigError::key(
            "dicom.tls.client_ca",
            "is missing; dicom.tls.client_optional needs it",
        ));
    }
    for (key, value) in [
        ("dicom.associations_max", dicom.associations_max),
        ("dicom.associations_per_peer_max", dicom.associations_per_peer_max),
    ] {
        if value == 0 {
            return Err(ConfigError::key(key, "is 0; expected at least 1"));
        }
    }
    // Every peer must be able to send a command in one PDU; the length of one has 32 bits.
    if !(4 << 10..=1 << 30).contains(&dicom.pdu_bytes_max.0) {
        let problem = format!("is {}; expected 4KiB to 1GiB", dicom.pdu_bytes_max);
        return Err(ConfigError::key("dicom.pdu_bytes_max", problem));
    }
    if dicom.dataset_bytes_max.0 < 1 << 20 {
        let problem = format!("is {}; expected at least 1MiB", dicom.dataset_bytes_max);
        return Err(ConfigError::key("dicom.dataset_bytes_max", problem));
    }
    Ok(())
}

fn open_to_strangers(key: &str, listen: SocketAddr, config: &Config) -> Result<(), ConfigError> {
    if listen.ip().is_loopback() || config.dicom.allow_any || !config.dicom.allow.is_empty() {
        return Ok(());
    }
    Err(ConfigError::key(
        key,
        format!(
            "is {listen}, which others can reach, but nobody is allowed to send; list them in dicom.allow, \
             or let everybody with dicom.allow_any = true"
        ),
    ))
}

/// PS3.5 §6.2, AE: at most 16 characters, no backslash, no control characters, not only spaces.
fn ae_title(key: &str, title: &str) -> Result<(), ConfigError> {
    let printable = title.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\');
    if title.trim().is_empty() || title.len() > 16 || !printable {
        return Err(ConfigError::key(
            key,
            format!("is {title:?}; expected 1 to 16 ASCII characters without a backslash"),
        ));
    }
    Ok(())
}

fn stores(config: &Config) -> Result<(), ConfigError> {
    let url = config.database.url.expose();
    if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(ConfigError::key(
            "database.url",
            format!(
                "is {:?}; expected \"sqlite:FILE\" or \"postgres://USER:PASSWORD@HOST/NAME\"",
                config.database.url
            ),
        ));
    }
    if !config.spool.url.starts_with("file:") {
        return Err(ConfigError::key(
            "spool.url",
            format!("is {:?}; expected \"file:FOLDER\"", config.spool.url),
        ));
    }
    Ok(())
}

fn sources(config: &Config) -> Result<(), ConfigError> {
    names_differ("source", config.sources.iter().map(|source| source.name.as_str()))?;
    for (idx, source) in config.sources.iter().enumerate() {
        http_url(&format!("source.{idx}.url"), &source.url)?;
    }
    let shown = &config.compat.orthanc;
    if !shown.is_empty() && !config.sources.iter().any(|source| source.name == *shown) {
        return Err(ConfigError::key(
            "compat.orthanc",
            format!("is {shown:?}, which is the name of no [[source]]; name one, or leave it empty"),
        ));
    }
    Ok(())
}

fn polling_workers(config: &Config) -> Result<(), ConfigError> {
    for (idx, worker) in config.compat.polling_workers.iter().enumerate() {
        if worker.key.is_some() == worker.address.is_some() {
            return Err(ConfigError::key(
                &format!("compat.polling_workers.{idx}"),
                "names a worker by key or by address, by one of the two",
            ));
        }
    }
    Ok(())
}

fn subscribers(config: &Config) -> Result<(), ConfigError> {
    names_differ("notify", config.subscribers.iter().map(|one| one.name.as_str()))?;
    for (idx, one) in config.subscribers.iter().enumerate() {
        if let Some((key, problem)) = one.problem() {
            return Err(ConfigError::key(&format!("notify.{idx}.{key}"), problem));
        }
        if let Some(url) = &one.url {
            http_url(&format!("notify.{idx}.url"), url)?;
        }
    }
    Ok(())
}

fn destinations(config: &Config) -> Result<(), ConfigError> {
    names_differ("destination", config.destinations.iter().map(|destination| destination.name.as_str()))?;
    for (idx, destination) in config.destinations.iter().enumerate() {
        let prefix = format!("destination.{idx}");
        if let Some((key, problem)) = destination.problem() {
            return Err(ConfigError::key(&format!("{prefix}.{key}"), problem));
        }
        if let Some(url) = &destination.url {
            http_url(&format!("{prefix}.url"), url)?;
        }
        if let Some(title) = &destination.ae_title {
            ae_title(&format!("{prefix}.ae_title"), title)?;
        }
        if let Some(address) = &destination.address {
            host_and_port(&format!("{prefix}.address"), address)?;
        }
    }
    Ok(())
}

fn site_rules(config: &Config) -> Result<(), ConfigError> {
    let mut models = BTreeSet::new();
    for (idx, rule) in config.site_rules.iter().enumerate() {
        let prefix = format!("site_rule.{idx}");
        rule.parsed(&prefix)?;
        if !models.insert(&rule.model) {
            let problem = format!("{:?} stands twice; each model has one rule", rule.model);
            return Err(ConfigError::key(&format!("{prefix}.model"), problem));
        }
        let known: Vec<&str> =
            config.destinations.iter().map(|destination| destination.name.as_str()).collect();
        let stranger = rule.destinations.iter().flatten().find(|name| !known.contains(&name.as_str()));
        if let Some(name) = stranger {
            let problem =
                format!("names {name:?}, which is no [[destination]]; there are: {}", known.join(", "));
            return Err(ConfigError::key(&format!("{prefix}.destinations"), problem));
        }
    }
    Ok(())
}

fn names_differ<'a>(table: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(ConfigError::key(
                &format!("{table}.name"),
                format!("is {name:?}; expected letters, digits, - and _, at most 64"),
            ));
        }
        if !seen.insert(name) {
            return Err(ConfigError::key(
                &format!("{table}.name"),
                format!("{name:?} stands twice; each {table} needs its own"),
            ));
        }
    }
    Ok(())
}

fn http_url(key: &str, url: &str) -> Result<(), ConfigError> {
    let parsed = reqwest::Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match parsed {
        // A password in a URL ends up in logs; there are keys of their own for it.
        Some(url) if url.password().is_some() => {
            Err(ConfigError::key(key, "holds a password; use the keys username and password"))
        }
        Some(_) => Ok(()),
        None => Err(ConfigError::key(key, format!("is {url:?}; expected http://HOST… or https://HOST…"))),
    }
}

fn host_and_port(key: &str, address: &str) -> Result<(), ConfigError> {
    let valid = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    if valid { Ok(()) } else { Err(ConfigError::key(key, format!("is {address:?}; expected HOST:PORT"))) }
}

fn is_network(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok()
}

fn not_a_network(key: &str, text: &str) -> ConfigError {
    ConfigError::key(
        key,
        format!("holds {text:?}; expected an address such as 10.1.2.3 or a network such as 10.1.2.0/24"),
    )
}

#[cfg(test)]
mod tests;
