use std::time::Duration;

use ledger::{Ledger, PageRequest, RequestState, SegmentationRequest, SegmentationRequestId, WorkerReport};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

const LEASE: Duration = Duration::from_secs(60);

async fn ask(ledger: &Ledger, series: &str) -> SegmentationRequestId {
    ledger.request_segmentation(series, "account:kim", Some("r1"), at(0)).await.expect("asked").id
}

async fn claim(ledger: &Ledger, worker: &str, second: u64) -> Option<SegmentationRequest> {
    ledger.claim_segmentation(worker, LEASE, at(second)).await.expect("an answer")
}

async fn report(
    ledger: &Ledger,
    id: SegmentationRequestId,
    report: WorkerReport,
    second: u64,
) -> SegmentationRequest {
    let taken = ledger.report_segmentation(id, "w", &report, LEASE, at(second)).await.expect("an answer");
    taken.expect("there is such a request")
}

on_both! {
    async fn a_series_is_asked_for_once_at_a_time(db: TestDb) {
        let first = ask(&db.ledger, "1.2.3").await;
        assert_eq!(ask(&db.ledger, "1.2.3").await, first);
        assert_ne!(ask(&db.ledger, "1.2.4").await, first);
        claim(&db.ledger, "w", 1).await.expect("a request");
        assert_eq!(ask(&db.ledger, "1.2.3").await, first);
        report(&db.ledger, first, WorkerReport::Completed(json!({ "seg": "1.9" })), 2).await;
        assert_ne!(ask(&db.ledger, "1.2.3").await, first);
    }

    async fn two_workers_never_have_the_same_request(db: TestDb) {
        for number in 0..20 {
            ask(&db.ledger, &format!("1.2.{number}")).await;
        }
        let workers = ["a", "b", "c", "d"].map(|worker| {
            let ledger = db.ledger.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                // The loser of a race hears nothing though there is more; it asks again.
                for _ in 0..40 {
                    taken.extend(claim(&ledger, worker, 1).await.map(|request| request.id));
                }
                taken
            })
        });
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.expect("no panic"));
        }
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!((all.len(), count), (20, 20));
    }

    async fn a_worker_that_dies_loses_nothing_but_its_lease(db: TestDb) {
        let id = ask(&db.ledger, "1.2.3").await;
        assert_eq!(claim(&db.ledger, "w", 0).await.expect("a request").id, id);
        assert!(claim(&db.ledger, "next", 60).await.is_none());
        report(&db.ledger, id, WorkerReport::Progress(40), 50).await;
        assert!(claim(&db.ledger, "next", 110).await.is_none(), "a report renews the lease");
        let again = claim(&db.ledger, "next", 111).await.expect("the request again");
        assert_eq!((again.id, again.worker.as_deref(), again.progress), (id, Some("next"), 0));
        // The first one was only slow: whoever is faster counts, and only once.
        let done = report(&db.ledger, id, WorkerReport::Completed(json!({ "seg": "1.9" })), 112).await;
        assert_eq!((done.state, done.progress), (RequestState::Completed, 100));
        let late = report(&db.ledger, id, WorkerReport::Failed("out of memory".to_owned()), 113).await;
        assert_eq!((late.state, late.outcome), (RequestState::Completed, Some(json!({ "seg": "1.9" }))));
        assert!(claim(&db.ledger, "next", 9999).await.is_none());
    }

    async fn what_no_worker_finishes_is_given_up_with_a_reason(db: TestDb) {
        let id = ask(&db.ledger, "1.2.3").await;
        for round in 0..5 {
            assert_eq!(claim(&db.ledger, "w", round * 100).await.expect("a request").id, id);
        }
        assert!(claim(&db.ledger, "w", 500).await.is_none());
        let all = db.ledger.segmentation_requests(&PageRequest::first(10)).await.expect("an answer").rows;
        assert_eq!((all[0].state, all[0].failure.as_deref()), (RequestState::Failed, Some("no worker finished it")));
    }

    async fn who_lost_a_series_neither_lets_it_fail_nor_takes_it_back(db: TestDb) {
        let id = ask(&db.ledger, "1.2.3").await;
        claim(&db.ledger, "w", 1).await.expect("a request");
        // Nobody else has it yet, so that it is still the first one's to go on with.
        assert_eq!(report(&db.ledger, id, WorkerReport::Progress(10), 100).await.progress, 10);
        claim(&db.ledger, "next", 200).await.expect("the request again");
        for late in [WorkerReport::Progress(99), WorkerReport::Failed("out of memory".to_owned())] {
            let unchanged = report(&db.ledger, id, late, 201).await;
            assert_eq!((unchanged.state, unchanged.progress), (RequestState::Processing, 0));
            assert_eq!((unchanged.worker.as_deref(), unchanged.failure), (Some("next"), None));
        }
        let done = report(&db.ledger, id, WorkerReport::Completed(json!({ "seg": "1.9" })), 202).await;
        assert_eq!((done.state, done.worker.as_deref()), (RequestState::Completed, Some("w")));
    }
}
