//! Takes up what an earlier run left lying, and what nobody renews.

use std::{sync::Arc, time::Duration};

use ledger::Ledger;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{config::PipelineConfig, destination::chain, look::Looker};

/// How often leases that ran out are taken back.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Asks the fusions that the last run was stopped before it could ask.
pub(crate) async fn ask_again(looker: Arc<Looker>, shutdown: CancellationToken) {
    let asked = shutdown.run_until_cancelled(looker.follow_parts_everywhere()).await;
    if let Some(Err(error)) = asked {
        warn!(error = %chain(&error), "fusions of the last run are not asked again before the next start");
    }
}

/// Takes back what earlier runs of this node held, then, from time to time, what nobody renews.
pub(crate) async fn tidy(ledger: Ledger, config: Arc<PipelineConfig>, shutdown: CancellationToken) {
    if let Err(error) = take_back_own(&ledger, &config).await {
        warn!(error = %chain(&error), "cannot take back the leases of the last run; they will run out");
    }
    while !shutdown.is_cancelled() {
        if let Err(error) = expire(&ledger, &config).await {
            warn!(error = %chain(&error), "cannot take back leases that ran out");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(TIDY_EVERY) => {}
        }
    }
}

async fn take_back_own(ledger: &Ledger, config: &PipelineConfig) -> Result<(), ledger::Error> {
    let now = config.clock.now();
    let jobs = ledger.take_back_leases(&config.node, &config.boot, now).await?;
    let deliveries = ledger.take_back_deliveries(&config.node, &config.boot, now).await?;
    if !jobs.queued.is_empty() || !jobs.dead.is_empty() || deliveries > 0 {
        info!(
            jobs = jobs.queued.len(),
            dead = jobs.dead.len(),
            deliveries,
            "took back what the last run of this node held"
        );
    }
    Ok(())
}

async fn expire(ledger: &Ledger, config: &PipelineConfig) -> Result<(), ledger::Error> {
    let now = config.clock.now();
    let jobs = ledger.expire_leases(now).await?;
    let deliveries = ledger.expire_delivery_leases(now).await?;
    if !jobs.queued.is_empty() || !jobs.dead.is_empty() || deliveries > 0 {
        warn!(
            jobs = jobs.queued.len(),
            dead = jobs.dead.len(),
            deliveries,
            "took back what was not renewed in time"
        );
    }
    Ok(())
}
