//! An empty ledger for one test, on either backend.

use std::sync::OnceLock;

use ledger::{Durability, Ledger};
use peers::Postgres;
use tempfile::TempDir;

/// The PostgreSQL of this test binary. It flushes: what is measured here is what a site gets.
pub(crate) fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start_durable)
}

pub(crate) struct TestDb {
    pub(crate) ledger: Ledger,
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl TestDb {
    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(Durability::Process).await
    }

    pub(crate) async fn sqlite_with(durability: Durability) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url, durability).await.expect("a new SQLite ledger opens");
        Self { ledger, url, _folder: Some(folder) }
    }

    pub(crate) async fn postgres() -> Self {
        let url = postgres().database();
        let ledger = Ledger::open(&url, Durability::Power).await.expect("a new PostgreSQL ledger opens");
        Self { ledger, url, _folder: None }
    }

    /// A database that is there already.
    pub(crate) async fn at(url: String) -> Self {
        let ledger = Ledger::open(&url, Durability::Process).await.expect("the ledger opens");
        Self { ledger, url, _folder: None }
    }

    /// Another node's handle on the same database.
    pub(crate) async fn other_node(&self) -> Ledger {
        Ledger::open(&self.url, Durability::Process).await.expect("a second handle opens")
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Runs SQL that no method of the ledger has, to break things or to look closely.
    pub(crate) async fn execute(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        if self.is_sqlite() {
            let mut connection =
                <sqlx::SqliteConnection as sqlx::Connection>::connect(&self.url).await.expect("opens");
            sqlx::query(statement).execute(&mut connection).await.expect("SQLite refused");
        } else {
            let mut connection =
                <sqlx::PgConnection as sqlx::Connection>::connect(&self.url).await.expect("opens");
            sqlx::query(statement).execute(&mut connection).await.expect("PostgreSQL refused");
        }
    }

    /// The rows of a query whose columns are all text.
    pub(crate) async fn texts(&self, statement: &str) -> Vec<Vec<Option<String>>> {
        use sqlx::Row;
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        if self.is_sqlite() {
            let mut connection =
                <sqlx::SqliteConnection as sqlx::Connection>::connect(&self.url).await.expect("opens");
            let rows = sqlx::query(statement).fetch_all(&mut connection).await.expect("SQLite refused");
            rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
        } else {
            let mut connection =
                <sqlx::PgConnection as sqlx::Connection>::connect(&self.url).await.expect("opens");
            let rows = sqlx::query(statement).fetch_all(&mut connection).await.expect("PostgreSQL refused");
            rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
        }
    }
}

/// Declares tests that run on both backends: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_both {
    ($(async fn $name:ident($db:ident: TestDb) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn check($db: TestDb) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                check(TestDb::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                check(TestDb::postgres().await).await;
            }
        }
    )+};
}
