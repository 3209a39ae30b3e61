use ledger::{BatchId, BatchItemState, EventFilter, Ledger, NewBatch, NewBatchItem, PageRequest, Tally};

use crate::database::TestDb;
use crate::examples::{at, study, study_with_job};
use crate::on_both;

async fn batch(ledger: &Ledger, studies: &[u32]) -> BatchId {
    for number in studies {
        study_with_job(ledger, *number).await;
    }
    let missing = NewBatchItem { position: 1, study: Err("there is no such study here".to_owned()) };
    let here = studies
        .iter()
        .zip(2..)
        .map(|(number, position)| NewBatchItem { position, study: Ok(study(*number)) });
    let new = NewBatch {
        actor: "account:root".to_owned(),
        request_id: Some("r1".to_owned()),
        items: std::iter::once(missing).chain(here).collect(),
    };
    ledger.add_batch(&new, at(1)).await.expect("added")
}

async fn tally(ledger: &Ledger, id: BatchId) -> Tally {
    ledger.batch(id).await.expect("an answer").expect("the batch").tally
}

on_both! {
    async fn a_batch_counts_its_items_and_ends_with_the_last_one(db: TestDb) {
        let id = batch(&db.ledger, &[1, 2]).await;
        assert_eq!(tally(&db.ledger, id).await, Tally { waiting: 2, failed: 1, ..Tally::default() });
        let items = db.ledger.open_batch_items(BatchItemState::Waiting, 10).await.expect("an answer");
        assert_eq!(items.iter().map(|item| item.position).collect::<Vec<_>>(), [2, 3]);
        for item in &items {
            db.ledger.start_batch_item(item, 7, at(2)).await.expect("started");
        }
        let running = db.ledger.open_batch_items(BatchItemState::Running, 10).await.expect("an answer");
        assert_eq!((running.len(), running[0].revision, running[0].actor.as_str()), (2, Some(7), "account:root"));
        db.ledger.settle_batch_item(&running[0], Ok(()), at(3)).await.expect("settled");
        assert_eq!(db.ledger.batch(id).await.expect("an answer").expect("the batch").finished_at, None);
        // What is settled stays as it is.
        db.ledger.settle_batch_item(&running[0], Err("late"), at(4)).await.expect("no harm");
        db.ledger.settle_batch_item(&running[1], Err("out of memory"), at(5)).await.expect("settled");
        let done = db.ledger.batch(id).await.expect("an answer").expect("the batch");
        assert_eq!((done.finished_at, done.tally), (Some(at(5)), Tally { succeeded: 1, failed: 2, ..Tally::default() }));
        let failed = db.ledger.batch_items(id, BatchItemState::Failed).await.expect("an answer");
        let told: Vec<_> = failed.iter().map(|item| (item.position, item.reason.as_deref())).collect();
        assert_eq!(told, [(1, Some("there is no such study here")), (3, Some("out of memory"))]);
        let events = db.ledger.events(&EventFilter::default(), &PageRequest::first(1)).await.expect("an answer");
        let last = &events.rows[0];
        assert_eq!((last.kind.as_str(), &last.detail["succeeded"], &last.detail["failed"]), ("batch.finished", &1.into(), &2.into()));
    }

    async fn a_batch_of_nothing_possible_is_over_at_once(db: TestDb) {
        let id = batch(&db.ledger, &[]).await;
        let batch = db.ledger.batch(id).await.expect("an answer").expect("the batch");
        assert_eq!((batch.finished_at, batch.tally), (Some(at(1)), Tally { failed: 1, ..Tally::default() }));
    }
}
