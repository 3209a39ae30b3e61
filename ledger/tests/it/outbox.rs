use std::time::Duration;

use ledger::{
    Delivery, DeliveryFilter, DeliveryLease, DeliveryState, Error, Ledger, Millis, NewDelivery, PageRequest,
    Parcel, ReleaseGuard,
};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::{at, boot, must_claim, new_result, node, study, study_with_job};
use crate::on_both;

async fn post(ledger: &Ledger, destination: &str, lane: &str) -> ledger::DeliveryId {
    let parcel = Parcel::Message { lane: lane.to_owned(), study: None, payload: json!({ "text": "ready" }) };
    let new = NewDelivery { destination: destination.to_owned(), parcel };
    ledger.enqueue_deliveries(&[new], at(0)).await.expect("posted")[0]
}

async fn next(ledger: &Ledger, now: Millis) -> Option<(Delivery, DeliveryLease)> {
    let lease = Duration::from_secs(30);
    ledger.claim_delivery("pacs", &node("n1"), &boot("b1"), lease, now).await.expect("an answer")
}

async fn must_next(ledger: &Ledger, now: Millis) -> (Delivery, DeliveryLease) {
    next(ledger, now).await.expect("a delivery is due")
}

on_both! {
    async fn a_lane_is_emptied_in_order(db: TestDb) {
        let first = post(&db.ledger, "pacs", "a").await;
        let second = post(&db.ledger, "pacs", "a").await;
        let (delivery, lease) = must_next(&db.ledger, at(1)).await;
        assert_eq!(delivery.id, first);
        assert!(next(&db.ledger, at(1)).await.is_none(), "the second waits for the first");
        assert!(db.ledger.delivered(lease, at(2)).await.expect("noted"));
        assert_eq!(must_next(&db.ledger, at(2)).await.0.id, second);
    }

    async fn a_postponed_delivery_keeps_its_place(db: TestDb) {
        let first = post(&db.ledger, "pacs", "a").await;
        post(&db.ledger, "pacs", "a").await;
        let (_, lease) = must_next(&db.ledger, at(1)).await;
        assert!(db.ledger.postpone_delivery(lease, "busy", at(60), at(1)).await.expect("noted"));
        assert!(next(&db.ledger, at(59)).await.is_none());
        assert_eq!(db.ledger.next_delivery_due("pacs", at(2)).await.expect("an answer"), Some(at(60)));
        let (delivery, _) = must_next(&db.ledger, at(60)).await;
        assert_eq!((delivery.id, delivery.attempts, delivery.failure.as_deref()), (first, 2, Some("busy")));
    }

    async fn a_parked_delivery_holds_up_its_own_lane_only(db: TestDb) {
        let refused = post(&db.ledger, "pacs", "a").await;
        let behind = post(&db.ledger, "pacs", "a").await;
        let other = post(&db.ledger, "pacs", "b").await;
        let (_, lease) = must_next(&db.ledger, at(1)).await;
        assert!(db.ledger.park_delivery(lease, "refused: 0xA900", at(1)).await.expect("noted"));
        let (delivery, lease) = must_next(&db.ledger, at(1)).await;
        assert_eq!(delivery.id, other);
        assert!(db.ledger.delivered(lease, at(1)).await.expect("noted"));
        assert!(next(&db.ledger, at(9999)).await.is_none());

        db.ledger.resend_delivery(refused, "admin", at(10_000)).await.expect("unparked");
        assert_eq!(must_next(&db.ledger, at(10_000)).await.0.id, refused);
        assert!(next(&db.ledger, at(10_000)).await.is_none(), "{behind} waits");
    }

    async fn a_dropped_delivery_frees_its_lane(db: TestDb) {
        let refused = post(&db.ledger, "pacs", "a").await;
        let behind = post(&db.ledger, "pacs", "a").await;
        let (_, lease) = must_next(&db.ledger, at(1)).await;
        db.ledger.park_delivery(lease, "refused", at(1)).await.expect("noted");
        db.ledger.drop_delivery(refused, "admin", at(2)).await.expect("dropped");
        assert_eq!(must_next(&db.ledger, at(2)).await.0.id, behind);
    }

    async fn destinations_do_not_wait_for_each_other(db: TestDb) {
        post(&db.ledger, "other", "a").await;
        let ours = post(&db.ledger, "pacs", "a").await;
        assert_eq!(must_next(&db.ledger, at(1)).await.0.id, ours);
    }

    async fn a_destination_that_is_down_is_left_alone(db: TestDb) {
        post(&db.ledger, "pacs", "a").await;
        assert_eq!(db.ledger.destination_failed("pacs", "no answer", at(60), at(1)).await.expect("noted"), 1);
        assert_eq!(db.ledger.destination_failed("pacs", "no answer", at(90), at(1)).await.expect("noted"), 2);
        assert!(next(&db.ledger, at(89)).await.is_none());
        assert!(next(&db.ledger, at(90)).await.is_some());
        post(&db.ledger, "pacs", "b").await;
        db.ledger.destination_failed("pacs", "no answer", at(900), at(91)).await.expect("noted");
        db.ledger.destination_reached("pacs", at(92)).await.expect("noted");
        assert!(next(&db.ledger, at(92)).await.is_some());
        let row = &db.ledger.destinations().await.expect("an answer")[0];
        assert_eq!((row.failures, row.retry_at, row.reached_at), (0, None, Some(at(92))));
    }

    async fn a_lost_sender_gives_its_delivery_back(db: TestDb) {
        post(&db.ledger, "pacs", "a").await;
        let (_, lost) = must_next(&db.ledger, at(0)).await;
        assert!(db.ledger.renew_delivery(lost, at(30)).await.expect("an answer"));
        assert_eq!(db.ledger.expire_delivery_leases(at(29)).await.expect("an answer"), 0);
        assert_eq!(db.ledger.expire_delivery_leases(at(31)).await.expect("an answer"), 1);
        let (_, held) = must_next(&db.ledger, at(31)).await;
        assert!(!db.ledger.delivered(lost, at(32)).await.expect("an answer"), "it is somebody else's");
        assert!(db.ledger.delivered(held, at(32)).await.expect("an answer"));
    }

    async fn a_node_takes_back_its_deliveries_at_start(db: TestDb) {
        post(&db.ledger, "pacs", "a").await;
        must_next(&db.ledger, at(0)).await;
        assert_eq!(db.ledger.take_back_deliveries(&node("n1"), &boot("b1"), at(1)).await.expect("an answer"), 0);
        assert_eq!(db.ledger.take_back_deliveries(&node("n1"), &boot("b2"), at(1)).await.expect("an answer"), 1);
        assert!(next(&db.ledger, at(1)).await.is_some());
    }

    async fn arrival_is_proved_after_sending(db: TestDb) {
        let delivery = post(&db.ledger, "pacs", "a").await;
        let early = db.ledger.prove_delivery(delivery, at(1)).await;
        assert!(matches!(early, Err(Error::DeliveryState { state: DeliveryState::Waiting, .. })), "{early:?}");
        let (_, lease) = must_next(&db.ledger, at(1)).await;
        db.ledger.delivered(lease, at(1)).await.expect("noted");
        assert_eq!(db.ledger.deliveries_to_prove("pacs", at(1), 10).await.expect("an answer")[0].id, delivery);
        db.ledger.prove_delivery_later(delivery, "not there yet", at(50)).await.expect("noted");
        assert!(db.ledger.deliveries_to_prove("pacs", at(49), 10).await.expect("an answer").is_empty());
        db.ledger.prove_delivery(delivery, at(51)).await.expect("proved");
        assert_eq!(db.ledger.delivery(delivery).await.expect("an answer").expect("a delivery").state, DeliveryState::Proved);
        assert!(matches!(db.ledger.drop_delivery(delivery, "admin", at(52)).await, Err(Error::DeliveryState { .. })));
    }

    async fn an_object_goes_to_a_destination_once(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let new = new_result(1);
        let delivery = NewDelivery { destination: "pacs".to_owned(), parcel: Parcel::Artifact(new.artifacts[0].id) };
        let allowed = ReleaseGuard::AllowedBy("test".to_owned());
        db.ledger.complete_job(lease, &new, &allowed, std::slice::from_ref(&delivery), at(2)).await.expect("done");
        assert!(db.ledger.enqueue_deliveries(&[delivery], at(3)).await.expect("an answer").is_empty());
        let filter = DeliveryFilter { study: Some(study(1)), ..DeliveryFilter::default() };
        let rows = db.ledger.deliveries(&filter, &PageRequest::first(10)).await.expect("an answer").rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].lane, study(1).as_str());
    }

    async fn the_queue_is_counted_with_its_age(db: TestDb) {
        post(&db.ledger, "pacs", "a").await;
        post(&db.ledger, "pacs", "b").await;
        let (_, lease) = must_next(&db.ledger, at(7)).await;
        db.ledger.park_delivery(lease, "refused", at(8)).await.expect("noted");
        let counts = db.ledger.outbox_counts().await.expect("an answer");
        let counts: Vec<_> = counts.iter().map(|count| (count.state, count.count, count.oldest)).collect();
        assert_eq!(counts, [(DeliveryState::Parked, 1, at(0)), (DeliveryState::Waiting, 1, at(0))]);
    }

    async fn four_senders_keep_every_lane_in_order(db: TestDb) {
        const LANES: usize = 8;
        const EACH: usize = 10;
        for _ in 0..EACH {
            for lane in 0..LANES {
                post(&db.ledger, "pacs", &lane.to_string()).await;
            }
        }
        let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let senders: Vec<_> = (0..4).map(|_| tokio::spawn(empty(db.ledger.clone(), sent.clone(), LANES * EACH))).collect();
        for sender in senders {
            sender.await.expect("a sender ends well");
        }
        let sent = sent.lock().expect("no sender panicked").clone();
        assert_eq!(sent.len(), LANES * EACH);
        for lane in 0..LANES {
            let of_lane: Vec<_> = sent.iter().filter(|(name, _)| *name == lane.to_string()).map(|(_, id)| *id).collect();
            assert!(of_lane.is_sorted() && of_lane.len() == EACH, "lane {lane}: {of_lane:?}");
        }
    }
}

type Sent = std::sync::Arc<std::sync::Mutex<Vec<(String, ledger::DeliveryId)>>>;

async fn empty(ledger: Ledger, sent: Sent, all: usize) {
    while sent.lock().expect("no sender panicked").len() < all {
        match next(&ledger, at(1)).await {
            Some((delivery, lease)) => {
                sent.lock().expect("no sender panicked").push((delivery.lane, delivery.id));
                assert!(ledger.delivered(lease, at(1)).await.expect("noted"));
            }
            None => tokio::task::yield_now().await,
        }
    }
}
