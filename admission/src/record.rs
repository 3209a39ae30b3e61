//! What the ledger has to know of what came.

use std::{io, time::Duration};

use imaging::{Header, SopInstanceUid};
use ledger::{AssociationId, Ledger, Millis, Recorded};
use spool::{InstanceKey, Spool};

use crate::{Arrival, Aside, Instance};

/// How long the row of an instance that is in the spool may take, and how often it is asked for.
const FIRST_RECORDED_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);

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
    #[error("the instance that has the UID {0} already is not recorded yet; send this one again later")]
    FirstUnrecorded(SopInstanceUid),
    #[error("an instance with the UID of another one cannot be put into quarantine")]
    Quarantine(#[source] io::Error),
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
            Arrival::Twin(instance, aside) => {
                admitted.extend(recorder.instances(std::mem::take(&mut batch)).await?);
                admitted.extend(recorder.twin(instance, &aside).await?);
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
        for ((row, recorded), receipt) in rows.into_iter().zip(recorded).zip(&receipts) {
            let header = Box::new(row.header);
            admitted.push(match recorded {
                Recorded::New | Recorded::NewOfOtherPatient => Admitted::Stored(header),
                Recorded::Same => Admitted::Duplicate(header),
                Recorded::Twin => {
                    if receipt.is_some() {
                        self.set_other_aside(&header).await?;
                    }
                    Admitted::Conflict(header.sop_instance)
                }
                Recorded::Misplaced => {
                    self.set_aside(&header).await?;
                    Admitted::Conflict(header.sop_instance)
                }
            });
        }
        for receipt in receipts.into_iter().flatten() {
            self.spool.recorded(receipt);
        }
        Ok(admitted)
    }

    /// Compared with the first, which another door may have brought a moment ago: its row has to be there,
    /// else the ledger would take the second for the first.
    async fn twin(&self, instance: Instance, aside: &Aside) -> Result<Vec<Admitted>, AdmissionError> {
        let uid = &instance.header.sop_instance;
        let patience = tokio::time::timeout(FIRST_RECORDED_WITHIN, async {
            while self.ledger.instance(uid).await?.is_none() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Ok::<(), ledger::Error>(())
        });
        patience.await.map_err(|_| AdmissionError::FirstUnrecorded(uid.clone()))??;
        aside.record(self.ledger, Some(self.association)).await?;
        self.instances(vec![instance]).await
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
    async fn set_other_aside(&self, header: &Header) -> Result<(), AdmissionError> {
        let key = InstanceKey::of(header);
        let aside = Aside::other_than_known(self.spool, key).await.map_err(AdmissionError::Quarantine)?;
        match aside {
            Some(aside) => Ok(aside.record(self.ledger, Some(self.association)).await?),
            None => Ok(()),
        }
    }

    async fn replacement(&self, instance: Instance, aside: &Aside) -> Result<Admitted, AdmissionError> {
        let (row, receipt) = instance.split(self.association, self.now);
        self.ledger.replace_instance(&row).await?;
        aside.record(self.ledger, Some(self.association)).await?;
        if let Some(receipt) = receipt {
            self.spool.recorded(receipt);
        }
        Ok(Admitted::Replaced(Box::new(row.header)))
    }
}
