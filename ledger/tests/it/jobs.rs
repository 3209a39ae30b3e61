use ledger::{About, Enqueued, Error, JobFilter, JobInput, JobState, NewJob, PageRequest, Priority};

use crate::database::TestDb;
use crate::examples::{
    at, claim, enqueue, must_claim, new_job, new_result, receive_study, series, study, study_with_job,
};
use crate::on_both;

on_both! {
    async fn the_same_question_asked_twice_is_one_job(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let again = db.ledger.enqueue_job(&new_job(1, "brain", "key-1")).await.expect("an answer");
        assert_eq!(again, Enqueued::Exists { job, state: JobState::Queued });
        assert_eq!(db.ledger.jobs_of_study(&study(1)).await.expect("an answer").len(), 1);
    }

    async fn two_who_ask_at_once_get_one_job(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let other = db.other_node().await;
        for round in 0..20 {
            let new = new_job(1, &format!("model-{round}"), &format!("key-{round}"));
            let (one, two) = tokio::join!(db.ledger.enqueue_job(&new), other.enqueue_job(&new));
            let answers = [one.expect("an answer"), two.expect("an answer")];
            assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::New { .. })).count(), 1);
        }
    }

    async fn a_newer_input_supersedes_an_unfinished_job(db: TestDb) {
        let older = study_with_job(&db.ledger, 1).await;
        let newer = NewJob { input_revision: 7, ..new_job(1, "brain", "key-newer") };

        let answer = db.ledger.enqueue_job(&newer).await.expect("an answer");

        let Enqueued::New { job, superseded } = answer else { panic!("it is new: {answer:?}") };
        assert_eq!(superseded, [older]);
        let row = db.ledger.job(older).await.expect("an answer").expect("a job");
        assert_eq!((row.state, row.superseded_by), (JobState::Superseded, Some(job)));
        assert_eq!(must_claim(&db.ledger, "w", at(3)).await.job.id, job);
        assert!(claim(&db.ledger, "w", at(3)).await.is_none());
    }

    async fn a_question_over_an_older_input_is_stale(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let newer = enqueue(&db.ledger, &NewJob { input_revision: 7, ..new_job(1, "brain", "newer") }).await;
        let answer = db.ledger.enqueue_job(&NewJob { input_revision: 6, ..new_job(1, "brain", "older") }).await;
        assert_eq!(answer.expect("an answer"), Enqueued::Stale { newer });
    }

    async fn other_stacks_series_and_models_are_other_questions(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let other_model = NewJob { input_revision: 7, ..new_job(1, "liver", "other-model") };
        let stack = vec![JobInput { series: series(1), stack: 1, instances: Vec::new() }];
        let other_stack = NewJob { input_revision: 7, inputs: stack, ..new_job(1, "brain", "other-stack") };
        for new in [other_model, other_stack] {
            let answer = db.ledger.enqueue_job(&new).await.expect("an answer");
            assert!(matches!(&answer, Enqueued::New { superseded, .. } if superseded.is_empty()), "{answer:?}");
        }
    }

    async fn a_question_about_a_study_is_asked_after_the_last_one_that_its_asker_saw(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let about = |after, key: &str, at_millis| NewJob {
            inputs: Vec::new(),
            about: About::Study { after },
            created_at: at(at_millis),
            ..new_job(1, "fusion", key)
        };
        let first = enqueue(&db.ledger, &about(None, "first", 2)).await;
        let overtaken = db.ledger.enqueue_job(&about(None, "overtaken", 3)).await;
        assert_eq!(overtaken.expect("an answer"), Enqueued::Stale { newer: first });
        let answer = db.ledger.enqueue_job(&about(Some(first), "second", 3)).await.expect("an answer");
        assert!(matches!(&answer, Enqueued::New { superseded, .. } if *superseded == [first]), "{answer:?}");

        // What is only tried out asks beside it.
        let shadow = NewJob { is_shadow: true, ..about(None, "shadow", 4) };
        let answer = db.ledger.enqueue_job(&shadow).await.expect("an answer");
        let Enqueued::New { job, superseded } = answer else { panic!("it is new: {answer:?}") };
        assert!(superseded.is_empty());
        assert!(db.ledger.job(job).await.expect("an answer").expect("a job").is_shadow());
    }

    async fn a_job_for_an_unknown_study_is_refused(db: TestDb) {
        let answer = db.ledger.enqueue_job(&new_job(5, "brain", "key")).await;
        assert!(matches!(answer, Err(Error::NoSuchStudy(uid)) if uid == study(5)));
    }

    async fn a_claim_gives_the_input_as_it_was_asked(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let instances = vec![crate::examples::instance(association, 1, 1, 2).header.sop_instance];
        let inputs = vec![JobInput { series: series(1), stack: 3, instances }];
        enqueue(&db.ledger, &NewJob { inputs: inputs.clone(), priority: Priority::Stat, ..new_job(1, "brain", "key") }).await;
        let claimed = must_claim(&db.ledger, "w", at(3)).await;
        assert_eq!(claimed.inputs, inputs);
        assert_eq!((claimed.job.state, claimed.job.priority), (JobState::Leased, Priority::Stat));
        assert_eq!(db.ledger.job_inputs(claimed.job.id).await.expect("an answer"), inputs);
    }

    async fn a_cancelled_job_is_lost_to_its_worker(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let claimed = must_claim(&db.ledger, "w", at(3)).await;

        db.ledger.cancel_job(job, "dr-kim", Some("r1"), at(4)).await.expect("cancelled");

        let heartbeat = db.ledger.renew_lease(claimed.lease, at(60)).await.expect("an answer");
        assert_eq!(heartbeat, ledger::Heartbeat::Lost(JobState::Cancelled));
        let kept = db.ledger.compute_job(claimed.lease, &new_result(1), at(5)).await.expect("an answer");
        assert_eq!(kept, None);
        assert!(db.ledger.result_of_job(job).await.expect("an answer").is_none());
    }

    async fn what_is_over_cannot_be_cancelled(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        db.ledger.cancel_job(job, "dr-kim", None, at(4)).await.expect("cancelled");
        let again = db.ledger.cancel_job(job, "dr-kim", None, at(4)).await;
        assert!(matches!(again, Err(Error::JobState { state: JobState::Cancelled, .. })), "{again:?}");
        let unknown = db.ledger.cancel_job(ledger::JobId::generate(), "dr-kim", None, at(4)).await;
        assert!(matches!(unknown, Err(Error::NoSuchJob(_))));
    }

    async fn a_cancelled_job_can_be_requeued(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        db.ledger.cancel_job(job, "dr-kim", None, at(4)).await.expect("cancelled");
        db.ledger.requeue_job(job, "dr-kim", None, at(5)).await.expect("requeued");
        assert_eq!(must_claim(&db.ledger, "w", at(5)).await.job.id, job);
        let running = db.ledger.requeue_job(job, "dr-kim", None, at(6)).await;
        assert!(matches!(running, Err(Error::JobState { .. })));
    }

    async fn jobs_are_listed_and_counted(db: TestDb) {
        for number in 1..=3 {
            study_with_job(&db.ledger, number).await;
        }
        must_claim(&db.ledger, "w", at(3)).await;
        let filter = JobFilter { state: Some(JobState::Queued), model_id: Some("brain".to_owned()), study: None };
        let page = db.ledger.jobs(&filter, &PageRequest::first(1)).await.expect("an answer");
        assert_eq!(page.rows.len(), 1);
        let next = page.next.expect("a second page");
        let page = db.ledger.jobs(&filter, &PageRequest::after(5, &next).expect("a position")).await.expect("an answer");
        assert_eq!((page.rows.len(), page.next), (1, None));
        let counts = db.ledger.queue_counts().await.expect("an answer");
        let counts: Vec<_> = counts.iter().map(|count| (count.state, count.count)).collect();
        assert_eq!(counts, [(JobState::Leased, 1), (JobState::Queued, 2)]);
    }
}
