//! The two backends behind one small interface: a statement with values, rows, transactions.
//!
//! Statements are written once, in SQL that both backends speak; what differs has a
//! name in [`Dialect`] and one spelling for each backend, in the files beside this one.

mod dialect;
mod postgres;
mod row;
mod sqlite;
mod statement;
mod wal_index;

pub(crate) use dialect::{Claiming, Dialect};
pub(crate) use row::{Record, Row, UnknownWord};
pub(crate) use statement::{Statement, sql};
pub use wal_index::Mark;
pub(crate) use wal_index::WalIndex;

pub(crate) use postgres::open as open_postgres;
pub(crate) use sqlite::open as open_sqlite;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::{Durability, Error};

#[derive(Debug, Clone)]
pub(crate) enum Db {
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
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Db {
    /// Begins a transaction that will write, and is on the disk when it is committed
    /// (under [`Durability::Power`]).
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        Ok(match self {
            Self::Sqlite { write, durability: Durability::Power, .. } => {
                Tx::Sqlite(write.begin_with(sqlite::BEGIN_FLUSHED).await?)
            }
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with(sqlite::BEGIN_UNFLUSHED).await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Begins a transaction that a power cut may undo at no cost, such as a claim: the job is
    /// queued again then, as it would be after the lease. What is flushed later flushes it, too.
    pub(crate) async fn begin_unflushed(&self) -> Result<Tx, Error> {
        Ok(match self {
            Self::Sqlite { write, .. } => Tx::Sqlite(write.begin_with(sqlite::BEGIN_UNFLUSHED).await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin_with(postgres::BEGIN_UNFLUSHED).await?),
        })
    }

    pub(crate) async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Error> {
        Ok(match self {
            Self::Sqlite { read, .. } => {
                statement.for_sqlite().fetch_all(read).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(pool) => {
                statement.for_postgres().fetch_all(pool).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(crate) async fn row(&self, statement: Statement) -> Result<Option<Row>, Error> {
        Ok(match self {
            Self::Sqlite { read, .. } => statement.for_sqlite().fetch_optional(read).await?.map(Row::Sqlite),
            Self::Postgres(pool) => statement.for_postgres().fetch_optional(pool).await?.map(Row::Postgres),
        })
    }

    pub(crate) async fn records<T: Record>(&self, statement: Statement) -> Result<Vec<T>, Error> {
        self.rows(statement).await?.iter().map(T::read).collect()
    }

    pub(crate) async fn record<T: Record>(&self, statement: Statement) -> Result<Option<T>, Error> {
        self.row(statement).await?.as_ref().map(T::read).transpose()
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        match self {
            Self::Sqlite { index, .. } => index.and_then(WalIndex::mark),
            Self::Postgres(_) => None,
        }
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        match self {
            Self::Sqlite { .. } => &sqlite::DIALECT,
            Self::Postgres(_) => &postgres::DIALECT,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, Error> {
        Ok(match self {
            Self::Sqlite(tx) => statement.for_sqlite().execute(&mut **tx).await?.rows_affected(),
            Self::Postgres(tx) => statement.for_postgres().execute(&mut **tx).await?.rows_affected(),
        })
    }

    pub(crate) async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Error> {
        Ok(match self {
            Self::Sqlite(tx) => {
                statement.for_sqlite().fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(tx) => {
                statement.for_postgres().fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    pub(crate) async fn row(&mut self, statement: Statement) -> Result<Option<Row>, Error> {
        Ok(match self {
            Self::Sqlite(tx) => statement.for_sqlite().fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Self::Postgres(tx) => {
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
        match self {
            Self::Sqlite(_) => &sqlite::DIALECT,
            Self::Postgres(_) => &postgres::DIALECT,
        }
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
