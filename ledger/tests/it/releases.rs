use ledger::{
    DeliveryState, Enqueued, Error, HoldReason, JobState, NewDelivery, NewJob, NewResult, PageRequest,
    Parcel, Release, ReleaseGuard, ResultFilter,
};

use crate::database::TestDb;
use crate::examples::{
    at, enqueue, instance, must_claim, new_job, new_result, receive_study, study, study_with_job, unchanged,
};
use crate::on_both;

fn to_pacs(result: &NewResult) -> Vec<NewDelivery> {
    let artifact = Parcel::Artifact(result.artifacts[0].id);
    vec![NewDelivery { destination: "pacs".to_owned(), parcel: artifact }]
}

async fn released(db: &TestDb) -> usize {
    db.ledger.results(&ResultFilter::default(), &PageRequest::first(10)).await.expect("an answer").rows.len()
}

on_both! {
    async fn a_completed_job_has_result_artifacts_and_deliveries(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let new = new_result(1);

        let release = db.ledger.complete_job(lease, &new, &guard, &to_pacs(&new), at(4)).await.expect("an answer");

        let Release::Done(done) = release else { panic!("it is done: {release:?}") };
        assert!(done.supersedes.is_empty());
        let row = db.ledger.result(done.result).await.expect("an answer").expect("a result");
        assert_eq!((row.job, row.released_at), (job, Some(at(4))));
        assert_eq!(db.ledger.artifacts(done.result).await.expect("an answer")[0].id, new.artifacts[0].id);
        let deliveries = db.ledger.deliveries_of(new.artifacts[0].id).await.expect("an answer");
        assert_eq!((deliveries[0].state, deliveries[0].study.clone()), (DeliveryState::Waiting, Some(study(1))));
        assert!(db.ledger.is_own_object(&new.artifacts[0].sop_instance).await.expect("an answer"));
        assert!(db.ledger.own_objects(&study(1)).await.expect("an answer").contains(&new.artifacts[0].sop_instance));
        assert_eq!(db.ledger.job(job).await.expect("an answer").expect("a job").state, JobState::Done);
    }

    async fn a_slice_that_came_meanwhile_keeps_the_result_in(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let association = crate::examples::open_association(&db.ledger).await;
        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        let new = new_result(1);

        let release = db.ledger.complete_job(lease, &new, &guard, &to_pacs(&new), at(4)).await.expect("an answer");

        assert!(matches!(release, Release::InputChanged(_)), "{release:?}");
        assert_eq!(released(&db).await, 0);
        assert!(db.ledger.deliveries_of(new.artifacts[0].id).await.expect("an answer").is_empty());
        assert_eq!(db.ledger.job(job).await.expect("an answer").expect("a job").state, JobState::Computed);
    }

    async fn a_slice_of_another_series_does_not_matter(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let association = crate::examples::open_association(&db.ledger).await;
        db.ledger.record_instances(&[instance(association, 1, 2, 1)]).await.expect("recorded");
        let release = db.ledger.complete_job(lease, &new_result(1), &guard, &[], at(4)).await.expect("an answer");
        assert!(matches!(release, Release::Done(_)), "{release:?}");
    }

    async fn a_person_can_release_whatever_came(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let association = crate::examples::open_association(&db.ledger).await;
        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        let kept = db.ledger.complete_job(lease, &new_result(1), &guard, &[], at(4)).await.expect("an answer");
        assert!(matches!(kept, Release::InputChanged(_)));

        let allowed = ReleaseGuard::AllowedBy("dr-kim".to_owned());
        let release = db.ledger.release_job(lease.job, &allowed, &[], at(5)).await.expect("an answer");

        assert!(matches!(release, Release::Done(_)), "{release:?}");
        assert_eq!(released(&db).await, 1);
    }

    async fn a_held_study_lets_no_result_out_until_a_person_decides(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        assert!(db.ledger.hold_study(&study(1), HoldReason::Manual, "asked for", "dr-kim", at(3)).await.expect("held"));
        assert!(!db.ledger.hold_study(&study(1), HoldReason::Manual, "asked for", "dr-kim", at(3)).await.expect("held"));

        let release = db.ledger.complete_job(lease, &new_result(1), &guard, &[], at(4)).await.expect("an answer");
        assert!(matches!(release, Release::Held(_)), "{release:?}");
        let allowed = ReleaseGuard::AllowedBy("dr-kim".to_owned());
        let release = db.ledger.release_job(lease.job, &allowed, &[], at(5)).await.expect("an answer");
        assert!(matches!(release, Release::Held(_)), "no guard opens a hold: {release:?}");

        db.ledger.release_holds(&study(1), "dr-kim", None, at(6)).await.expect("released");
        let release = db.ledger.release_job(lease.job, &guard, &[], at(7)).await.expect("an answer");
        assert!(matches!(release, Release::Done(_)), "{release:?}");
    }

    async fn a_computed_job_is_released_later_by_its_evidence(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let new = new_result(1);
        let result = db.ledger.compute_job(lease, &new, at(4)).await.expect("an answer").expect("kept");
        assert_eq!(db.ledger.computed_jobs(&study(1)).await.expect("an answer")[0].id, job);
        assert_eq!(released(&db).await, 0);

        let guard = unchanged(&db.ledger, 1).await;
        let release = db.ledger.release_job(job, &guard, &to_pacs(&new), at(5)).await.expect("an answer");

        assert!(matches!(release, Release::Done(done) if done.result == result));
        let again = db.ledger.release_job(job, &guard, &to_pacs(&new), at(6)).await;
        assert!(matches!(again, Err(Error::JobState { state: JobState::Done, .. })));
        assert_eq!(db.ledger.deliveries_of(new.artifacts[0].id).await.expect("an answer").len(), 1);
    }

    async fn late_slice_supersedes_result(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let Release::Done(old) = db.ledger.complete_job(lease, &new_result(1), &guard, &[], at(4)).await.expect("an answer")
        else { panic!("it is done") };
        let association = crate::examples::open_association(&db.ledger).await;
        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        let newer = NewJob { input_revision: 9, ..new_job(1, "brain", "newer") };
        let question = newer.question();
        assert_eq!(db.ledger.result_in_force(&question).await.expect("an answer").expect("a result").id, old.result);
        enqueue(&db.ledger, &newer).await;
        let lease = must_claim(&db.ledger, "w", at(5)).await.lease;
        let guard = unchanged(&db.ledger, 1).await;

        let release = db.ledger.complete_job(lease, &new_result(2), &guard, &[], at(6)).await.expect("an answer");

        let Release::Done(new) = release else { panic!("it is done: {release:?}") };
        assert_eq!(new.supersedes, [old.result]);
        let row = db.ledger.result(old.result).await.expect("an answer").expect("a result");
        assert_eq!(row.superseded_by, Some(new.result));
        assert_eq!(db.ledger.result_in_force(&question).await.expect("an answer").expect("a result").id, new.result);
    }

    async fn a_computed_result_over_an_older_input_is_dropped_unseen(db: TestDb) {
        let older = study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        db.ledger.compute_job(lease, &new_result(1), at(4)).await.expect("an answer").expect("kept");
        let newer = NewJob { input_revision: 9, ..new_job(1, "brain", "newer") };
        let answer = db.ledger.enqueue_job(&newer).await.expect("an answer");
        assert!(matches!(answer, Enqueued::New { superseded, .. } if superseded == [older]));
        let allowed = ReleaseGuard::AllowedBy("dr-kim".to_owned());
        let release = db.ledger.release_job(older, &allowed, &[], at(5)).await;
        assert!(matches!(release, Err(Error::JobState { state: JobState::Superseded, .. })), "{release:?}");
        assert_eq!(released(&db).await, 0);
    }

    async fn two_objects_with_one_uid_are_refused_whole(db: TestDb) {
        let first = study_with_job(&db.ledger, 1).await;
        study_with_job(&db.ledger, 2).await;
        let allowed = ReleaseGuard::AllowedBy("test".to_owned());
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        assert_eq!(lease.job, first);
        db.ledger.complete_job(lease, &new_result(1), &allowed, &[], at(4)).await.expect("done");
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        assert!(db.ledger.complete_job(lease, &new_result(1), &allowed, &[], at(4)).await.is_err());
        assert!(db.ledger.result_of_job(lease.job).await.expect("an answer").is_none());
        assert_eq!(db.ledger.job(lease.job).await.expect("an answer").expect("a job").state, JobState::Leased);
    }
}

/// An arrival and a release at the same moment: either the arrival was first and the release
/// is refused, or it is later than the release. Never a release that did not see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_arrival_that_races_a_release_is_never_overlooked() {
    let db = TestDb::postgres().await;
    let other = db.other_node().await;
    for number in 1..=40 {
        study_with_job(&db.ledger, number).await;
        let guard = unchanged(&db.ledger, number).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let association = receive_study(&db.ledger, 1000 + number).await;
        let late = [instance(association, number, 1, 3)];
        let new = new_result(number);
        let (release, recorded) = tokio::join!(
            db.ledger.complete_job(lease, &new, &guard, &[], at(4)),
            other.record_instances(&late)
        );
        recorded.expect("recorded");
        let done = matches!(release.expect("an answer"), Release::Done(_));
        let events = db.ledger.events_after(ledger::EventSeq(0), 100_000).await.expect("an answer");
        let of_study: Vec<_> =
            events.iter().filter(|event| event.study.as_ref() == Some(&study(number))).collect();
        let done_at = of_study.iter().position(|event| event.kind == "job.done");
        let late_at = of_study.iter().rposition(|event| event.kind == "study.received").expect("it came");
        assert_eq!(done_at.is_some(), done);
        assert!(done_at.is_none_or(|done_at| done_at < late_at), "the release came after the arrival");
    }
}
