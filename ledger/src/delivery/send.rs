//! Sending: claims, and what came of them.

use std::time::Duration;

use serde_json::json;

use super::{Delivery, DeliveryLease, DeliveryState};
use crate::db::{Record, Statement, Tx, sql};
use crate::event::{self, NewEvent};
use crate::{BootId, DeliveryId, Error, Ledger, Millis, NodeId, Topic};

impl Ledger {
    /// Leases the next due delivery of a destination; nothing when none is due or the
    /// destination is to be left alone ([`Ledger::destination_failed`]).
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn claim_delivery(
        &self,
        destination: &str,
        node: &NodeId,
        boot: &BootId,
        lease: Duration,
        now: Millis,
    ) -> Result<Option<(Delivery, DeliveryLease)>, Error> {
        if !self.has_waiting(destination, now).await? {
            return Ok(None);
        }
        let mut tx = self.db.begin_unflushed().await?;
        let statement = sql(tx.dialect().claim_delivery)
            .bind(destination)
            .bind(now)
            .bind(node)
            .bind(boot)
            .bind(now.plus(lease));
        let Some(row) = tx.row(statement).await? else { return Ok(None) };
        let delivery = Delivery::read(&row)?;
        let lease = DeliveryLease { delivery: delivery.id, number: row.int("lease_number")? };
        append(&mut tx, "delivery.sending", &delivery, "overread", now).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some((delivery, lease)))
    }

    /// A look without a lock: most of the time there is nothing to send.
    async fn has_waiting(&self, destination: &str, now: Millis) -> Result<bool, Error> {
        let statement = sql("select delivery_id from delivery
              where destination = $1 and state = 'waiting' and not_before <= $2
                and not exists (select 1 from destination
                                where destination.destination = $1 and destination.retry_at > $2)
              limit 1")
        .bind(destination)
        .bind(now);
        Ok(self.db.row(statement).await?.is_some())
    }

    /// Says that the sender is still at it; false when the delivery is not its own any more.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn renew_delivery(&self, lease: DeliveryLease, until: Millis) -> Result<bool, Error> {
        let statement = sql("update delivery set lease_until = $3
              where delivery_id = $1 and lease_number = $2 and state = 'sending'")
        .bind(lease.delivery)
        .bind(lease.number)
        .bind(until);
        let mut tx = self.db.begin_unflushed().await?;
        let changed = tx.execute(statement).await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// sending → sent: the destination took it. False when the lease was lost.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn delivered(&self, lease: DeliveryLease, now: Millis) -> Result<bool, Error> {
        let statement = sql("update delivery
              set state = 'sent', state_since = $3, not_before = $3, failure = null,
                  lease_until = null, node_id = null, boot_id = null
              where delivery_id = $1 and lease_number = $2 and state = 'sending'
              returning *")
        .bind(lease.delivery)
        .bind(lease.number)
        .bind(now);
        self.report(statement, "delivery.sent", "overread", now).await
    }

    /// sending → waiting: to be tried again from `retry_at` on. False when the lease was lost.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn postpone_delivery(
        &self,
        lease: DeliveryLease,
        failure: &str,
        retry_at: Millis,
        now: Millis,
    ) -> Result<bool, Error> {
        let statement = sql("update delivery
              set state = 'waiting', state_since = $3, not_before = $4, failure = $5,
                  lease_until = null, node_id = null, boot_id = null
              where delivery_id = $1 and lease_number = $2 and state = 'sending'
              returning *")
        .bind(lease.delivery)
        .bind(lease.number)
        .bind(now)
        .bind(retry_at)
        .bind(failure);
        self.report(statement, "delivery.postponed", "overread", now).await
    }

    /// sending → parked: refused, and would be refused again. Its lane waits for a person; others go on.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn park_delivery(
        &self,
        lease: DeliveryLease,
        failure: &str,
        now: Millis,
    ) -> Result<bool, Error> {
        let statement = sql("update delivery
              set state = 'parked', state_since = $3, failure = $4, lease_until = null, node_id = null, boot_id = null
              where delivery_id = $1 and lease_number = $2 and state = 'sending'
              returning *")
            .bind(lease.delivery)
            .bind(lease.number)
            .bind(now)
            .bind(failure);
        self.report(statement, "delivery.parked", "overread", now).await
    }

    /// sent → proved: the destination was asked and has it.
    ///
    /// # Errors
    /// [`Error::NoSuchDelivery`], [`Error::DeliveryState`], or when the database does not carry it out.
    pub async fn prove_delivery(&self, delivery: DeliveryId, now: Millis) -> Result<(), Error> {
        let statement = sql("update delivery set state = 'proved', state_since = $2, failure = null
              where delivery_id = $1 and state = 'sent' returning *");
        self.change(delivery, "prove", statement.bind(delivery).bind(now), "delivery.proved", "overread", now)
            .await
    }

    /// The destination was asked and has not got it yet, or did not answer: ask again later.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn prove_delivery_later(
        &self,
        delivery: DeliveryId,
        failure: &str,
        retry_at: Millis,
    ) -> Result<(), Error> {
        let statement = sql(
            "update delivery set not_before = $2, failure = $3 where delivery_id = $1 and state = 'sent'",
        )
        .bind(delivery)
        .bind(retry_at)
        .bind(failure);
        let mut tx = self.db.begin_unflushed().await?;
        tx.execute(statement).await?;
        tx.commit().await
    }

    /// sent, parked → waiting: it has to be sent (again).
    ///
    /// # Errors
    /// [`Error::NoSuchDelivery`], [`Error::DeliveryState`], or when the database does not carry it out.
    pub async fn resend_delivery(&self, delivery: DeliveryId, by: &str, now: Millis) -> Result<(), Error> {
        let statement = sql("update delivery set state = 'waiting', state_since = $2, not_before = $2
              where delivery_id = $1 and state in ('sent', 'parked') returning *");
        self.change(delivery, "resend", statement.bind(delivery).bind(now), "delivery.waiting", by, now).await
    }

    /// waiting, parked, sent → dropped: a person gives it up, and frees its lane.
    ///
    /// # Errors
    /// [`Error::NoSuchDelivery`], [`Error::DeliveryState`], or when the database does not carry it out.
    pub async fn drop_delivery(&self, delivery: DeliveryId, by: &str, now: Millis) -> Result<(), Error> {
        let statement = sql("update delivery set state = 'dropped', state_since = $2
              where delivery_id = $1 and state in ('waiting', 'parked', 'sent') returning *");
        self.change(delivery, "drop", statement.bind(delivery).bind(now), "delivery.dropped", by, now).await
    }

    /// sending → waiting for what earlier runs of this node were sending; for the start of a process.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn take_back_deliveries(
        &self,
        node: &NodeId,
        boot: &BootId,
        now: Millis,
    ) -> Result<u64, Error> {
        let statement = sql("update delivery
              set state = 'waiting', state_since = $3, not_before = $3, lease_until = null, node_id = null, boot_id = null
              where state = 'sending' and node_id = $1 and boot_id <> $2
              returning *")
            .bind(node)
            .bind(boot)
            .bind(now);
        self.take_back_sending(statement, now).await
    }

    /// sending → waiting for leases that ran out.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn expire_delivery_leases(&self, now: Millis) -> Result<u64, Error> {
        let statement = sql("update delivery
              set state = 'waiting', state_since = $1, not_before = $1, lease_until = null, node_id = null, boot_id = null
              where state = 'sending' and lease_until < $1
              returning *")
            .bind(now);
        self.take_back_sending(statement, now).await
    }

    async fn take_back_sending(&self, statement: Statement, now: Millis) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let deliveries: Vec<Delivery> = tx.records(statement).await?;
        for delivery in &deliveries {
            append(&mut tx, "delivery.lease-lost", delivery, "overread", now).await?;
        }
        if !deliveries.is_empty() {
            self.commit(tx, &[Topic::Deliveries]).await?;
        }
        Ok(deliveries.len() as u64)
    }

    async fn report(
        &self,
        statement: Statement,
        kind: &'static str,
        by: &str,
        now: Millis,
    ) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let Some(delivery) = tx.record::<Delivery>(statement).await? else { return Ok(false) };
        append(&mut tx, kind, &delivery, by, now).await?;
        self.commit(tx, &[Topic::Deliveries]).await?;
        Ok(true)
    }

    async fn change(
        &self,
        delivery: DeliveryId,
        action: &'static str,
        statement: Statement,
        kind: &'static str,
        by: &str,
        now: Millis,
    ) -> Result<(), Error> {
        if self.report(statement, kind, by, now).await? {
            return Ok(());
        }
        let row =
            self.db.row(sql("select state from delivery where delivery_id = $1").bind(delivery)).await?;
        let state: DeliveryState = row.ok_or(Error::NoSuchDelivery(delivery))?.parsed("state")?;
        Err(Error::DeliveryState { delivery, state, action })
    }
}

async fn append(
    tx: &mut Tx,
    kind: &'static str,
    delivery: &Delivery,
    by: &str,
    now: Millis,
) -> Result<(), Error> {
    let mut event = NewEvent::new(kind, now).delivery(delivery.id).by(by);
    event.study.clone_from(&delivery.study);
    let detail = json!({ "destination": delivery.destination, "attempts": delivery.attempts, "reason": delivery.failure });
    event::append(tx, event.detail(detail)).await
}
