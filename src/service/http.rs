//! The HTTP listener: bound early, so that a busy port ends the start; served last.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use axum_server::{Handle, Server, tls_rustls::RustlsConfig};
use hyper_util::rt::TokioTimer;

use crate::config::Http;

/// A bound address, with its certificate when there is one.
pub(super) struct HttpListener {
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    header_limit: Duration,
}

/// A server that serves.
pub(super) struct HttpServer {
    handle: Handle<SocketAddr>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl HttpListener {
    /// A client has `header_limit` to send the head of a request.
    pub(super) async fn bind(http: &Http, header_limit: Duration) -> anyhow::Result<Self> {
        let tls = match (&http.tls_cert, &http.tls_key) {
            (Some(cert), Some(key)) => {
                let loaded = RustlsConfig::from_pem_file(cert, key).await;
                Some(loaded.with_context(|| {
                    format!("cannot use http.tls_cert {} with http.tls_key {}", cert.display(), key.display())
                })?)
            }
            (None, _) | (_, None) => None,
        };
        let listener =
            TcpListener::bind(http.listen).map_err(|error| busy("http.listen", http.listen, &error))?;
        listener.set_nonblocking(true).context("cannot prepare the HTTP socket")?;
        Ok(Self { listener, tls, header_limit })
    }

    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("the HTTP socket has no address")
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn serve(self, router: Router) -> anyhow::Result<HttpServer> {
        let handle = Handle::new();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = match self.tls {
            Some(tls) => {
                let server =
                    axum_server::from_tcp_rustls(self.listener, tls).context("cannot serve HTTPS")?;
                tokio::spawn(impatient(server, self.header_limit).handle(handle.clone()).serve(service))
            }
            None => {
                let server = axum_server::from_tcp(self.listener).context("cannot serve HTTP")?;
                tokio::spawn(impatient(server, self.header_limit).handle(handle.clone()).serve(service))
            }
        };
        Ok(HttpServer { handle, task })
    }
}

/// Lets a connection go that sends no whole head in time, or of HTTP/2 answers no ping.
fn impatient<Address: axum_server::Address, Acceptor>(
    mut server: Server<Address, Acceptor>,
    limit: Duration,
) -> Server<Address, Acceptor> {
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limit);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(limit).keep_alive_timeout(limit);
    server
}

impl HttpServer {
    /// Answers what was asked, at most for `limit`, and ends.
    pub(super) async fn stop(self, limit: Duration) -> anyhow::Result<()> {
        self.handle.graceful_shutdown(Some(limit));
        self.task.await.context("the HTTP server panicked")?.context("the HTTP server failed")
    }
}

/// One sentence about an address that cannot be listened on.
pub(super) fn busy(setting: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: another program does; stop that one, or choose another address with {setting}"
        ),
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "cannot listen on {address}: ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE); \
             grant it, or choose another address with {setting}"
        ),
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "cannot listen on {address}: this machine does not have the address; choose another with {setting}"
        ),
        _ => anyhow::anyhow!("cannot listen on {address} ({setting}): {error}"),
    }
}
