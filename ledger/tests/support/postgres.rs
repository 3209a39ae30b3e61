//! A PostgreSQL of the tests' own: started once for each test binary, on a socket in a
//! folder of its own, and gone when the binary ends, however it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs as an unprivileged user: PostgreSQL refuses to run as root. Ends when its standard
/// input does, which is when the test binary does.
const SCRIPT: &str = r#"
set -e
dir=$(mktemp -d /tmp/overread-pg-XXXXXX)
trap 'exec >/dev/null 2>&1; "$BIN/pg_ctl" -D "$dir/data" -m immediate stop; rm -rf "$dir"' EXIT
"$BIN/initdb" -D "$dir/data" -A trust -U overread -E UTF8 --locale=C >/dev/null
printf 'local all stranger scram-sha-256\n' | cat - "$dir/data/pg_hba.conf" >"$dir/hba"
mv "$dir/hba" "$dir/data/pg_hba.conf"
"$BIN/pg_ctl" -D "$dir/data" -w -l "$dir/log" -o "-k $dir -c listen_addresses='' -c max_connections=300" start >/dev/null
echo "$dir"
read -r _ || true
"#;

pub(crate) struct Postgres {
    socket_folder: PathBuf,
    _keeper: Child,
    _held_open: ChildStdin,
}

/// The server of this test binary.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

impl Postgres {
    fn start() -> Self {
        let mut keeper = keeper(&binaries())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cannot start a shell for PostgreSQL; install the apt package `util-linux`");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("cannot read where PostgreSQL runs");
        assert!(!line.is_empty(), "PostgreSQL did not start; its own words are above");
        let held_open = keeper.stdin.take().expect("the input is piped");
        Self { socket_folder: PathBuf::from(line.trim_end()), _keeper: keeper, _held_open: held_open }
    }

    /// The address of a database of this server.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        let folder = self.socket_folder.display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{folder}/{database}")
    }

    /// Makes an empty database that nobody else uses.
    pub(crate) async fn new_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.administer(format!("create database {name}")).await;
        self.url("overread", &name)
    }

    pub(crate) async fn administer(&self, statement: String) {
        let mut connection =
            <sqlx::PgConnection as sqlx::Connection>::connect(&self.url("overread", "postgres"))
                .await
                .expect("PostgreSQL does not answer");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .expect("PostgreSQL refused");
    }
}

fn keeper(binaries: &Path) -> Command {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = if is_root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh", "-c", SCRIPT]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]);
        command
    };
    command.env("BIN", binaries).current_dir("/");
    command
}

/// Debian keeps the server's programs out of PATH.
fn binaries() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
        .expect("PostgreSQL's initdb and pg_ctl are not there; install the apt package `postgresql`")
}
