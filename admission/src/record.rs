//! What the ledger has to know of what came.

use std::io;

use imaging::{Header, SopInstanceUid};
use ledger::{AssociationId, Ledger, Millis, NewInstance, Recorded};
use spool::Spool;

use crate::{Arrival, Aside, Instance, compare_with_first, replace_known, set_other_aside};

/// What became of an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Admitted {
    Stored(Box<Header>),
    /// The very same instance was there before.
    Duplicate(Box<Header>),
    /// It has taken the place of another data set under its UID.
    Replaced(Box<Header>),
    /// Another instance has its UID; this one is set aside.
    Conflict(SopInstanceUid),
    /// It is set aside for this reason.
    Unusable(String),
}

/// What stopped a recording; what came before it is recorded, and all of it may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("the ledger did not take it")]
    Ledger(#[from] ledger::Error),
    #[error(
        "the instance that has the UID {0} already is not recorded, and cannot be; send this one again later"
    )]
    FirstUnrecorded(SopInstanceUid),
    #[error("an instance with the UID of another one cannot be put into quarantine")]
    Quarantine(#[source] io::Error),
}

impl AdmissionError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Ledger(error) => error.may_pass(),
            Self::FirstUnrecorded(_) | Self::Quarantine(_) => false,
        }
    }
}

/// Records what `association` brought; one answer for each, in order.
///
/// # Errors
/// When ledger or disk do not take it. Nothing is lost: the spool's journal names what has no row.
pub async fn record(
    spool: &Spool,
    ledger: &Ledger,
    association: AssociationId,
    arrivals: Vec<Arrival>,
    now: Millis,
) -> Result<Vec<Admitted>, AdmissionError> {
    let recorder = Recorder { spool, ledger, association, now };
    let mut admitted = Vec::with_capacity(arrivals.len());
    let mut batch = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        match arrival {
            Arrival::Kept(instance) => batch.push(instance),
            Arrival::Mending(instance, aside) => {
                batch.push(instance);
                aside.record(ledger, Some(association)).await?;
            }
            Arrival::Twin(instance, aside) => {
                admitted.extend(recorder.instances(std::mem::take(&mut batch)).await?);
                admitted.push(recorder.twin(instance, &aside).await?);
            }
            Arrival::Replacing(instance, aside) => {
                admitted.extend(recorder.instances(std::mem::take(&mut batch)).await?);
                admitted.push(recorder.replacement(instance, &aside).await?);
            }
            Arrival::Unusable(fault, aside) => {
                admitted.extend(recorder.instances(std::mem::take(&mut batch)).await?);
                aside.record(ledger, Some(association)).await?;
                admitted.push(Admitted::Unusable(fault.to_string()));
            }
        }
    }
    admitted.extend(recorder.instances(batch).await?);
    Ok(admitted)
}

struct Recorder<'a> {
    spool: &'a Spool,
    ledger: &'a Ledger,
    association: AssociationId,
    now: Millis,
}

impl Recorder<'_> {
    async fn instances(&self, batch: Vec<Instance>) -> Result<Vec<Admitted>, AdmissionError> {
        let (rows, receipts): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|instance| instance.split(self.association, self.now)).unzip();
        let recorded = self.ledger.record_instances(&rows).await?;
        let mut admitted = Vec::with_capacity(rows.len());
        let mut failure = None;
        for ((row, recorded), receipt) in rows.into_iter().zip(recorded).zip(receipts) {
            match self.follow(row, recorded, receipt.is_some()).await {
                Ok(one) => {
                    admitted.push(one);
                    if let Some(receipt) = receipt {
                        self.spool.recorded(receipt);
                    }
                }
                // The journal goes on naming this one, which is in service without a row. The others have theirs.
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(admitted), Err)
    }

    /// Does what follows from the ledger's answer.
    async fn follow(
        &self,
        row: NewInstance,
        recorded: Recorded,
        is_in_service: bool,
    ) -> Result<Admitted, AdmissionError> {
        match recorded {
            Recorded::New | Recorded::NewOfOtherPatient => Ok(Admitted::Stored(Box::new(row.header))),
            Recorded::Same => Ok(Admitted::Duplicate(Box::new(row.header))),
            Recorded::Twin => {
                if is_in_service {
                    self.set_other_aside(&row).await?;
                }
                Ok(Admitted::Conflict(row.header.sop_instance))
            }
            Recorded::Misplaced => {
                self.set_aside(&row.header).await?;
                Ok(Admitted::Conflict(row.header.sop_instance))
            }
        }
    }

    /// The first stays in service; this one is known by its row in quarantine alone.
    async fn twin(&self, instance: Instance, aside: &Aside) -> Result<Admitted, AdmissionError> {
        let (row, _) = instance.split(self.association, self.now);
        let recorded = compare_with_first(self.spool, self.ledger, &row).await?;
        aside.record(self.ledger, Some(self.association)).await?;
        if recorded == Recorded::Misplaced {
            self.set_aside(&row.header).await?;
        }
        Ok(Admitted::Conflict(row.header.sop_instance))
    }

    /// The ledger knows its UID elsewhere, and holds that study: it goes out of service.
    async fn set_aside(&self, header: &Header) -> Result<(), AdmissionError> {
        tracing::warn!(study.uid = %header.study, "an instance is known in another study or series");
        if let Some(aside) = Aside::misplaced(self.spool, header).await.map_err(AdmissionError::Quarantine)? {
            aside.record(self.ledger, Some(self.association)).await?;
        }
        Ok(())
    }

    /// Its file took the place of one that was lost, and is not that one.
    async fn set_other_aside(&self, row: &NewInstance) -> Result<(), AdmissionError> {
        match set_other_aside(self.spool, row).await.map_err(AdmissionError::Quarantine)? {
            Some(aside) => Ok(aside.record(self.ledger, Some(self.association)).await?),
            None => Ok(()),
        }
    }

    async fn replacement(&self, instance: Instance, aside: &Aside) -> Result<Admitted, AdmissionError> {
        let (row, receipt) = instance.split(self.association, self.now);
        replace_known(self.spool, self.ledger, &row).await?;
        aside.record(self.ledger, Some(self.association)).await?;
        if let Some(receipt) = receipt {
            self.spool.recorded(receipt);
        }
        Ok(Admitted::Replaced(Box::new(row.header)))
    }
}
