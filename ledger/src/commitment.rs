//! What archives were asked to commit themselves to, and what they said.

use imaging::{SopInstanceUid, Uid};

use crate::db::{Record, Row, sql};
use crate::text_enum::text_enum;
use crate::{DeliveryId, Error, Ledger, Millis, Topic};

text_enum! {
    pub enum CommitmentOutcome {
        /// The archive keeps the object, whatever happens.
        Committed = "committed",
        /// It does not; the reason says why.
        Failed = "failed",
    }
}

/// What came of asking for one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    pub asked_at: Millis,
    /// Nothing while no report has come.
    pub outcome: Option<CommitmentOutcome>,
    pub reason: Option<String>,
}

/// What an archive says about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentVerdict {
    pub sop_instance: SopInstanceUid,
    pub outcome: CommitmentOutcome,
    pub reason: Option<String>,
}

impl Ledger {
    /// Notes what an archive is about to be asked for.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn ask_commitment(
        &self,
        transaction: &Uid,
        of: &[(DeliveryId, SopInstanceUid)],
        now: Millis,
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for (delivery, sop_instance) in of {
            let statement =
                sql("insert into commitment (transaction_uid, delivery_id, sop_instance_uid, asked_at)
                      values ($1, $2, $3, $4)")
                .bind(transaction)
                .bind(*delivery)
                .bind(sop_instance)
                .bind(now);
            tx.execute(statement).await?;
        }
        tx.commit().await
    }

    /// Notes a report; the proof of what it names is looked for at once. False when nobody asked under this
    /// transaction. A second report changes nothing.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn commitment_reported(
        &self,
        transaction: &Uid,
        verdicts: &[CommitmentVerdict],
        now: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let asked = sql("select transaction_uid from commitment where transaction_uid = $1 limit 1");
        if tx.row(asked.bind(transaction)).await?.is_none() {
            return Ok(false);
        }
        for verdict in verdicts {
            let statement = sql("update commitment set answered_at = $3, outcome = $4, reason = $5
                  where transaction_uid = $1 and sop_instance_uid = $2 and answered_at is null
                  returning delivery_id")
            .bind(transaction)
            .bind(&verdict.sop_instance)
            .bind(now)
            .bind(verdict.outcome)
            .bind(verdict.reason.as_ref());
            let Some(row) = tx.row(statement).await? else { continue };
            let due = sql("update delivery set not_before = $2 where delivery_id = $1 and state = 'sent'");
            tx.execute(due.bind(row.int("delivery_id")?).bind(now)).await?;
        }
        self.commit(tx, &[Topic::Deliveries]).await?;
        Ok(true)
    }

    /// What came of the last question about a delivery.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn commitment_of(&self, delivery: DeliveryId) -> Result<Option<Commitment>, Error> {
        let statement = sql("select asked_at, outcome, reason from commitment where delivery_id = $1
                 order by asked_at desc limit 1");
        self.db.record(statement.bind(delivery)).await
    }
}

impl Record for Commitment {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            asked_at: row.millis("asked_at")?,
            outcome: row.parsed_or_null("outcome")?,
            reason: row.text_or_null("reason")?,
        })
    }
}
