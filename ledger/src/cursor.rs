//! How far a reader of somebody's feed has come, such as Orthanc's `/changes`.

use crate::db::{Record, Row, sql};
use crate::{Error, Ledger, Millis};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub value: String,
    pub at: Millis,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>, Error> {
        self.db.record(sql("select value, at from cursor where name = $1").bind(name)).await
    }

    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_cursor(&self, name: &str, value: &str, now: Millis) -> Result<(), Error> {
        let statement = sql("insert into cursor (name, value, at) values ($1, $2, $3)
              on conflict (name) do update set value = excluded.value, at = excluded.at")
        .bind(name)
        .bind(value)
        .bind(now);
        let mut tx = self.db.begin().await?;
        tx.execute(statement).await?;
        tx.commit().await
    }
}

impl Record for Cursor {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self { value: row.text("value")?, at: row.millis("at")? })
    }
}
