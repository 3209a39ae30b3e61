//! Nothing twice, nothing lost, under load; and how fast. The figures are printed, not judged:
//! machines differ. `cargo test -p ledger throughput -- --nocapture --test-threads 1`

#![allow(clippy::print_stdout, reason = "the figures are what these tests are run by hand for")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ledger::{Durability, JobId, Ledger, NewJob, ReleaseGuard};

use crate::database::TestDb;
use crate::examples::{
    LEASE, at, claim, enqueue, instance, new_job, new_result, open_association, receive_study,
};

/// Jobs that are claimed, unless `OVERREAD_JOBS` says how many.
const JOBS: u32 = 2000;
const WORKERS: u32 = 4;

fn jobs() -> u32 {
    std::env::var("OVERREAD_JOBS").map_or(JOBS, |text| text.parse().expect("OVERREAD_JOBS is a number"))
}

async fn enqueue_all(ledger: &Ledger) {
    receive_study(ledger, 1).await;
    for number in 0..jobs() {
        let no_series = Vec::new(); // so that each is a question of its own
        let model = format!("model-{}", number % 3);
        enqueue(ledger, &NewJob { inputs: no_series, ..new_job(1, &model, &format!("key-{number}")) }).await;
    }
}

async fn work(ledger: Ledger, worker: String, claimed: Arc<Mutex<Vec<JobId>>>) {
    while let Some(job) = claim(&ledger, &worker, at(3)).await {
        claimed.lock().expect("no worker panicked").push(job.job.id);
    }
}

async fn claim_all(db: &TestDb, backend: &str) {
    enqueue_all(&db.ledger).await;
    let claimed = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| tokio::spawn(work(db.ledger.clone(), format!("w{number}"), claimed.clone())))
        .collect();
    for worker in workers {
        worker.await.expect("a worker ends well");
    }
    let seconds = start.elapsed().as_secs_f64();
    let claimed = claimed.lock().expect("no worker panicked").clone();
    println!("{backend}: {WORKERS} workers, {} jobs, {:.0} claims/s", jobs(), f64::from(jobs()) / seconds);
    assert_eq!(claimed.len(), jobs() as usize, "none twice");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), jobs() as usize, "none lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_workers_claim_every_job_once_on_sqlite() {
    claim_all(&TestDb::sqlite_with(Durability::Power).await, "sqlite, synchronous=full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_workers_claim_every_job_once_on_postgresql() {
    claim_all(&TestDb::postgres().await, "postgresql, synchronous_commit=on").await;
}

async fn take_in(db: &TestDb, backend: &str) {
    const BATCHES: u32 = 40;
    const EACH: u32 = 100;
    let association = open_association(&db.ledger).await;
    let batches: Vec<Vec<_>> = (0..BATCHES)
        .map(|batch| {
            (0..EACH).map(|slice| instance(association, 1, 1 + batch / 10, batch * EACH + slice)).collect()
        })
        .collect();
    let start = Instant::now();
    for batch in &batches {
        db.ledger.record_instances(batch).await.expect("recorded");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{backend}: {:.0} instances/s in batches of {EACH}", f64::from(BATCHES * EACH) / seconds);
    let rows = db.ledger.series_of(&crate::examples::study(1)).await.expect("an answer");
    assert_eq!(rows.iter().map(|row| row.instance_count).sum::<u64>(), u64::from(BATCHES * EACH));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_instances_are_taken_in_on_sqlite() {
    take_in(&TestDb::sqlite_with(Durability::Power).await, "sqlite, synchronous=full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_instances_are_taken_in_on_postgresql() {
    take_in(&TestDb::postgres().await, "postgresql, synchronous_commit=on").await;
}

/// Workers on two nodes that run jobs from claim to result, with a lease that runs out under them now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_whose_lease_is_lost_has_one_result_all_the_same() {
    let db = TestDb::postgres().await;
    receive_study(&db.ledger, 1).await;
    for number in 0..200 {
        enqueue(&db.ledger, &NewJob { inputs: Vec::new(), ..new_job(1, "brain", &format!("key-{number}")) })
            .await;
    }
    let nodes = [db.ledger.clone(), db.other_node().await];
    let clock = Arc::new(AtomicU64::new(10));
    let workers: Vec<_> = (0..4_u32)
        .map(|number| tokio::spawn(finish_all(nodes[number as usize % 2].clone(), number, clock.clone())))
        .collect();
    for worker in workers {
        worker.await.expect("a worker ends well");
    }
    let count = |condition: &'static str| {
        let db = &db;
        async move { db.texts(condition).await[0][0].clone().unwrap_or_default().parse::<u32>().expect("a count") }
    };
    let done = count("select cast(count(*) as text) from job where state = 'done'").await;
    let dead = count("select cast(count(*) as text) from job where state = 'dead' and lost_leases = 5").await;
    let results = count("select cast(count(*) as text) from result where released_at is not null").await;
    assert_eq!((done + dead, results), (200, done));
    assert!(done > dead, "{done} done, {dead} dead of lost leases");
}

async fn finish_all(ledger: Ledger, worker: u32, clock: Arc<AtomicU64>) {
    let allowed = ReleaseGuard::AllowedBy("test".to_owned());
    let mut round = 0;
    loop {
        let now = at(clock.load(Ordering::SeqCst));
        let Some(claimed) = claim(&ledger, &format!("w{worker}"), now).await else { return };
        round += 1;
        if round % 7 == 0 {
            // Everybody's leases run out at once; those who work on do so in vain or finish first.
            let later = clock.fetch_add(LEASE.as_secs() + 1, Ordering::SeqCst) + LEASE.as_secs() + 1;
            ledger.expire_leases(at(later)).await.expect("expired");
        }
        let new = new_result(worker * 100_000 + round);
        ledger.complete_job(claimed.lease, &new, &allowed, &[], now).await.expect("an answer");
    }
}
