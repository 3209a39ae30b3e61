//! SQLite: how it is opened, and the SQL that only it speaks.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Backend, Claiming, Db, Dialect, WalIndex};
use crate::open::migration_error;
use crate::{Durability, OpenError};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// How long a statement waits for another process that writes (`overread user add` beside `serve`).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Readers beside the one writer; WAL lets them all go on.
const READERS_MAX: u32 = 4;
/// More than there are different statements, so that each is prepared once for each connection.
const STATEMENT_CACHE: usize = 512;

/// "immediate": a transaction that reads first could not become a writer later when another
/// process has written in between. In WAL mode "full" flushes each commit, "normal" only checkpoints.
pub(super) const BEGIN_FLUSHED: &str = "pragma synchronous = full; begin immediate";
pub(super) const BEGIN_UNFLUSHED: &str = "pragma synchronous = normal; begin immediate";

pub(super) static DIALECT: Dialect = Dialect {
    values_have_numbers: false,
    lock_study: "select revision from study where study_uid = $1",
    lock_audit: None,
    claim_job: Claiming::OfModel(
        "
        update job
        set state = 'leased', lease_number = lease_number + 1,
            worker_id = $3, node_id = $4, boot_id = $5, lease_until = $6, leased_at = $2, state_since = $2
        where job_id = (select job_id from job
                        where model_id = $1 and state in ('queued', 'failed') and not_before <= $2
                        order by priority desc, created_at, job_id
                        limit 1)
        returning *",
    ),
    claim_delivery: "
        update delivery
        set state = 'sending', lease_number = lease_number + 1, attempts = attempts + 1,
            node_id = $3, boot_id = $4, lease_until = $5, state_since = $2
        where delivery_id = (select d.delivery_id from delivery d
                             where d.destination = $1 and d.state = 'waiting' and d.not_before <= $2
                               and not exists (select 1 from delivery earlier
                                               where earlier.destination = d.destination and earlier.lane = d.lane
                                                 and earlier.delivery_id < d.delivery_id
                                                 and earlier.state in ('waiting', 'sending', 'parked'))
                             order by d.delivery_id
                             limit 1)
        returning *",
    instances_named: "
        select sop_instance_uid, study_uid, series_uid, digest
        from instance
        where sop_instance_uid in (select value from json_each($1))",
    set_aside_named: "
        select distinct sop_instance_uid
        from quarantined
        where reason in ('twin', 'misplaced') and (study_uid is null or study_uid = $2)
          and sop_instance_uid in (select value from json_each($1))",
    insert_predictions: "
        insert into prediction (call_id, at, model_id, model_version, model_digest, model_name, patient_id,
                                doctor, actor, request_id, row_number, input, label, answer)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, value ->> 0, value ->> 1, value ->> 2, value ->> 3
        from json_each($11)
        returning row_number, prediction_id",
};

pub(crate) async fn open(url: &str, durability: Durability) -> Result<Db, OpenError> {
    let place = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = PathBuf::from(place.split('?').next().unwrap_or(place));
    check_folder(&path)?;
    let options = options(url, durability).map_err(|source| refusal(&path, source))?;
    // A connection to a file does not break while it is idle: asking it first, on its own thread, would
    // double what a short statement costs.
    let pool = SqlitePoolOptions::new().acquire_timeout(BUSY_TIMEOUT * 3).test_before_acquire(false);
    // The last connection that is closed takes the WAL index with it.
    let pool = pool.idle_timeout(None).max_lifetime(None);
    let write = pool.clone().max_connections(1);
    let write = write.connect_with(options.clone()).await.map_err(|source| refusal(&path, source))?;
    migrate(&write, &path).await?;
    let read = pool.max_connections(READERS_MAX);
    let read = read.connect_with(options.read_only(true)).await.map_err(|source| refusal(&path, source))?;
    let index = WalIndex::open(&path);
    Ok(Db::of(Backend::Sqlite { write, read, durability, index }))
}

fn options(url: &str, durability: Durability) -> Result<SqliteConnectOptions, sqlx::Error> {
    let synchronous = match durability {
        Durability::Power => SqliteSynchronous::Full,
        Durability::Process => SqliteSynchronous::Normal,
    };
    Ok(SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENT_CACHE))
}

async fn migrate(pool: &sqlx::SqlitePool, path: &Path) -> Result<(), OpenError> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    match MIGRATIONS.run(pool).await {
        Ok(()) => Ok(()),
        Err(sqlx::migrate::MigrateError::Execute(source)) => Err(refusal(path, source)),
        Err(error) => Err(migration_error(&path.display().to_string(), known, error)),
    }
}

fn check_folder(path: &Path) -> Result<(), OpenError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(OpenError::NoFolder { path: folder.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Sorts what SQLite complains about by its primary result code.
fn refusal(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&source) {
        // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN
        Some(3 | 8 | 14) => OpenError::NotWritable { path, source },
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => OpenError::Held { path, source },
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => OpenError::NotADatabase { path, source },
        _ => OpenError::Other { place: path.display().to_string(), source },
    }
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
