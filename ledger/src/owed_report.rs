//! Reports of storage commitment that we owe: a restart forgets none.

use imaging::Uid;

use crate::db::{Record, Row, sql};
use crate::{Error, Ledger, Millis, NodeId};

/// What a peer asked us to commit ourselves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedReport {
    /// The requester's AE title.
    pub requester: String,
    pub transaction: Uid,
    /// The SOP class and instance of each object, as the peer named them.
    pub asked: Vec<(String, String)>,
    pub owed_since: Millis,
    /// How often it was tried.
    pub attempts: u32,
}

impl Ledger {
    /// Takes a request down. Who asks again under the same transaction is told once, about the later request.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn owe_report(
        &self,
        node: &NodeId,
        requester: &str,
        transaction: &Uid,
        asked: &[(String, String)],
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("insert into owed_report
                 (requester, transaction_uid, node, asked, owed_since, not_before) values ($1, $2, $3, $4, $5, $5)
              on conflict (requester, transaction_uid) do update
              set node = excluded.node, asked = excluded.asked, owed_since = excluded.owed_since,
                  attempts = 0, not_before = excluded.not_before")
        .bind(requester)
        .bind(transaction)
        .bind(node)
        .bind_json(&asked)?
        .bind(now);
        tx.execute(statement).await?;
        tx.commit().await
    }

    /// The reports of `node` that are to be tried now, the longest owed first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn owed_reports_due(
        &self,
        node: &NodeId,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<OwedReport>, Error> {
        let statement = sql("select * from owed_report where node = $1 and not_before <= $2
              order by not_before, requester, transaction_uid limit $3");
        self.db.records(statement.bind(node).bind(now).bind(limit)).await
    }

    /// When the next report of `node` is to be tried.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_owed_report_due(&self, node: &NodeId) -> Result<Option<Millis>, Error> {
        let statement = sql("select min(not_before) as due from owed_report where node = $1");
        let row = self.db.rows(statement.bind(node)).await?.pop();
        row.map_or(Ok(None), |row| row.millis_or_null("due"))
    }

    /// The requester did not take the report; it is tried again at `not_before`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn report_not_taken(&self, report: &OwedReport, not_before: Millis) -> Result<(), Error> {
        let statement = sql("update owed_report set attempts = attempts + 1, not_before = $4
              where requester = $1 and transaction_uid = $2 and owed_since = $3")
        .bind(&report.requester)
        .bind(&report.transaction)
        .bind(report.owed_since)
        .bind(not_before);
        let mut tx = self.db.begin().await?;
        tx.execute(statement).await?;
        tx.commit().await
    }

    /// The requester has the report, or will not get it. A later request under its transaction stays.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn report_settled(&self, report: &OwedReport) -> Result<(), Error> {
        let statement = sql("delete from owed_report
              where requester = $1 and transaction_uid = $2 and owed_since = $3")
        .bind(&report.requester)
        .bind(&report.transaction)
        .bind(report.owed_since);
        let mut tx = self.db.begin().await?;
        tx.execute(statement).await?;
        tx.commit().await
    }
}

impl Record for OwedReport {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            requester: row.text("requester")?,
            transaction: row.parsed("transaction_uid")?,
            asked: row.json("asked")?,
            owed_since: row.millis("owed_since")?,
            attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
        })
    }
}
