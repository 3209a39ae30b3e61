//! What the API must be told before it can serve: limits, origins, proxies, deadlines.
//!
//! The binary reads and checks its own configuration and hands these values over; nothing
//! in this crate reads a file or the environment.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::http::HeaderValue;
use ipnet::IpNet;

use crate::{
    auth::{GatewayTokens, Oidc},
    drift::DriftConfig,
};

/// How the listener in front of the router speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TLS ends in this process.
    Tls,
    /// Plain HTTP; see [`Plain`] for who may use it.
    Plain,
}

/// Who may speak plain HTTP to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Peers on loopback that forward for nobody, and trusted proxies that took HTTPS.
    LoopbackOnly,
    /// Everybody: `insecure = true`, for development.
    Everywhere,
}

/// How requests are let in.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub listener: Listener,
    pub plain: Plain,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of other web pages that may call the API; none by default.
    pub cors_origins: Vec<HeaderValue>,
    pub limits: Limits,
    pub tokens: TokenLifetimes,
    pub lock_out: LockOut,
    pub compat: Compat,
    /// The provider whose tokens are believed beside our own.
    pub oidc: Option<Arc<Oidc>>,
    pub drift: DriftConfig,
}

/// What clients of older systems need.
#[derive(Debug, Clone)]
pub struct Compat {
    /// The model that answers where none is named, or one that nobody knows.
    pub default_model: String,
    /// The access tokens of the gateway that stood in front of the old servers.
    pub django: Option<GatewayTokens>,
    /// Programs that segment for us; none: the routes for them are not there.
    pub polling_workers: Vec<PollingWorker>,
    /// The source that viewers see at `/api/orthanc`; none: the only one.
    pub orthanc: Option<String>,
}

/// A program outside that asks for series to segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollingWorker {
    /// Whoever shows an API key of that name.
    Key(String),
    /// Whoever calls from there, and shows nothing.
    Address(IpNet),
}

/// What one caller, and all callers together, may ask of the service.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Per caller: API key or account, else address.
    pub requests_per_minute: NonZeroU32,
    /// Predictions, schemas and reloads are counted apart from everything else, per caller.
    pub predicts_per_minute: NonZeroU32,
    pub schemas_per_minute: NonZeroU32,
    pub reloads_per_minute: NonZeroU32,
    /// Sign-in attempts per address.
    pub sign_ins_per_minute: NonZeroU32,
    /// The largest JSON body.
    pub body_bytes: usize,
    /// The largest body of rows to predict.
    pub predict_bytes: usize,
    /// The largest upload of DICOM files.
    pub upload_bytes: usize,
    /// The largest segmentation of a review.
    pub mask_bytes: u64,
    /// Requests served at once; one more is answered 503.
    pub concurrent_requests: usize,
    /// Event streams held open at once.
    pub event_streams: usize,
    /// The first byte of an answer comes within this time, or 503 does.
    pub request_timeout: Duration,
    /// The same for uploads, which take as long as their network does.
    pub upload_timeout: Duration,
}

/// How long a sign-in lasts.
#[derive(Debug, Clone, Copy)]
pub struct TokenLifetimes {
    pub access: Duration,
    pub refresh: Duration,
    /// A one-time login that nobody used.
    pub one_time: Duration,
}

/// When an account with wrong passwords is closed, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct LockOut {
    pub failures: NonZeroU32,
    pub duration: Duration,
}

const fn count(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listener: Listener::Plain,
            plain: Plain::LoopbackOnly,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            limits: Limits::default(),
            tokens: TokenLifetimes::default(),
            lock_out: LockOut::default(),
            compat: Compat::default(),
            oidc: None,
            drift: DriftConfig::default(),
        }
    }
}

impl Default for Compat {
    fn default() -> Self {
        Self { default_model: "meso".to_owned(), django: None, polling_workers: Vec::new(), orthanc: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: count(100),
            predicts_per_minute: count(30),
            schemas_per_minute: count(60),
            reloads_per_minute: count(10),
            sign_ins_per_minute: count(10),
            body_bytes: 1 << 20,
            predict_bytes: 100_000_000,
            upload_bytes: 2 << 30,
            mask_bytes: 256 << 20,
            concurrent_requests: 256,
            event_streams: 256,
            request_timeout: Duration::from_secs(30),
            upload_timeout: Duration::from_secs(600),
        }
    }
}

impl Default for TokenLifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(3 * 60 * 60),
            refresh: Duration::from_secs(14 * 24 * 60 * 60),
            one_time: Duration::from_secs(60 * 60),
        }
    }
}

impl Default for LockOut {
    fn default() -> Self {
        Self { failures: count(5), duration: Duration::from_secs(15 * 60) }
    }
}
