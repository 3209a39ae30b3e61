//! Nothing is computed from bytes that are not those that were received.

use admission::Aside;
use ledger::{Ledger, Millis};
use spool::{InstanceKey, ReadError, Spool};

use super::Trouble;
use crate::{analysis::ChannelFiles, destination::chain};

/// Reads all files of a job's input through. What is damaged goes to quarantine, where it is looked for by nobody, so
/// that the sender's next copy takes its place; whoever has it is asked for it again, and the job waits.
pub(super) async fn check(
    ledger: &Ledger,
    spool: &Spool,
    channels: &[ChannelFiles],
    now: Millis,
) -> Result<(), Trouble> {
    let keys: Vec<_> = channels.iter().flatten().map(|(header, _)| InstanceKey::of(header)).collect();
    let reading = spool.clone();
    let read = tokio::task::spawn_blocking(move || {
        let faults = keys.into_iter().filter_map(|key| reading.verify(&key).err().map(|fault| (key, fault)));
        faults.collect::<Vec<_>>()
    });
    let faults = read.await.map_err(|error| Trouble::may_pass(format!("the input was not read: {error}")))?;
    let Some((first, fault)) = faults.first() else { return Ok(()) };
    if let ReadError::Io(_) = fault {
        return Err(Trouble::may_pass(format!("instance {}: {}", first.sop_instance, chain(fault))));
    }
    let told = format!(
        "{} of the input's instances cannot be used, {} the first: {fault}; they are asked for again where they came from, or send them again",
        faults.len(),
        first.sop_instance,
    );
    let wanted: Vec<_> = faults.iter().map(|(key, _)| key.sop_instance.clone()).collect();
    ledger.want_again(&wanted, now).await?;
    for (key, fault) in faults {
        if matches!(fault, ReadError::Damaged) {
            let aside = Aside::damaged(spool, key).await;
            let aside = aside.map_err(|error| Trouble::may_pass(format!("{told} ({error})")))?;
            if let Some(aside) = aside {
                aside.record(ledger, None).await?;
            }
        }
    }
    Err(Trouble::may_pass(told))
}
