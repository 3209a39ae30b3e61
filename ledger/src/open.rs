//! Opens the database, or says in one sentence why that is impossible and what to do.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::change::Bells;
use crate::db::{Db, open_postgres, open_sqlite};
use crate::event::Watermark;
use crate::ledger::Ledger;
use crate::prediction::Group;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: each commit is flushed to the disk.
    Power,
    /// The end of the process only; the operating system flushes when it likes.
    Process,
}

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database URL is neither sqlite:PATH nor postgres://USER@HOST/NAME; correct [database] url")]
    UnknownUrl,
    #[error("the folder {path} of the database does not exist; create it, or correct [database] url")]
    NoFolder { path: PathBuf },
    #[error(
        "the database file {path} cannot be written; give this user the right to write it and its folder, or correct [database] url"
    )]
    NotWritable {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "the file {path} is not a SQLite database; correct [database] url, or move the file away and run `overread recover`"
    )]
    NotADatabase {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("the database file {path} is held by another process; stop that one first")]
    Held {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("PostgreSQL at {server} does not answer; start it, or correct [database] url")]
    Unreachable {
        server: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("PostgreSQL at {server} refuses the user name or password; correct [database] url")]
    WrongPassword {
        server: String,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "PostgreSQL at {server} has no such database; create it with `createdb`, or correct [database] url"
    )]
    NoDatabase {
        server: String,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "the database was used by a newer Overread (schema {found}, this one knows {known}); install that version or restore a backup"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "migration {version} of the database was changed after it was applied; restore the database of this version from a backup"
    )]
    Altered { version: i64 },
    #[error("the database at {place} cannot be opened")]
    Other {
        place: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the schema of the database at {place} cannot be brought up to date")]
    Migration {
        place: String,
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

pub(crate) async fn open(url: &str, durability: Durability) -> Result<Ledger, OpenError> {
    let (db, bells) = if url.starts_with("sqlite:") {
        (open_sqlite(url, durability).await?, Bells::local())
    } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        let pool = open_postgres(url, durability).await?;
        let bells = Bells::across(&pool);
        (Db::postgres(pool), bells)
    } else {
        return Err(OpenError::UnknownUrl);
    };
    Ok(Ledger {
        db,
        bells,
        watermark: Arc::new(Watermark::default()),
        group: Group::default(),
        journal: Arc::new(OnceLock::new()),
    })
}

/// Sorts what a migration complains about; `place` holds no password.
pub(crate) fn migration_error(place: &str, known: i64, error: sqlx::migrate::MigrateError) -> OpenError {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(found) => OpenError::Newer { found, known },
        sqlx::migrate::MigrateError::VersionMismatch(version) => OpenError::Altered { version },
        source => OpenError::Migration { place: place.to_owned(), source },
    }
}
