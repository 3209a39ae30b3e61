//! Puts the objects of a result into the spool, before the ledger says that they exist.
//!
//! A worker that died in between left objects that nobody refers to. They are the same
//! bytes as a rule; where they are not (another machine, another rounding), those nobody
//! has seen give way, so that segmentation and report of one result belong together.

use std::sync::Arc;

use ledger::{ArtifactId, Ledger, NewArtifact};
use results::{Encoded, Reference};
use spool::{Digest, Outcome, PutError, Receipt, Spool};

use crate::{
    encode::Object,
    kill_point::{self, KillPoint},
};

/// Objects that are in the spool.
#[derive(Debug, Default)]
pub(crate) struct KeptObjects {
    pub(crate) artifacts: Vec<NewArtifact>,
    pub(crate) receipts: Vec<Receipt>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepObjectsError {
    #[error("the spool did not take a result")]
    Put(#[from] PutError),
    #[error("cannot use the spool")]
    Io(#[from] std::io::Error),
    #[error("a thread ended early")]
    Thread(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The spool holds something else that the ledger knows.
    #[error("another object has the UID {0}")]
    Taken(imaging::SopInstanceUid),
    #[error("the spool cannot use the object that was written: {0}")]
    Unusable(spool::Fault),
}

pub(crate) async fn keep(
    ledger: &Ledger,
    spool: &Spool,
    objects: Vec<Object>,
) -> Result<KeptObjects, KeepObjectsError> {
    let mut kept = KeptObjects::default();
    for object in objects {
        let reference = object.encoded.reference.clone();
        let (digest, size_bytes) = match keep_one(ledger, spool, object.encoded).await? {
            Outcome::Kept(new) => {
                kept.receipts.push(new.receipt);
                (new.digest, new.size_bytes)
            }
            Outcome::Same(same) => (same.digest, same.size_bytes),
            Outcome::Conflict(_) => return Err(KeepObjectsError::Taken(reference.sop_instance)),
            Outcome::Unusable(unusable) => return Err(KeepObjectsError::Unusable(unusable.fault)),
        };
        kill_point::pass(KillPoint::Kept);
        kept.artifacts.push(artifact(
            object.role,
            object.profile,
            object.part,
            reference,
            digest,
            size_bytes,
        ));
    }
    Ok(kept)
}

/// Keeps an object that somebody brought, as it is; it never takes the place of another.
pub(crate) async fn keep_given(
    spool: &Spool,
    object: Object,
    kept: &mut KeptObjects,
) -> Result<(), KeepObjectsError> {
    let reference = object.encoded.reference.clone();
    let (digest, size_bytes) = match put(spool, object.encoded.bytes).await? {
        Outcome::Kept(new) => {
            kept.receipts.push(new.receipt);
            (new.digest, new.size_bytes)
        }
        Outcome::Same(same) => (same.digest, same.size_bytes),
        Outcome::Conflict(_) => return Err(KeepObjectsError::Taken(reference.sop_instance)),
        Outcome::Unusable(unusable) => return Err(KeepObjectsError::Unusable(unusable.fault)),
    };
    kept.artifacts.push(artifact(object.role, object.profile, object.part, reference, digest, size_bytes));
    Ok(())
}

fn artifact(
    role: &str,
    profile: String,
    part: u32,
    reference: Reference,
    digest: Digest,
    size_bytes: u64,
) -> NewArtifact {
    NewArtifact {
        id: ArtifactId::generate(),
        role: role.to_owned(),
        profile,
        part,
        sop_class: reference.sop_class,
        sop_instance: reference.sop_instance,
        series: reference.series,
        digest: digest.to_string(),
        size_bytes,
    }
}

async fn keep_one(ledger: &Ledger, spool: &Spool, encoded: Encoded) -> Result<Outcome, KeepObjectsError> {
    let bytes: Arc<[u8]> = encoded.bytes.into();
    let outcome = put(spool, bytes.clone()).await?;
    let Outcome::Conflict(conflict) = outcome else { return Ok(outcome) };
    if ledger.is_own_object(&conflict.key.sop_instance).await? {
        return Ok(Outcome::Conflict(conflict));
    }
    let (room, key) = (spool.clone(), conflict.key);
    tokio::task::spawn_blocking(move || room.delete(&key)).await??;
    put(spool, bytes).await
}

async fn put(spool: &Spool, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Outcome, KeepObjectsError> {
    let spool = spool.clone();
    Ok(tokio::task::spawn_blocking(move || spool.put(bytes.as_ref())).await??)
}
