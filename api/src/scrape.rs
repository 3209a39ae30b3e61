//! Gauges that are read when Prometheus asks: queues, disk, process.

use std::{collections::BTreeMap, io};

use ledger::{DeliveryState, JobState, OutboxCount, QueueCount};

use crate::{
    process::{self, Usage},
    state::AppState,
};

/// States that [`ledger::Ledger::queue_counts`] tells of; one that is empty now reads 0.
const QUEUE: &[JobState] = &[
    JobState::Queued,
    JobState::Leased,
    JobState::Running,
    JobState::Computed,
    JobState::Failed,
    JobState::Dead,
];
const OUTBOX: &[DeliveryState] =
    &[DeliveryState::Waiting, DeliveryState::Sending, DeliveryState::Sent, DeliveryState::Parked];

/// Brings the gauges up to date. What cannot be read keeps its last value, and
/// `overread_scrape_failures_total` says so.
pub(crate) async fn refresh(state: &AppState) {
    read("queue", state.ledger.queue_counts().await, |counts| set_queue(&counts));
    read("outbox", state.ledger.outbox_counts().await, |counts| set_outbox(&counts));
    metrics::gauge!("overread_models_in_service").set(state.registry.active().len() as f64);
    metrics::gauge!("overread_event_streams").set(state.streams().open() as f64);
    let root = state.spool_root.clone();
    match tokio::task::spawn_blocking(move || (process::usage(), free_bytes(&root))).await {
        Ok((usage, free)) => {
            read("process", usage, set_usage);
            read("disk", free, |free| metrics::gauge!("overread_disk_free_bytes").set(free as f64));
        }
        Err(error) => failed("process", &error),
    }
}

fn read<T, E: std::error::Error + 'static>(part: &'static str, read: Result<T, E>, set: impl FnOnce(T)) {
    match read {
        Ok(value) => set(value),
        Err(error) => failed(part, &error),
    }
}

fn failed(part: &'static str, error: &(dyn std::error::Error + 'static)) {
    metrics::counter!("overread_scrape_failures_total", "part" => part).increment(1);
    tracing::warn!(part, error, "a part of the metrics cannot be read");
}

fn set_queue(counts: &[QueueCount]) {
    let mut by_state: BTreeMap<JobState, u64> = QUEUE.iter().map(|state| (*state, 0)).collect();
    for count in counts {
        *by_state.entry(count.state).or_default() += count.count;
    }
    for (state, count) in by_state {
        metrics::gauge!("overread_jobs", "state" => state.as_str()).set(count as f64);
    }
}

fn set_outbox(counts: &[OutboxCount]) {
    let mut by_state: BTreeMap<DeliveryState, u64> = OUTBOX.iter().map(|state| (*state, 0)).collect();
    for count in counts {
        *by_state.entry(count.state).or_default() += count.count;
    }
    for (state, count) in by_state {
        metrics::gauge!("overread_deliveries", "state" => state.as_str()).set(count as f64);
    }
}

fn set_usage(usage: Usage) {
    metrics::gauge!("overread_process_cpu_seconds_total").set(usage.cpu_seconds);
    metrics::gauge!("overread_process_resident_memory_bytes").set(usage.resident_bytes as f64);
    metrics::gauge!("overread_process_open_files").set(usage.open_files as f64);
    metrics::gauge!("overread_process_start_time_seconds").set(usage.started_at);
}

fn free_bytes(root: &std::path::Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(root)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
