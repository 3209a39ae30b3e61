//! What is known about the places that results go to. One that does not answer is left
//! alone for a while as a whole, so that its queue costs nothing.

use crate::db::{Record, Row, sql};
use crate::event::{self, NewEvent};
use crate::{Error, Ledger, Millis, Topic};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub name: String,
    /// Failures in a row.
    pub failures: u32,
    pub failure: Option<String>,
    /// Nothing is sent before.
    pub retry_at: Option<Millis>,
    /// When it last took something or answered an echo.
    pub reached_at: Option<Millis>,
}

impl Ledger {
    /// The destination does not answer: nothing is claimed for it before `retry_at`.
    /// Gives the number of failures in a row.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn destination_failed(
        &self,
        name: &str,
        failure: &str,
        retry_at: Millis,
        now: Millis,
    ) -> Result<u32, Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("insert into destination (destination, failures, failure, retry_at) values ($1, 1, $2, $3)
              on conflict (destination) do update
              set failures = destination.failures + 1, failure = excluded.failure, retry_at = excluded.retry_at
              returning failures")
            .bind(name)
            .bind(failure)
            .bind(retry_at);
        let failures = tx.row(statement).await?.map_or(Ok(1), |row| row.count("failures"))?;
        if failures == 1 {
            let detail = serde_json::json!({ "destination": name, "reason": failure });
            event::append(&mut tx, NewEvent::new("destination.down", now).detail(detail)).await?;
        }
        self.commit(tx, &[Topic::Events]).await?;
        Ok(failures)
    }

    /// The destination answers.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn destination_reached(&self, name: &str, now: Millis) -> Result<(), Error> {
        let before = self.destination(name).await?;
        let was_down = before.is_some_and(|before| before.failures > 0);
        let mut tx = self.db.begin().await?;
        let statement = sql("insert into destination (destination, reached_at) values ($1, $2)
              on conflict (destination) do update
              set failures = 0, failure = null, retry_at = null, reached_at = excluded.reached_at")
        .bind(name)
        .bind(now);
        tx.execute(statement).await?;
        if was_down {
            let detail = serde_json::json!({ "destination": name });
            event::append(&mut tx, NewEvent::new("destination.up", now).detail(detail)).await?;
        }
        self.commit(tx, &[Topic::Deliveries]).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn destination(&self, name: &str) -> Result<Option<Destination>, Error> {
        self.db.record(sql("select * from destination where destination = $1").bind(name)).await
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn destinations(&self) -> Result<Vec<Destination>, Error> {
        self.db.records(sql("select * from destination order by destination")).await
    }
}

impl Record for Destination {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            name: row.text("destination")?,
            failures: row.count("failures")?,
            failure: row.text_or_null("failure")?,
            retry_at: row.millis_or_null("retry_at")?,
            reached_at: row.millis_or_null("reached_at")?,
        })
    }
}
