use ledger::{Failed, Failure, FailureKind, Heartbeat, JobState, Release, ReleaseGuard};

use crate::database::TestDb;
use crate::examples::{at, boot, claim, must_claim, new_result, node, study_with_job};
use crate::on_both;

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, reason: "out of memory".to_owned(), retry_at: at(3) }
}

/// A worker claims the job, comes so far, and is not heard of any more.
async fn lose_at(db: &TestDb, round: u64, permille: u32) {
    let now = round * 100;
    let lease = must_claim(&db.ledger, "w", at(now)).await.lease;
    assert_eq!(db.ledger.start_job(lease, at(now + 30), at(now)).await.expect("an answer"), Heartbeat::Mine);
    let reported = db.ledger.report_progress(lease, permille, at(now + 30)).await.expect("an answer");
    assert_eq!(reported, Heartbeat::Mine);
    db.ledger.expire_leases(at(now + 31)).await.expect("an answer");
}

on_both! {
    async fn a_lease_that_is_renewed_is_kept(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(5)).await.lease; // until 35
        assert_eq!(db.ledger.start_job(lease, at(40), at(6)).await.expect("an answer"), Heartbeat::Mine);
        assert_eq!(db.ledger.report_progress(lease, 500, at(70)).await.expect("an answer"), Heartbeat::Mine);
        assert!(db.ledger.expire_leases(at(69)).await.expect("an answer").queued.is_empty());
        let job = db.ledger.job(lease.job).await.expect("an answer").expect("a job");
        assert_eq!((job.state, job.progress_permille, job.lease_until), (JobState::Running, 500, Some(at(70))));
    }

    async fn a_lease_that_ran_out_goes_to_somebody_else(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let lost = must_claim(&db.ledger, "first", at(5)).await.lease;
        assert_eq!(db.ledger.expire_leases(at(36)).await.expect("an answer").queued, [job]);

        let held = must_claim(&db.ledger, "second", at(36)).await.lease;

        assert_eq!(db.ledger.renew_lease(lost, at(90)).await.expect("an answer"), Heartbeat::Lost(JobState::Leased));
        assert_eq!(db.ledger.report_progress(lost, 900, at(90)).await.expect("an answer"), Heartbeat::Lost(JobState::Leased));
        let guard = ReleaseGuard::AllowedBy("test".to_owned());
        let late = db.ledger.complete_job(lost, &new_result(1), &guard, &[], at(37)).await.expect("an answer");
        assert_eq!(late, Release::LeaseLost);
        assert_eq!(db.ledger.fail_job(lost, &failure(FailureKind::CannotPass), at(37)).await.expect("an answer"), Failed::LeaseLost);
        assert_eq!(db.ledger.renew_lease(held, at(90)).await.expect("an answer"), Heartbeat::Mine);
    }

    async fn three_failures_make_a_job_dead(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        for attempts in 1..=2 {
            let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
            let failed = db.ledger.fail_job(lease, &failure(FailureKind::MayPass), at(3)).await.expect("an answer");
            assert_eq!(failed, Failed::Retry { attempts });
        }
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        assert_eq!(db.ledger.fail_job(lease, &failure(FailureKind::MayPass), at(3)).await.expect("an answer"), Failed::Dead);
        assert!(claim(&db.ledger, "w", at(999)).await.is_none());
        let row = db.ledger.job(job).await.expect("an answer").expect("a job");
        assert_eq!(row.failure, Some((FailureKind::MayPass, "out of memory".to_owned())));

        db.ledger.requeue_job(job, "admin", None, at(1000)).await.expect("requeued");
        let row = must_claim(&db.ledger, "w", at(1000)).await.job;
        assert_eq!((row.attempts, row.failure), (0, None), "a requeued job has all its tries before it");
    }

    async fn what_cannot_pass_is_not_tried_again(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        assert_eq!(db.ledger.fail_job(lease, &failure(FailureKind::CannotPass), at(3)).await.expect("an answer"), Failed::Dead);
    }

    async fn five_leases_lost_in_a_row_make_a_job_dead(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        for round in 1..=4 {
            must_claim(&db.ledger, "w", at(round * 100)).await;
            assert_eq!(db.ledger.expire_leases(at(round * 100 + 31)).await.expect("an answer").queued, [job]);
        }
        must_claim(&db.ledger, "w", at(500)).await;
        assert_eq!(db.ledger.expire_leases(at(531)).await.expect("an answer").dead, [job]);
        let row = db.ledger.job(job).await.expect("an answer").expect("a job");
        assert_eq!((row.state, row.attempts), (JobState::Dead, 0), "lost leases are no failures of the job");
    }

    async fn progress_forgives_lost_leases(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        for round in 1..=8 {
            let further = u32::try_from(round).expect("a small number") * 10;
            lose_at(&db, round, further).await;
        }
        let row = must_claim(&db.ledger, "w", at(900)).await.job;
        assert_eq!((row.lost_leases, row.progress_permille), (1, 80));
    }

    async fn a_job_that_ends_its_process_at_the_same_place_each_time_dies(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        for round in 1..=5 {
            lose_at(&db, round, 500).await;
        }
        let row = db.ledger.job(job).await.expect("an answer").expect("a job");
        assert_eq!(row.state, JobState::Dead);
    }

    async fn a_node_takes_back_its_own_leases_at_start(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        must_claim(&db.ledger, "w", at(5)).await; // node n1, boot b1
        for (name, run) in [("n2", "b2"), ("n1", "b1")] {
            let taken = db.ledger.take_back_leases(&node(name), &boot(run), at(6)).await.expect("an answer");
            assert!(taken.queued.is_empty(), "not the lease of {name} {run}");
        }
        let taken = db.ledger.take_back_leases(&node("n1"), &boot("b2"), at(6)).await.expect("an answer");
        assert_eq!(taken.queued, [job]);
        assert_eq!(must_claim(&db.ledger, "w", at(6)).await.job.lost_leases, 1);
    }

    async fn a_job_handed_back_blames_nobody(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(5)).await.lease;
        assert_eq!(db.ledger.hand_back_job(lease, at(6)).await.expect("an answer"), Heartbeat::Mine);
        let row = must_claim(&db.ledger, "w", at(6)).await.job;
        assert_eq!((row.attempts, row.lost_leases), (0, 0));
        assert_eq!(db.ledger.hand_back_job(lease, at(7)).await.expect("an answer"), Heartbeat::Lost(JobState::Leased));
    }
}
