//! A listener as a process of its own, in a folder of its own, on ports of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long anything here may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
    _temporary: Option<TempDir>,
}

impl Service {
    /// Under process durability, in a temporary folder.
    pub(crate) fn start() -> Self {
        Self::with(&["--durability", "process"])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let temporary = TempDir::new().unwrap();
        let mut service = Self::within(temporary.path(), arguments);
        service._temporary = Some(temporary);
        service
    }

    pub(crate) fn within(folder: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let (child, ports) = launch(folder, &arguments);
        Self {
            child,
            folder: folder.to_owned(),
            arguments,
            port: ports[0],
            tls_port: ports.get(1).copied(),
            _temporary: None,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, then a new process over the same folder.
    pub(crate) fn die_and_restart(&mut self) {
        self.die();
        self.restart();
    }

    pub(crate) fn die(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        let (child, ports) = launch(&self.folder, &self.arguments);
        self.child = child;
        self.port = ports[0];
    }

    /// Ends in order, so that everything is in the ledger.
    pub(crate) fn stop(&mut self) {
        self.terminate();
        self.wait_for_end();
    }

    /// SIGTERM, and nothing waited for.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub(crate) fn wait_for_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "the listener ended with {status}: {}", log(&self.folder));
                return;
            }
            assert!(Instant::now() < deadline, "the listener does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every instance in the spool.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        let shards = fs::read_dir(self.folder.join("spool")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = shards
            .filter(|path| path.file_name().is_some_and(|name| name.len() == 2))
            .flat_map(|shard| files_below(&shard))
            .collect();
        files.sort();
        files
    }

    pub(crate) fn quarantined(&self) -> usize {
        files_below(&self.folder.join("quarantine"))
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "dcm"))
            .count()
    }

    pub(crate) fn unfinished(&self) -> usize {
        let all = files_below(&self.folder.join("spool"));
        all.iter().filter(|path| path.extension().is_some_and(|e| e == "part")).count()
    }

    /// What a query gives, read from the ledger's file.
    pub(crate) fn ledger(&self, sql: &str) -> String {
        python(&[
            "-c",
            "import sqlite3,sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row)",
            self.ledger_file().to_str().unwrap(),
            sql,
        ])
    }

    /// Changes the ledger's file behind the service's back.
    pub(crate) fn break_ledger(&self, sql: &str) {
        let script = "import sqlite3,sys\nsqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
        python(&["-c", script, self.ledger_file().to_str().unwrap(), sql]);
    }

    /// Keeps everybody else from writing to the ledger until it is dropped.
    pub(crate) fn hold_ledger(&self) -> peers::Guarded {
        let script = "import sqlite3,sys,time\ndb=sqlite3.connect(sys.argv[1],isolation_level=None)\n\
            db.execute('begin immediate')\nopen(sys.argv[2],'w').close()\ntime.sleep(60)";
        let held = self.folder.join("held");
        let mut command = Command::new(peers::python());
        command.args(["-c", script]).arg(self.ledger_file()).arg(&held);
        let holder = peers::Guarded::spawn(command);
        wait_until("the ledger is held", || held.exists());
        holder
    }

    fn ledger_file(&self) -> PathBuf {
        self.folder.join("ledger.db")
    }

    /// The most memory that the process has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("the listener's log:\n{}", log(&self.folder));
        }
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn launch(folder: &Path, arguments: &[String]) -> (Child, Vec<u16>) {
    let ports = folder.join("ports");
    if ports.exists() {
        fs::remove_file(&ports).unwrap();
    }
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = peers::mortal(example())
        .args(["--dir", folder.to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = fs::read_to_string(&ports) {
            return (child, text.split_whitespace().map(|port| port.parse().unwrap()).collect());
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the listener ended at its start with {status}: {}", self::log(folder));
        }
        assert!(Instant::now() < deadline, "the listener does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Cargo builds examples before tests, beside the folder of the test binary.
pub(crate) fn example() -> PathBuf {
    let path = std::env::current_exe().unwrap();
    path.parent().unwrap().parent().unwrap().join("examples/listen")
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Instances that come with the repository.
pub(crate) fn data(folder: &str) -> Vec<PathBuf> {
    let path = peers::workspace().join("tests/data").join(folder);
    let mut files = files_below(&path);
    files.retain(|path| path.extension().is_none_or(|extension| extension != "md" && extension != "xz"));
    assert!(!files.is_empty(), "{} has no files", path.display());
    files.sort();
    files
}

/// Runs a command that has to succeed; gives what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}: {text}", output.status);
    text
}

/// A tool of DCMTK, without the environment that would change its timing.
pub(crate) fn dcmtk(name: &str) -> Command {
    let mut command = Command::new(peers::dcmtk(name));
    command.env_remove("TCP_NODELAY");
    command
}

#[track_caller]
pub(crate) fn python(arguments: &[&str]) -> String {
    run(Command::new(peers::python()).args(arguments))
}

/// A script of `scp/tests/peers`.
#[track_caller]
pub(crate) fn peer_script(name: &str, arguments: &[&str]) -> String {
    run(&mut script(name, arguments))
}

/// The same over TLS, with the authority that must have signed our certificate.
#[track_caller]
pub(crate) fn peer_script_over_tls(name: &str, arguments: &[&str], authority: &Path) -> String {
    run(script(name, arguments).env("TLS_CA", authority))
}

fn script(name: &str, arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name);
    let mut command = Command::new(peers::python());
    command.arg(script).args(arguments);
    command
}

/// Waits until `ready` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    peers::wait_until(what, PATIENCE, || ready().then_some(()));
}
