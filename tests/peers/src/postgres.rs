//! A private PostgreSQL cluster in a temporary folder, without durability: tests only.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{Guarded, free_port, mortal, wait_until};

/// A running cluster; each call of [`Postgres::database`] gives a new, empty database.
#[derive(Debug)]
pub struct Postgres {
    server: Guarded,
    port: u16,
    bin: PathBuf,
    databases: AtomicU32,
    // Last: the folder goes after the server.
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When PostgreSQL is missing or does not start.
    #[track_caller]
    pub fn start() -> Self {
        let bin = newest_server();
        let folder = tempfile::Builder::new().prefix("overread-pg").tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder in a fresh folder");
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("-R").arg("postgres").arg(folder.path()));
        }
        run(as_postgres(&bin.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--username=overread", "--no-sync", "-D"])
            .arg(&data));
        let port = free_port();
        let mut command = as_postgres(&bin.join("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "max_connections=200"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Guarded::spawn(command);
        let postgres = Self { server, port, bin, databases: AtomicU32::new(0), _folder: folder };
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
        let made = self.psql("postgres", &format!("create database {name}"));
        assert!(made.status.success(), "cannot make {name}: {}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://overread@127.0.0.1:{}/{name}", self.port)
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
