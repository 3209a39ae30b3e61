use ledger::{Claim, FailureKind, NewJob, Priority};

use crate::database::TestDb;
use crate::examples::{at, claim, claim_as, enqueue, must_claim, new_job, receive_study, study_with_job};
use crate::on_both;

on_both! {
    async fn second_worker_cannot_claim_a_leased_job(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        must_claim(&db.ledger, "first", at(3)).await;
        assert!(claim(&db.ledger, "second", at(3)).await.is_none());
        assert!(claim(&db.ledger, "second", at(3000)).await.is_none(), "a lease is taken back, never taken over");
    }

    async fn stat_goes_before_routine(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        enqueue(&db.ledger, &new_job(1, "routine", "k1")).await;
        let stat = enqueue(&db.ledger, &NewJob { priority: Priority::Stat, created_at: at(3), ..new_job(1, "stat", "k2") }).await;
        assert_eq!(must_claim(&db.ledger, "w", at(4)).await.job.id, stat);
    }

    async fn a_raised_priority_counts_at_once(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        enqueue(&db.ledger, &new_job(1, "a", "k1")).await;
        let raised = enqueue(&db.ledger, &new_job(1, "b", "k2")).await;
        db.ledger.prioritize_job(raised, Priority::Stat, "dr-kim", at(3)).await.expect("raised");
        assert_eq!(must_claim(&db.ledger, "w", at(4)).await.job.id, raised);
    }

    async fn many_jobs_of_one_model_do_not_starve_another(db: TestDb) {
        for number in 1..=20 {
            receive_study(&db.ledger, number).await;
            enqueue(&db.ledger, &new_job(number, "busy", &format!("busy-{number}"))).await;
        }
        enqueue(&db.ledger, &NewJob { created_at: at(90), ..new_job(1, "rare", "rare-1") }).await;
        let mut order = Vec::new();
        for second in 100..104 {
            order.push(must_claim(&db.ledger, "w", at(second)).await.job.model.id);
        }
        assert!(order[..2].contains(&"rare".to_owned()), "served: {order:?}");
    }

    async fn the_oldest_job_of_a_model_goes_first(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        receive_study(&db.ledger, 2).await;
        let younger = enqueue(&db.ledger, &NewJob { created_at: at(9), ..new_job(1, "brain", "k1") }).await;
        let older = enqueue(&db.ledger, &NewJob { created_at: at(8), ..new_job(2, "brain", "k2") }).await;
        assert_eq!(must_claim(&db.ledger, "w", at(10)).await.job.id, older);
        assert_eq!(must_claim(&db.ledger, "w", at(10)).await.job.id, younger);
    }

    async fn a_worker_gets_only_what_it_can_run(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let only = |model: &str| Claim { models: Some(vec![model.to_owned()]), ..claim_as("w") };
        assert!(db.ledger.claim_job(&only("liver"), at(3)).await.expect("an answer").is_none());
        assert!(db.ledger.claim_job(&only("brain"), at(3)).await.expect("an answer").is_some());
    }

    async fn a_poisoned_job_does_not_hold_up_others(db: TestDb) {
        let poisoned = study_with_job(&db.ledger, 1).await;
        let healthy = study_with_job(&db.ledger, 2).await;
        let claimed = must_claim(&db.ledger, "w", at(3)).await;
        assert_eq!(claimed.job.id, poisoned);
        let failure = ledger::Failure { kind: FailureKind::MayPass, reason: "memory".to_owned(), retry_at: at(60) };
        db.ledger.fail_job(claimed.lease, &failure, at(4)).await.expect("noted");
        assert_eq!(must_claim(&db.ledger, "w", at(5)).await.job.id, healthy);
        assert!(claim(&db.ledger, "w", at(6)).await.is_none());
        assert_eq!(db.ledger.next_job_due(at(6)).await.expect("an answer"), Some(at(60)));
        assert_eq!(must_claim(&db.ledger, "w", at(60)).await.job.id, poisoned);
    }
}
