//! What readers of the event log have to tell others: each event once, whatever dies in between.

use crate::db::sql;
use crate::{Error, EventSeq, Ledger, Millis, NewDelivery, Topic, delivery};

impl Ledger {
    /// Moves the place of `reader` ([`Ledger::cursor`]) from `from` to `to` and puts what was between into the
    /// outbox, both or neither. False, and nothing is done, when the reader is not at `from` any more.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn tell(
        &self,
        reader: &str,
        from: EventSeq,
        to: EventSeq,
        messages: &[NewDelivery],
        now: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let statement = sql("update cursor set value = $3, at = $4 where name = $1 and value = $2")
            .bind(reader)
            .bind(from.0.to_string())
            .bind(to.0.to_string())
            .bind(now);
        if tx.execute(statement).await? == 0 {
            return Ok(false);
        }
        for message in messages {
            delivery::insert(&mut tx, message, None, now).await?;
        }
        self.commit(tx, &[Topic::Deliveries]).await?;
        Ok(true)
    }
}
