//! Refuses plain HTTP where it would travel over a network, and says who the peer is.
//!
//! Forwarding headers are believed from the configured proxies alone; from anybody else
//! they change nothing except that loopback is no longer taken for a local caller.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, header},
};

use crate::{
    config::{HttpConfig, Listener, Plain},
    error::{ApiError, ApiResult, Code},
    state::AppState,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Where the request comes from, proxies of ours taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Lets a request through when nobody on the way could have read it.
pub(crate) fn gate(state: &AppState, request: &mut Request) -> ApiResult<()> {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() else {
        return Err(ApiError::internal("the listener does not tell the peer's address"));
    };
    let client = admit(&state.http, peer.ip().to_canonical(), request.headers())?;
    request.extensions_mut().insert(client);
    Ok(())
}

fn admit(config: &HttpConfig, peer: IpAddr, headers: &HeaderMap) -> Result<ClientAddress, ApiError> {
    let trusted = config.trusted_proxies.iter().any(|network| network.contains(&peer));
    let private = match config.listener {
        Listener::Tls => true,
        Listener::Plain if config.plain == Plain::Everywhere => true,
        Listener::Plain if trusted && is_forwarded(headers) => arrived_by_https(headers),
        Listener::Plain => peer.is_loopback() && !is_forwarded(headers),
    };
    if !private {
        return Err(ApiError::because(
            Code::HttpsRequired,
            "plain HTTP is served on loopback only: use HTTPS, a proxy named in http.trusted_proxies \
             that sends X-Forwarded-Proto: https, or set http.insecure = true",
        ));
    }
    Ok(ClientAddress(if trusted { client_behind(config, peer, headers) } else { peer }))
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    [header::FORWARDED, X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP, header::VIA]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// How the caller reached us, for addresses that are told to nobody else than him.
pub(crate) fn came_by_https(config: &HttpConfig, headers: &HeaderMap) -> bool {
    config.listener == Listener::Tls || arrived_by_https(headers)
}

/// The proxy nearest to us writes last, so the last word counts.
fn arrived_by_https(headers: &HeaderMap) -> bool {
    last_of(headers, &X_FORWARDED_PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

fn last_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// The first address, counted from us, that is not one of our proxies.
fn client_behind(config: &HttpConfig, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok());
    for entry in lines.flat_map(|line| line.rsplit(',')) {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !config.trusted_proxies.iter().any(|network| network.contains(&client)) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn behind_proxy() -> HttpConfig {
        HttpConfig { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..HttpConfig::default() }
    }

    #[track_caller]
    fn check(config: &HttpConfig, peer: &str, pairs: &[(&'static str, &str)], expect: Option<&str>) {
        let client = admit(config, peer.parse().unwrap(), &headers(pairs)).ok();
        assert_eq!(client.map(|client| client.0.to_string()).as_deref(), expect);
    }

    #[test]
    fn plain_http_is_served_on_loopback_alone() {
        let config = HttpConfig::default();
        check(&config, "127.0.0.1", &[], Some("127.0.0.1"));
        check(&config, "::1", &[], Some("::1"));
        check(&config, "192.0.2.7", &[], None);
    }

    #[test]
    fn a_forwarding_header_ends_the_trust_in_loopback() {
        let config = HttpConfig::default();
        for header in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "via"] {
            check(&config, "127.0.0.1", &[(header, "https")], None);
        }
    }

    #[test]
    fn a_stranger_cannot_claim_https() {
        check(&behind_proxy(), "192.0.2.7", &[("x-forwarded-proto", "https")], None);
    }

    #[test]
    fn a_trusted_proxy_speaks_for_its_client() {
        let config = behind_proxy();
        let https = ("x-forwarded-proto", "https");
        check(&config, "10.1.1.1", &[https, ("x-forwarded-for", "192.0.2.7")], Some("192.0.2.7"));
        check(&config, "10.1.1.1", &[("x-forwarded-proto", "http")], None);
        check(&config, "10.1.1.1", &[("x-forwarded-proto", "https, http")], None);
        check(&config, "10.1.1.1", &[], None);
        // What the client itself claimed stands further left and is not believed.
        check(
            &config,
            "10.1.1.1",
            &[https, ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.2.2.2")],
            Some("192.0.2.7"),
        );
    }

    #[test]
    fn insecure_mode_and_tls_serve_everybody() {
        check(
            &HttpConfig { plain: Plain::Everywhere, ..HttpConfig::default() },
            "192.0.2.7",
            &[],
            Some("192.0.2.7"),
        );
        check(
            &HttpConfig { listener: Listener::Tls, ..HttpConfig::default() },
            "192.0.2.7",
            &[],
            Some("192.0.2.7"),
        );
    }
}
