//! Which data set a UID stands for.

use std::io;

use imaging::{Header, SopInstanceUid};
use ledger::{AssociationId, Millis, NewInstance};
use spool::{Conflict, Digest, Fault, Kept, Outcome, Receipt, Replaced, Same, SameUid, Spool, Unusable};

use crate::Aside;

/// What came whole, after it was decided which data set its UID stands for.
#[derive(Debug)]
pub enum Arrival {
    /// In service.
    Kept(Instance),
    /// In service in the place of a damaged file, which is set aside.
    Mending(Instance, Aside),
    /// In service in the place of another data set, which is set aside.
    Replacing(Instance, Aside),
    /// Set aside: another data set stays in service under its UID.
    Twin(Instance, Aside),
    /// Set aside: nothing can be made of it.
    Unusable(Fault, Aside),
}

impl Arrival {
    /// What a sender calls it, for one that cannot be read.
    #[must_use]
    pub fn named(mut self, sop_instance: &SopInstanceUid) -> Self {
        if let Self::Unusable(_, aside) = &mut self {
            aside.sop_instance.get_or_insert_with(|| sop_instance.clone());
        }
        self
    }
}

/// An instance that the ledger has to hear of.
#[derive(Debug)]
pub struct Instance {
    pub header: Header,
    pub digest: Digest,
    /// The length of its file; 0 for one that is not in service.
    pub size_bytes: u64,
    /// To be given back to the spool when the ledger has heard of it.
    pub receipt: Option<Receipt>,
}

impl Instance {
    pub(crate) fn split(self, association: AssociationId, now: Millis) -> (NewInstance, Option<Receipt>) {
        let row = NewInstance {
            header: self.header,
            digest: self.digest.to_string(),
            size_bytes: self.size_bytes,
            association,
            arrived_at: now,
        };
        (row, self.receipt)
    }
}

/// Decides about an instance that the spool has taken in. Blocks.
///
/// # Errors
/// When the disk refuses; both data sets of a conflict are kept then, the first in service.
pub fn settle(spool: &Spool, outcome: Outcome) -> io::Result<Arrival> {
    match outcome {
        Outcome::Kept(Kept { key, digest, size_bytes, header, damaged, receipt }) => {
            let instance = Instance { header, digest, size_bytes, receipt: Some(receipt) };
            Ok(match damaged {
                None => Arrival::Kept(instance),
                Some(quarantined) => Arrival::Mending(instance, Aside::of_damaged(quarantined, key)),
            })
        }
        // Perhaps its row is missing: an earlier process may have died between the two.
        Outcome::Same(Same { digest, size_bytes, header, .. }) => {
            Ok(Arrival::Kept(Instance { header, digest, size_bytes, receipt: None }))
        }
        Outcome::Conflict(conflict) => settle_conflict(spool, *conflict),
        Outcome::Unusable(Unusable { fault, quarantined }) => {
            tracing::warn!(fault = %fault, "an instance cannot be used and is in quarantine");
            let aside = Aside::unparsable(quarantined, fault.to_string());
            Ok(Arrival::Unusable(fault, aside))
        }
    }
}

/// Two data sets have one UID. Whichever stays in service, both are kept.
fn settle_conflict(spool: &Spool, conflict: Conflict) -> io::Result<Arrival> {
    let identity_differs = conflict.identity_differs();
    tracing::warn!(study.uid = %conflict.key.study, identity_differs, "an instance came again with another data set");
    if spool.same_uid() == SameUid::Replace && !identity_differs {
        let Replaced { quarantined, size_bytes, receipt } = spool.replace(&conflict)?;
        let aside = Aside::replaced(quarantined, &conflict.second);
        let Conflict { second, second_digest, .. } = conflict;
        let instance = Instance { header: second, digest: second_digest, size_bytes, receipt: Some(receipt) };
        return Ok(Arrival::Replacing(instance, aside));
    }
    let Conflict { second, second_digest, quarantined, .. } = conflict;
    let aside = Aside::twin(quarantined, &second, identity_differs);
    let instance = Instance { header: second, digest: second_digest, size_bytes: 0, receipt: None };
    Ok(Arrival::Twin(instance, aside))
}
