//! Deliveries for those who look on, and what is due when.

use imaging::StudyUid;

use super::{Delivery, DeliveryState};
use crate::db::{Record, Row, sql};
use crate::{ArtifactId, DeliveryId, Error, Ledger, Millis, Page, PageRequest};

/// Which deliveries are wanted; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub destination: Option<String>,
    pub state: Option<DeliveryState>,
    pub study: Option<StudyUid>,
}

/// How many deliveries of a destination are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxCount {
    pub destination: String,
    pub state: DeliveryState,
    pub count: u64,
    /// When the oldest of them was put into the outbox.
    pub oldest: Millis,
}

impl Ledger {
    /// # Errors
    /// When the database does not answer.
    pub async fn delivery(&self, delivery: DeliveryId) -> Result<Option<Delivery>, Error> {
        self.db.record(sql("select * from delivery where delivery_id = $1").bind(delivery)).await
    }

    /// Where an object goes, and how far it has come.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries_of(&self, artifact: ArtifactId) -> Result<Vec<Delivery>, Error> {
        self.db
            .records(sql("select * from delivery where artifact_id = $1 order by delivery_id").bind(artifact))
            .await
    }

    /// A page of the outbox, newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<Delivery>, Error> {
        let (_, before) = page.before();
        let statement = sql("select * from delivery
              where ($1 is null or destination = $1) and ($2 is null or state = $2) and ($3 is null or study_uid = $3)
                and delivery_id < $4
              order by delivery_id desc
              limit $5")
            .bind(filter.destination.as_ref())
            .bind(filter.state)
            .bind(filter.study.as_ref())
            .bind(before.parse().unwrap_or(i64::MAX))
            .bind(page.limit() + 1);
        let deliveries = self.db.records(statement).await?;
        Ok(Page::cut(deliveries, page, |row: &Delivery| (row.created_at, row.id.to_string())))
    }

    /// Sent deliveries whose arrival should be proved now, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn deliveries_to_prove(
        &self,
        destination: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        let statement = sql("select * from delivery
              where destination = $1 and state = 'sent' and not_before <= $2
              order by not_before, delivery_id limit $3")
        .bind(destination)
        .bind(now)
        .bind(limit);
        self.db.records(statement).await
    }

    /// When the next delivery that waits for its backoff (or its proof) is due; nothing when none does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_delivery_due(&self, destination: &str, now: Millis) -> Result<Option<Millis>, Error> {
        let statement = sql("select min(not_before) as due from delivery
              where destination = $1 and state in ('waiting', 'sent') and not_before > $2");
        self.db
            .row(statement.bind(destination).bind(now))
            .await?
            .map_or(Ok(None), |row| row.millis_or_null("due"))
    }

    /// Counts of what has not arrived yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_counts(&self) -> Result<Vec<OutboxCount>, Error> {
        let statement =
            sql("select destination, state, count(*) as deliveries, min(created_at) as oldest from delivery
              where state in ('waiting', 'sending', 'sent', 'parked')
              group by destination, state
              order by destination, state");
        self.db.records(statement).await
    }
}

impl Record for OutboxCount {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            destination: row.text("destination")?,
            state: row.parsed("state")?,
            count: row.count("deliveries")?,
            oldest: row.millis("oldest")?,
        })
    }
}
