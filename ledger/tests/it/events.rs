use std::time::Duration;

use ledger::{EventFilter, EventSeq, NewEvent, PageRequest, Topic};

use crate::database::TestDb;
use crate::examples::{
    at, enqueue, must_claim, new_job, new_result, receive_study, study, study_with_job, unchanged,
};
use crate::on_both;

on_both! {
    async fn the_log_tells_the_life_of_a_job_in_order(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let guard = unchanged(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w7", at(3)).await.lease;
        let _mine = db.ledger.start_job(lease, at(60), at(3)).await.expect("started");
        db.ledger.complete_job(lease, &new_result(1), &guard, &[], at(4)).await.expect("done");

        let events = db.ledger.events_after(EventSeq(0), 100).await.expect("an answer");
        let of_job: Vec<&str> = events.iter().filter(|event| event.job == Some(job)).map(|event| event.kind.as_str()).collect();
        assert_eq!(of_job, ["job.queued", "job.leased", "job.running", "job.computed", "job.done"]);
        let leased = events.iter().find(|event| event.kind == "job.leased").expect("it is there");
        assert_eq!((leased.actor.as_str(), leased.at, leased.study.clone()), ("w7", at(3), Some(study(1))));
        let last = events.last().expect("an event").seq;
        assert_eq!(db.ledger.last_event().await.expect("an answer"), last);
        assert!(db.ledger.events_after(last, 100).await.expect("an answer").is_empty());
    }

    async fn the_log_can_be_read_page_by_page_for_one_study(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        study_with_job(&db.ledger, 2).await;
        let filter = EventFilter { study: Some(study(1)), job: None };
        let page = db.ledger.events(&filter, &PageRequest::first(1)).await.expect("an answer");
        assert_eq!(page.rows[0].kind, "job.queued");
        let next = PageRequest::after(5, &page.next.expect("more")).expect("a position");
        let page = db.ledger.events(&filter, &next).await.expect("an answer");
        assert_eq!((page.rows[0].kind.as_str(), page.rows.len(), page.next), ("study.received", 1, None));
    }

    async fn who_waits_is_woken_by_what_it_waits_for(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let mut jobs = db.ledger.changed(Topic::Jobs);
        let woken = tokio::spawn(async move { jobs.next().await });
        enqueue(&db.ledger, &new_job(1, "brain", "key")).await;
        tokio::time::timeout(Duration::from_secs(5), woken).await.expect("woken in time").expect("no panic");
    }

    async fn a_change_between_looking_and_waiting_is_not_missed(db: TestDb) {
        let mut events = db.ledger.changed(Topic::Events);
        db.ledger.add_event(NewEvent::new("test.happened", at(1))).await.expect("added");
        tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("woken in time");
    }

    async fn a_cursor_remembers_the_last_value(db: TestDb) {
        assert_eq!(db.ledger.cursor("orthanc/main").await.expect("an answer"), None);
        for (value, second) in [("17", 1), ("42", 2)] {
            db.ledger.set_cursor("orthanc/main", value, at(second)).await.expect("set");
        }
        let cursor = db.ledger.cursor("orthanc/main").await.expect("an answer").expect("a cursor");
        assert_eq!((cursor.value.as_str(), cursor.at), ("42", at(2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_is_woken_through_postgresql() {
    let db = TestDb::postgres().await;
    let other = db.other_node().await;
    receive_study(&db.ledger, 1).await;
    let mut jobs = other.changed(Topic::Jobs);
    // The other node's connection for listening may not stand yet: it rings once when it does.
    for round in 0..3 {
        enqueue(&db.ledger, &new_job(1, &format!("m{round}"), &format!("key-{round}"))).await;
        tokio::time::timeout(Duration::from_secs(5), jobs.next()).await.expect("woken in time");
    }
}

/// Many writers, one reader that follows the log: it sees every row, in order, none twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_the_log_misses_nothing() {
    const WRITERS: usize = 8;
    const EACH: usize = 100;
    let db = TestDb::postgres().await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let ledger = db.ledger.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    ledger.add_event(NewEvent::new("test.happened", at(1))).await.expect("added");
                }
            })
        })
        .collect();
    let mut changed = db.ledger.changed(Topic::Events);
    let mut seen: Vec<i64> = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while seen.len() < WRITERS * EACH && tokio::time::Instant::now() < deadline {
        let after = EventSeq(seen.last().copied().unwrap_or(0));
        let events = db.ledger.events_after(after, 50).await.expect("an answer");
        if events.is_empty() {
            let _woken_or_poll = tokio::time::timeout(Duration::from_millis(200), changed.next()).await;
        }
        seen.extend(events.iter().map(|event| event.seq.0));
    }
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    assert_eq!(seen.len(), WRITERS * EACH);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
}
