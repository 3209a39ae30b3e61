//! Notes when the disk of the spool gets full, before the spool has to refuse.

use std::time::Duration;

use ledger::{Ledger, Millis, NewEvent};
use serde_json::json;
use spool::Spool;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{clock::Clock, destination::chain};

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks at the spool's disk until it is told to stop.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    pub(crate) ledger: Ledger,
    pub(crate) spool: Spool,
    pub(crate) clock: Clock,
}

impl DiskWatch {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut was_low = false;
        while !shutdown.is_cancelled() {
            // First of all subscribers find their places in the event log: they are to be told of this, too.
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            was_low = self.look(was_low).await;
        }
    }

    async fn look(&self, was_low: bool) -> bool {
        let min = self.spool.min_free_bytes();
        let free = match self.spool.free_bytes() {
            Ok(free) => free,
            Err(error) => {
                warn!(error = %chain(&error), "cannot see how much room the spool has");
                return was_low;
            }
        };
        let low = is_low(was_low, free, min);
        if low && !was_low {
            error!(
                free_bytes = free,
                min_free_bytes = min,
                "the disk is nearly full: below spool.min_free_bytes nothing is accepted"
            );
            if let Err(error) = self.note(free, min, self.clock.now()).await {
                warn!(error = %chain(&error), "cannot note that the disk is nearly full");
                return false;
            }
        }
        low
    }

    async fn note(&self, free: u64, min: u64, now: Millis) -> Result<(), ledger::Error> {
        let detail = json!({ "free_bytes": free, "min_free_bytes": min });
        self.ledger.add_event(NewEvent::new("disk.low", now).detail(detail)).await
    }
}

/// Low is less than twice of what the spool keeps free, until half as much again is there.
fn is_low(was_low: bool, free: u64, min: u64) -> bool {
    let limit = min.saturating_mul(if was_low { 3 } else { 2 });
    free < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_before_the_spool_refuses_and_until_there_is_room_again() {
        let lows = [50, 21, 20, 19, 25, 29, 30, 25].map({
            let mut low = false;
            move |free| {
                low = is_low(low, free, 10);
                low
            }
        });
        assert_eq!(lows, [false, false, false, true, true, true, false, false]);
    }
}
