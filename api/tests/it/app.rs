//! A whole API in a temporary folder, whose clock the test moves.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use api::{AppState, HttpConfig, Password, Services, TokenSigner, digest_of};
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use ledger::{AccountId, AuditKey, BootId, Durability, Ledger, Millis, NewAccount, NewApiKey, NodeId, Role};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use spool::{Spool, SpoolConfig};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) const START: Millis = Millis(1_700_000_000_000);
pub(crate) const TOKEN_SECRET: [u8; 32] = [2; 32];
pub(crate) const HOOK_SECRET: &str = "the secret of the source";
pub(crate) const LOOPBACK: &str = "127.0.0.1:40000";

pub(crate) struct TestApp {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) router: Router,
    pub(crate) state: AppState,
    pub(crate) audit_key: AuditKey,
    pub(crate) shutdown: CancellationToken,
    pub(crate) models: PathBuf,
    clock: Arc<AtomicI64>,
    _folder: TempDir,
}

/// The metrics recorder is one for the process.
fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| api::install_metrics().unwrap()).clone()
}

/// Limits that no test meets by accident.
pub(crate) fn roomy() -> HttpConfig {
    let mut http = HttpConfig::default();
    http.limits.requests_per_minute = 100_000.try_into().unwrap();
    http.limits.sign_ins_per_minute = 100_000.try_into().unwrap();
    http.limits.predicts_per_minute = 100_000.try_into().unwrap();
    http.limits.schemas_per_minute = 100_000.try_into().unwrap();
    http.limits.reloads_per_minute = 100_000.try_into().unwrap();
    http
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(roomy()).await
    }

    pub(crate) async fn with(http: HttpConfig) -> Self {
        Self::with_models(http, &[]).await
    }

    /// With packages that ship.
    pub(crate) async fn with_models(http: HttpConfig, names: &[&str]) -> Self {
        // An Orthanc that is not there: the webhook must not need it.
        Self::over(http, names, orthanc_bridge::Connection::to("http://127.0.0.1:9").unwrap()).await
    }

    /// In front of an Orthanc.
    pub(crate) async fn before(http: HttpConfig, url: &str, user: Option<(&str, &str)>) -> Self {
        let mut connection = orthanc_bridge::Connection::to(url).unwrap();
        connection.credentials = user.map(|(username, password)| orthanc_bridge::Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        });
        Self::over(http, &[], connection).await
    }

    async fn over(http: HttpConfig, names: &[&str], orthanc: orthanc_bridge::Connection) -> Self {
        crate::log::collect();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url, Durability::Process).await.unwrap();
        let spool_root = folder.path().join("spool");
        let mut config = SpoolConfig::new(&spool_root, folder.path().join("quarantine"));
        config.durability = spool::Durability::Process;
        config.min_free_bytes = 1;
        config.journal_bytes = 48 << 20;
        let spool = Spool::open(config).unwrap();
        let clock = Arc::new(AtomicI64::new(START.0));
        let shutdown = CancellationToken::new();
        let audit_key = AuditKey::new([1; 32]);
        ledger.keep_calls_in(&folder.path().join("calls.journal"), &audit_key).await.unwrap();
        let (node, boot) = (NodeId::new("node"), BootId::new("boot"));
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        for name in names {
            copy_package(name, &models.join(name));
        }
        let registry = Arc::new(registry(&models));
        let now = Arc::clone(&clock);
        let state = AppState::new(Services {
            pipeline: pipeline::PipelineHandle::detached(
                pipeline::PipelineConfig::new(uuid::Uuid::nil(), node.clone(), boot.clone()),
                &ledger,
                Arc::clone(&registry),
            )
            .unwrap(),
            bridge: bridge(orthanc, &ledger, &spool, &node, &boot, &shutdown),
            ledger: ledger.clone(),
            spool: spool.clone(),
            temporary: api::TemporaryFolder::open(&folder.path().join("tmp"), 1).unwrap(),
            spool_root,
            registry,
            signer: TokenSigner::new(&TOKEN_SECRET).unwrap(),
            audit_key: audit_key.clone(),
            pseudonyms: results::Pseudonyms::new([3; 32]),
            metrics: metrics(),
            node,
            boot,
            clock: Arc::new(move || Millis(now.load(Ordering::SeqCst))),
            shutdown: shutdown.clone(),
            http,
            retrain: api::RetrainConfig {
                allow: vec!["meso".to_owned()],
                path: vec![python_folder(), "/usr/bin".into(), "/bin".into()],
            },
        });
        let router = api::router(state.clone());
        Self { ledger, spool, router, state, audit_key, shutdown, models, clock, _folder: folder }
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(self.clock.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// An API key of that role.
    pub(crate) async fn key(&self, role: Role) -> String {
        self.scoped_key(role, &[]).await
    }

    pub(crate) async fn scoped_key(&self, role: Role, scopes: &[&str]) -> String {
        let key = api::Secret::generate().unwrap().expose().to_owned();
        let new = NewApiKey {
            name: format!("{role} key"),
            role,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            hash: digest_of(&key),
            expires_at: None,
        };
        self.ledger.add_api_key(&new, "test", self.now()).await.unwrap();
        key
    }

    /// An account whose password is [`password_of`] its name.
    pub(crate) async fn account(&self, name: &str, role: Role) -> AccountId {
        let account = NewAccount {
            name: name.to_owned(),
            role,
            full_name: format!("Dr {name}"),
            organization: "Test".to_owned(),
            password_hash: api::hash_password(&Password::new(password_of(name))).unwrap(),
        };
        self.ledger.add_account(&account, "test", self.now()).await.unwrap()
    }

    /// Tokens of a new account.
    pub(crate) async fn signed_in(&self, name: &str, role: Role) -> Value {
        self.account(name, role).await;
        self.sign_in(name).await
    }

    pub(crate) async fn sign_in(&self, name: &str) -> Value {
        let body = serde_json::json!({ "name": name, "password": password_of(name) });
        let answer = self.post("/v1/auth/login").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        Call { app: self, request, peer: LOOPBACK.parse().unwrap() }
    }

    /// Serves over a socket, for what needs one; ends with `shutdown`.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = self.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await.unwrap();
        });
        address
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if !std::thread::panicking() {
            crate::log::holds_no_secret();
        }
    }
}

/// The interpreter that has what packages train with.
fn python_folder() -> PathBuf {
    peers::python().parent().unwrap().to_owned()
}

/// A shipped package, in a folder where a test may spoil it.
fn copy_package(name: &str, into: &Path) {
    let from = peers::workspace().join("models").join(name);
    std::fs::create_dir_all(into.join("selftest")).unwrap();
    for file in ["model.toml", "model.onnx", "selftest/input.npy", "selftest/expected.npy"] {
        std::fs::copy(from.join(file), into.join(file)).unwrap();
    }
}

fn registry(models: &Path) -> inference::Registry {
    let options = inference::RegistryOptions {
        allow_demonstration: inference::Demonstrations::All,
        device: inference::Device::Cpu,
        threads: NonZeroUsize::MIN,
    };
    inference::Registry::load(models, &runtime(), options).unwrap()
}

/// A model on its own.
pub(crate) fn open(package: inference::Package) -> inference::Model {
    inference::Model::open(&runtime(), package, inference::Device::Cpu, NonZeroUsize::MIN).unwrap()
}

/// One ONNX Runtime for the process; `make runtime` fetches it.
fn runtime() -> inference::Runtime {
    static RUNTIME: OnceLock<inference::Runtime> = OnceLock::new();
    let open = || inference::Runtime::open(Some(&onnxruntime())).unwrap();
    RUNTIME.get_or_init(open).clone()
}

fn onnxruntime() -> PathBuf {
    let named = ["OVERREAD__RUNTIME__ONNXRUNTIME", "ORT_DYLIB_PATH"].iter().find_map(std::env::var_os);
    if let Some(path) = named {
        return path.into();
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime");
    let library = |path: &PathBuf| path.to_string_lossy().contains("libonnxruntime.so");
    let found =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).find(library);
    found.unwrap_or_else(|| panic!("no libonnxruntime.so in {}: run `make runtime`", folder.display()))
}

/// One source.
fn bridge(
    connection: orthanc_bridge::Connection,
    ledger: &Ledger,
    spool: &Spool,
    node: &NodeId,
    boot: &BootId,
    shutdown: &CancellationToken,
) -> orthanc_bridge::BridgeHandle {
    let source = orthanc_bridge::SourceConfig {
        name: "main".to_owned(),
        connection,
        webhook_secret: Some(HOOK_SECRET.to_owned()),
        poll: Duration::from_secs(3600),
    };
    let process = orthanc_bridge::Process { node: node.clone(), boot: boot.clone() };
    orthanc_bridge::Bridge::start(vec![source], ledger, spool, &process, shutdown).unwrap().handle()
}

pub(crate) fn password_of(name: &str) -> String {
    format!("the password of {name}")
}

/// A file of the shared test data.
pub(crate) fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// A request on its way.
pub(crate) struct Call<'a> {
    app: &'a TestApp,
    request: Request<Body>,
    peer: SocketAddr,
}

impl Call<'_> {
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header(header::AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: header::HeaderName = name.parse().unwrap();
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn peer(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self.header(header::CONTENT_TYPE.as_str(), content_type)
    }

    /// A body of no stated kind.
    pub(crate) fn bytes(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) async fn send(mut self) -> Answer {
        self.request.extensions_mut().insert(ConnectInfo(self.peer));
        let response = self.app.router.clone().oneshot(self.request).await.unwrap();
        let (parts, body) = response.into_parts();
        // A stream of events has no end to wait for.
        let endless = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes =
            if endless { Vec::new() } else { axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec() };
        Answer { status: parts.status, headers: parts.headers, bytes }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem document with that status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], format!("urn:overread:problem:{code}"));
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        self
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }
}
