//! The two backends behind one small interface: a statement with values, rows, transactions.
//!
//! Statements are written once, in SQL that both backends speak; what differs has a
//! name in [`Dialect`] and one spelling for each backend, in the files beside this one.

mod dialect;
mod insert;
mod postgres;
mod row;
mod sqlite;
mod statement;
mod wal_index;

pub(crate) use dialect::{Claiming, Dialect};
pub(crate) use insert::Insert;
pub(crate) use row::{Record, Row, UnknownWord};
pub(crate) use statement::{Arg, Statement, sql};
pub use wal_index::Mark;
pub(crate) use wal_index::WalIndex;

pub(crate) use postgres::open as open_postgres;
pub(crate) use sqlite::open as open_sqlite;

use std::fmt;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::deed::{Deed, Owed};
use crate::{Durability, Error};

/// The database; for a deed that has to be noted, with the rows that its transaction ends with.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    backend: Backend,
    deed: Option<Deed>,
}

#[derive(Debug, Clone)]
enum Backend {
    /// One connection writes, so that writers queue here and not inside SQLite.
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
        durability: Durability,
        index: Option<WalIndex>,
    },
    Postgres(PgPool),
}

/// A transaction; dropped without [`Tx::commit`] it never happened.
#[derive(Debug)]
pub(crate) struct Tx {
    open: Open,
    owed: Option<Owed>,
}

#[derive(Debug)]
enum Open {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Db {
    fn of(backend: Backend) -> Self {
        Self { backend, deed: None }
    }

    pub(crate) fn postgres(pool: PgPool) -> Self {
        Self::of(Backend::Postgres(pool))
    }

    /// The same database, whose next transaction is `deed`.
    pub(crate) fn doing(&self, deed: Deed) -> Self {
        Self { backend: self.backend.clone(), deed: Some(deed) }
    }

    /// What a commit survives, where the database is SQLite.
    pub(crate) fn sqlite_durability(&self) -> Option<Durability> {
        match self.backend {
            Backend::Sqlite { durability, .. } => Some(durability),
            Backend::Postgres(_) => None,
        }
    }

    /// Begins a transaction that will write, and is on the disk when it is committed
    /// (under [`Durability::Power`]).
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        let owed = self.deed.as_ref().map(Deed::begin).transpose()?;
        let open = match &self.backend {
            Backend::Sqlite { write, durability: Durability::Power, .. } => {
                Open::Sqlite(write.begin_with(sqlite::BEGIN_FLUSHED).await?)
            }
            Backend::Sqlite { write, .. } => Open::Sqlite(write.begin_with(sqlite::BEGIN_UNFLUSHED).await?),
            Backend::Postgres(pool) => Open::Postgres(pool.begin().await?),
        };
        Ok(Tx { open, owed })
    }

    /// Begins a transaction that a power cut may undo at no cost, such as a claim: the job is
    /// queued again then, as it would be after the lease. What is flushed later flushes it, too.
    /// A deed that is noted is always flushed.
    pub(crate) async fn begin_unflushed(&self) -> Result<Tx, Error> {
        if self.deed.is_some() {
            return self.begin().await;
        }
        let open = match &self.backend {
            Backend::Sqlite { write, .. } => Open::Sqlite(write.begin_with(sqlite::BEGIN_UNFLUSHED).await?),
            Backend::Postgres(pool) => Open::Postgres(pool.begin_with(postgres::BEGIN_UNFLUSHED).await?),
        };
        Ok(Tx { open, owed: None })
    }

    pub(crate) async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Error> {
        Ok(match &self.backend {
            Backend::Sqlite { read, .. } => {
                statement.for_sqlite().fetch_all(read).await?.into_iter().map(Row::Sqlite).collect()
            }
            Backend::Postgres(pool) => {
                statement.for_postgres().fetch_all(pool).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(crate) async fn row(&self, statement: Statement) -> Result<Option<Row>, Error> {
        Ok(match &self.backend {
            Backend::Sqlite { read, .. } => {
                statement.for_sqlite().fetch_optional(read).await?.map(Row::Sqlite)
            }
            Backend::Postgres(pool) => {
                statement.for_postgres().fetch_optional(pool).await?.map(Row::Postgres)
            }
        })
    }

    pub(crate) async fn records<T: Record>(&self, statement: Statement) -> Result<Vec<T>, Error> {
        self.rows(statement).await?.iter().map(T::read).collect()
    }

    pub(crate) async fn record<T: Record>(&self, statement: Statement) -> Result<Option<T>, Error> {
        self.row(statement).await?.as_ref().map(T::read).transpose()
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        match &self.backend {
            Backend::Sqlite { index, .. } => index.and_then(WalIndex::mark),
            Backend::Postgres(_) => None,
        }
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        match &self.backend {
            Backend::Sqlite { .. } => &sqlite::DIALECT,
            Backend::Postgres(_) => &postgres::DIALECT,
        }
    }

    pub(crate) async fn close(&self) {
        match &self.backend {
            Backend::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Backend::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, Error> {
        Ok(match &mut self.open {
            Open::Sqlite(tx) => statement.for_sqlite().execute(&mut **tx).await?.rows_affected(),
            Open::Postgres(tx) => statement.for_postgres().execute(&mut **tx).await?.rows_affected(),
        })
    }

    pub(crate) async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Error> {
        Ok(match &mut self.open {
            Open::Sqlite(tx) => {
                statement.for_sqlite().fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
            }
            Open::Postgres(tx) => {
                statement.for_postgres().fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(crate) async fn row(&mut self, statement: Statement) -> Result<Option<Row>, Error> {
        Ok(match &mut self.open {
            Open::Sqlite(tx) => statement.for_sqlite().fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Open::Postgres(tx) => {
                statement.for_postgres().fetch_optional(&mut **tx).await?.map(Row::Postgres)
            }
        })
    }

    pub(crate) async fn records<T: Record>(&mut self, statement: Statement) -> Result<Vec<T>, Error> {
        self.rows(statement).await?.iter().map(T::read).collect()
    }

    pub(crate) async fn record<T: Record>(&mut self, statement: Statement) -> Result<Option<T>, Error> {
        self.row(statement).await?.as_ref().map(T::read).transpose()
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        match &self.open {
            Open::Sqlite(_) => &sqlite::DIALECT,
            Open::Postgres(_) => &postgres::DIALECT,
        }
    }

    /// Says what the deed was done to, where only its transaction knows: rows without a subject get this one.
    pub(crate) fn is_about(&mut self, subject: impl fmt::Display) {
        if let Some(owed) = &mut self.owed {
            owed.is_about(&subject.to_string());
        }
    }

    /// Adds to what the rows of the deed tell.
    pub(crate) fn tells(&mut self, name: &str, value: impl fmt::Display) {
        if let Some(owed) = &mut self.owed {
            owed.tells(name, &value.to_string());
        }
    }

    /// Commits; of a deed, its rows with it.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let Some(owed) = self.owed.take() else { return self.open.commit().await };
        let written = owed.write(&mut self).await?;
        self.open.commit().await?;
        written.kept();
        Ok(())
    }
}

impl Open {
    async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
