//! A process that is killed in the middle of its work: what it was told is done is there
//! afterwards, and nothing is half done.
//!
//! This binary starts itself a second time as the process that is killed; it therefore has
//! a `main` of its own. `OVERREAD_KILLS` is the number of kills for each backend (default 10).

#![allow(clippy::print_stdout, reason = "it has no harness that would print its outcome")]

#[path = "support/database.rs"]
#[allow(dead_code, reason = "shared with the tests in it/, which use more of it")]
mod database;
#[path = "support/examples.rs"]
#[allow(dead_code, reason = "shared with the tests in it/, which use more of it")]
mod examples;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use ledger::{Durability, Ledger, NewDelivery, NewInstance, NewJob, Parcel, ReleaseGuard};

use crate::database::TestDb;
use crate::examples::{
    at, boot, claim, enqueue, instance, must_claim, new_job, new_result, node, open_association, unchanged,
};

const SLICES: u32 = 20;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..).unwrap_or_default() {
        [role, url, first_study] if role == "--work-until-killed" => {
            runtime.block_on(work_until_killed(url, first_study));
        }
        [role, url, worker] if role == "--hold-a-lease" => runtime.block_on(hold_a_lease(url, worker)),
        _ => runtime.block_on(async {
            kill_again_and_again().await;
            kill_one_of_two_workers().await;
        }),
    }
}

/// Claims a job, says so, and is busy with it for ever.
async fn hold_a_lease(url: &str, worker: &str) {
    let ledger = Ledger::open(url, Durability::Process).await.expect("the ledger opens");
    must_claim(&ledger, worker, at(3)).await;
    say("holds", 1);
    std::future::pending::<()>().await;
}

/// Two worker processes over one PostgreSQL: what one of them held when it was killed, the other does, once.
async fn kill_one_of_two_workers() {
    let db = TestDb::postgres().await;
    examples::receive_study(&db.ledger, 1).await;
    for number in 1..=20 {
        let new = NewJob { inputs: Vec::new(), ..new_job(1, "brain", &format!("key-{number}")) };
        enqueue(&db.ledger, &new).await;
    }
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--hold-a-lease", &db.url, "other"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process starts");
    let mut lines = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
    assert_eq!(lines.next().expect("its claim").expect("a line"), "holds 1");
    child.kill().expect("it was running");
    child.wait().expect("it ends");

    let done = work_off(&db.ledger, 4).await;
    assert_eq!(done, 19, "nobody takes what is leased");
    let expired = db.ledger.expire_leases(at(4).plus(examples::LEASE * 2)).await.expect("expired");
    assert_eq!((expired.queued.len(), expired.dead.len()), (1, 0));
    assert_eq!(work_off(&db.ledger, 100).await, 1);
    let odd = "select job_id from job where state <> 'done' or
               (select count(*) from result where result.job_id = job.job_id and released_at is not null) <> 1";
    assert_eq!(db.texts(odd).await, Vec::<Vec<Option<String>>>::new());
    println!("postgres: one of two workers killed with a lease, 20 jobs done once");
}

/// Does all that is due; gives how many jobs that were.
async fn work_off(ledger: &Ledger, second: u64) -> u32 {
    let allowed = ReleaseGuard::AllowedBy("test".to_owned());
    let mut done = 0;
    while let Some(claimed) = claim(ledger, "this", at(second)).await {
        done += 1;
        let new = new_result(u32::try_from(second).expect("small") * 1000 + done);
        ledger.complete_job(claimed.lease, &new, &allowed, &[], at(second)).await.expect("done");
    }
    done
}

/// Takes in studies and runs their jobs, and says after each step what was acknowledged.
async fn work_until_killed(url: &str, first_study: &str) {
    let ledger = Ledger::open(url, Durability::Process).await.expect("the ledger opens");
    let first: u32 = first_study.parse().expect("a number");
    for number in first.. {
        let association = open_association(&ledger).await;
        let batch: Vec<NewInstance> =
            (0..SLICES).map(|slice| instance(association, number, 1, slice)).collect();
        ledger.record_instances(&batch).await.expect("recorded");
        say("recorded", number);
        enqueue(&ledger, &new_job(number, "brain", &format!("key-{number}"))).await;
        say("enqueued", number);
        let lease = must_claim(&ledger, "w", at(3)).await.lease;
        let new = new_result(number);
        let guard = unchanged(&ledger, number).await;
        let deliveries = ["pacs", "folder"].map(|destination| NewDelivery {
            destination: destination.to_owned(),
            parcel: Parcel::Artifact(new.artifacts[0].id),
        });
        ledger.complete_job(lease, &new, &guard, &deliveries, at(4)).await.expect("done");
        say("done", number);
    }
}

fn say(step: &str, study: u32) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{step} {study}").and_then(|()| output.flush()).expect("the parent listens");
}

async fn kill_again_and_again() {
    let kills: u32 = std::env::var("OVERREAD_KILLS").map_or(10, |number| number.parse().expect("a number"));
    for (backend, db) in [("sqlite", TestDb::sqlite().await), ("postgres", TestDb::postgres().await)] {
        let mut acknowledged = Vec::new();
        for round in 0..kills {
            let first_study = round * 10_000 + 1;
            // A kill comes at another place of the work each time: 0 to 97 ms after a first step.
            let delay = Duration::from_millis(u64::from(round * 37 % 98));
            acknowledged.extend(work_and_kill(&db.url, first_study, delay));
            check(&db, &acknowledged).await;
        }
        println!(
            "{backend}: {kills} kills, {} acknowledged steps, none lost, none half done",
            acknowledged.len()
        );
    }
}

/// Lets the other process work for a while, kills it, and gives the steps that it had acknowledged.
fn work_and_kill(url: &str, first_study: u32, delay: Duration) -> Vec<(String, u32)> {
    let mut child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--work-until-killed", url, &first_study.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process starts");
    let mut lines = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
    let mut steps: Vec<String> = lines.by_ref().take(1).collect::<Result<_, _>>().expect("its first step");
    std::thread::sleep(delay);
    child.kill().expect("it was running");
    child.wait().expect("it ends");
    steps.extend(lines.map(|line| line.expect("what it said before it was killed")));
    steps
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(step, study)| (step.to_owned(), study.parse().expect("a number")))
        .collect()
}

async fn check(db: &TestDb, acknowledged: &[(String, u32)]) {
    for (step, study) in acknowledged {
        check_acknowledged(&db.ledger, step, *study).await;
    }
    let half_taken_in = "select study_uid from series where instance_count <>
                         (select count(*) from instance where instance.study_uid = series.study_uid) or instance_count <> 20";
    let half_done = "select job_id from job
                     where (state = 'done') <> (exists (select 1 from result
                                                join artifact on artifact.result_id = result.result_id
                                                where result.job_id = job.job_id and released_at is not null
                                                  and (select count(*) from delivery
                                                       where delivery.artifact_id = artifact.artifact_id) = 2))";
    let without_event = "select job_id from job where not exists (select 1 from event
                         where event.job_id = job.job_id and event.kind = 'job.' || job.state)";
    for question in [half_taken_in, half_done, without_event] {
        assert_eq!(db.texts(question).await, Vec::<Vec<Option<String>>>::new(), "{question}");
    }
    // What the killed process had leased comes back at the next start.
    db.ledger.take_back_leases(&node("n1"), &boot("b2"), at(3)).await.expect("taken back");
    while let Some(left) = claim(&db.ledger, "after", at(3)).await {
        db.ledger.cancel_job(left.job.id, "test", None, at(5)).await.expect("cancelled");
    }
}

async fn check_acknowledged(ledger: &Ledger, step: &str, study: u32) {
    let job = ledger.job_by_key(&format!("key-{study}")).await.expect("an answer");
    match step {
        "recorded" => {
            let row =
                ledger.study(&examples::study(study)).await.expect("an answer").expect("the study is lost");
            assert_eq!(row.instance_count, u64::from(SLICES));
        }
        "enqueued" => assert!(job.is_some(), "the job of study {study} is lost"),
        "done" => {
            assert!(job.is_some_and(|job| job.state == ledger::JobState::Done), "study {study} is not done");
        }
        other => panic!("an unknown step {other}"),
    }
}
