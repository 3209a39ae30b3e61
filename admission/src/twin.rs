//! Several data sets with one UID, of which the ledger may hear in another order than the spool.

use std::io;

use imaging::is_own_result;
use ledger::{Ledger, NewInstance, Recorded};
use spool::{Found, HeadError, InstanceKey, Spool};

use crate::{AdmissionError, Aside};

/// Compares what is set aside with the instance that is in service under its UID. Where the ledger has not heard of
/// that one yet (its row may be late, or wait behind this), its row is made from its file: else the ledger would take
/// the second for the first, or know of no study to hold.
///
/// # Errors
/// When the ledger does not take it, or the first cannot be read.
pub async fn compare_with_first(
    spool: &Spool,
    ledger: &Ledger,
    second: &NewInstance,
) -> Result<Recorded, AdmissionError> {
    if let Some(recorded) = ledger.compare_instance(second).await? {
        return Ok(recorded);
    }
    let unrecorded = || AdmissionError::FirstUnrecorded(second.header.sop_instance.clone());
    let first = in_service(spool, InstanceKey::of(&second.header)).await.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the first of two with one UID cannot be read"
        );
        unrecorded()
    })?;
    // Own results are rows of their jobs, not arrivals.
    if is_own_result(&first.header) {
        return Ok(Recorded::Twin);
    }
    let first = NewInstance {
        header: first.header,
        digest: first.digest.to_string(),
        size_bytes: first.size_bytes,
        ..second.clone()
    };
    ledger.record_instances(std::slice::from_ref(&first)).await?;
    ledger.compare_instance(second).await?.ok_or_else(unrecorded)
}

/// Puts what has taken the place of another data set into the row of that; not when a third one has taken its own
/// place meanwhile, of which the ledger may have heard before.
///
/// # Errors
/// When the ledger does not take it.
pub async fn replace_known(spool: &Spool, ledger: &Ledger, row: &NewInstance) -> Result<(), AdmissionError> {
    match in_service(spool, InstanceKey::of(&row.header)).await {
        Ok(found) if found.digest.to_string() != row.digest => Ok(()),
        _ => Ok(ledger.replace_instance(row).await?),
    }
}

/// Takes the instance of `row` out of service, whose file came where the ledger knows another data set. `None` when it
/// is not there: also when a third one, which the ledger heard of before, has taken its place.
///
/// # Errors
/// When the disk refuses; it stays in the spool.
pub async fn set_other_aside(spool: &Spool, row: &NewInstance) -> io::Result<Option<Aside>> {
    let key = InstanceKey::of(&row.header);
    match in_service(spool, key.clone()).await {
        Ok(found) if found.digest.to_string() != row.digest => Ok(None),
        Err(HeadError::Io(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // Also what cannot be read any more.
        _ => Aside::other_than_known(spool, key).await,
    }
}

async fn in_service(spool: &Spool, key: InstanceKey) -> Result<Found, HeadError> {
    let spool = spool.clone();
    let found = tokio::task::spawn_blocking(move || spool.find(&key)).await;
    found.map_err(io::Error::other)?
}
