//! A private PostgreSQL cluster in a temporary folder.

use std::{
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{Guarded, free_port, mortal, wait_until};

/// A running cluster; each call of [`Postgres::database`] gives a new, empty database. May be kept in a
/// static: it ends with the process, and its folder goes.
#[derive(Debug)]
pub struct Postgres {
    server: Guarded,
    port: u16,
    bin: PathBuf,
    databases: AtomicU32,
    // Last: the folder goes after the server.
    _sweeper: Sweeper,
}

/// Removes a folder when this value goes or our process ends, however it ends.
#[derive(Debug)]
struct Sweeper {
    shell: Child,
    held_open: Option<ChildStdin>,
}

impl Sweeper {
    #[track_caller]
    fn of(folder: &Path) -> Self {
        // Again after a moment: a server that was killed may still be writing.
        const SCRIPT: &str = r#"read -r _; rm -rf "$0" || { sleep 1; rm -rf "$0"; }"#;
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).arg(folder).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut shell = command.spawn().unwrap_or_else(|error| panic!("cannot run sh: {error}"));
        let held_open = shell.stdin.take();
        Self { shell, held_open }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.held_open.take());
        // Nothing can be done about a folder that stays.
        self.shell.wait().ok();
    }
}

impl Postgres {
    /// A cluster that is fast and forgets everything in a power cut.
    ///
    /// # Panics
    /// When PostgreSQL is missing or does not start.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&["fsync=off", "synchronous_commit=off"])
    }

    /// A cluster that flushes each commit, as a site's does.
    ///
    /// # Panics
    /// When PostgreSQL is missing or does not start.
    #[track_caller]
    pub fn start_durable() -> Self {
        Self::start_with(&[])
    }

    #[track_caller]
    fn start_with(settings: &[&str]) -> Self {
        let bin = newest_server();
        let folder = tempfile::Builder::new().prefix("overread-pg").tempdir().expect("a temporary folder");
        let folder = folder.keep();
        let sweeper = Sweeper::of(&folder);
        let data = folder.join("data");
        std::fs::create_dir(&data).expect("a folder in a fresh folder");
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("-R").arg("postgres").arg(&folder));
        }
        run(as_postgres(&bin.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--username=overread", "--no-sync", "-D"])
            .arg(&data));
        ask_strangers_for_a_password(&data.join("pg_hba.conf"));
        let port = free_port();
        let mut command = as_postgres(&bin.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "max_connections=300"]);
        command.args(settings.iter().flat_map(|setting| ["-c", *setting]));
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Guarded::spawn(command);
        let postgres = Self { server, port, bin, databases: AtomicU32::new(0), _sweeper: sweeper };
        wait_until("PostgreSQL to accept connections", Duration::from_secs(60), || {
            postgres.psql("postgres", "select 1").status.success().then_some(())
        });
        postgres
    }

    /// The URL of a new, empty database.
    ///
    /// # Panics
    /// When the server does not make one.
    #[track_caller]
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.administer(&format!("create database {name}"));
        self.url("overread", &name)
    }

    /// The address of a database as a user, who may be given as `NAME:PASSWORD`. The user `stranger`, once made, is
    /// asked for a password; nobody else is.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the owner of the cluster.
    ///
    /// # Panics
    /// When the server refuses it.
    #[track_caller]
    pub fn administer(&self, statement: &str) {
        let done = self.psql("postgres", statement);
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, as a machine that went away would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    fn psql(&self, database: &str, statement: &str) -> std::process::Output {
        let mut command = Command::new(self.bin.join("psql"));
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "overread",
            "-d",
            database,
            "-c",
            statement,
        ]);
        command.output().unwrap_or_else(|error| panic!("cannot run psql: {error}"))
    }
}

#[track_caller]
fn ask_strangers_for_a_password(file: &Path) {
    let rest = std::fs::read_to_string(file).expect("initdb has written it");
    let rule = "host all stranger 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(file, format!("{rule}{rest}")).expect("a file in our folder");
}

fn newest_server() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.retain(|bin| bin.join("initdb").is_file());
    versions.sort();
    versions.pop().unwrap_or_else(|| {
        panic!("PostgreSQL is not installed: run `make peers`, or apt-get install postgresql")
    })
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"0"))
}

/// As user `postgres` when we are root.
fn as_postgres(program: &Path) -> Command {
    let mut command = mortal("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    // Set after the change of user, which clears it.
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}
