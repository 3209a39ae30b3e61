use ledger::{NewDelivery, Parcel, ReleaseGuard};

use crate::database::TestDb;
use crate::examples::{at, instance, must_claim, new_result, receive_study, study, study_with_job};
use crate::on_both;

async fn forgettable(db: &TestDb) -> Vec<imaging::StudyUid> {
    let studies = db.ledger.forgettable_studies(at(50), 10).await.expect("an answer");
    studies.into_iter().map(|forgettable| forgettable.study).collect()
}

on_both! {
    async fn an_old_study_that_nobody_needs_can_be_forgotten(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        assert!(db.ledger.forgettable_studies(at(1), 10).await.expect("an answer").is_empty(), "it is too young");
        assert_eq!(forgettable(&db).await, [study(1)]);
        assert_eq!(db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("forgotten").len(), 2);
        assert!(forgettable(&db).await.is_empty());
        let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        assert_eq!((row.forgotten_at, row.instance_count, row.patient), (Some(at(60)), 0, imaging::Patient::default()));
    }

    async fn a_job_keeps_its_study(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        assert!(forgettable(&db).await.is_empty());
        assert!(db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("an answer").is_empty());
        db.ledger.cancel_job(job, "admin", None, at(3)).await.expect("cancelled");
        assert_eq!(forgettable(&db).await, [study(1)]);
    }

    async fn a_delivery_keeps_its_study_until_it_is_proved(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        let new = new_result(1);
        let deliveries = [NewDelivery { destination: "pacs".to_owned(), parcel: Parcel::Artifact(new.artifacts[0].id) }];
        let allowed = ReleaseGuard::AllowedBy("test".to_owned());
        db.ledger.complete_job(lease, &new, &allowed, &deliveries, at(4)).await.expect("done");
        assert!(forgettable(&db).await.is_empty());
        let (node, boot) = (crate::examples::node("n1"), crate::examples::boot("b1"));
        let claimed = db.ledger.claim_delivery("pacs", &node, &boot, crate::examples::LEASE, at(5)).await.expect("an answer");
        let (delivery, lease) = claimed.expect("a delivery is due");
        db.ledger.delivered(lease, at(6)).await.expect("noted");
        assert!(forgettable(&db).await.is_empty(), "sent is not proved");
        db.ledger.prove_delivery(delivery.id, at(7)).await.expect("proved");
        assert_eq!(forgettable(&db).await, [study(1)]);
    }

    async fn a_slice_that_comes_at_the_last_moment_keeps_its_study(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        assert_eq!(forgettable(&db).await, [study(1)]);
        let mut late = instance(association, 1, 1, 3);
        late.arrived_at = at(55);
        db.ledger.record_instances(&[late]).await.expect("recorded");
        assert!(db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("an answer").is_empty());
        assert_eq!(db.ledger.study(&study(1)).await.expect("an answer").expect("a study").instance_count, 3);
    }

    async fn a_forgotten_study_that_comes_again_is_known_again(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("forgotten");
        receive_study(&db.ledger, 1).await;
        let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        assert_eq!((row.forgotten_at, row.patient.id.as_str(), row.is_held, row.instance_count), (None, "P1", false, 2));
    }
}
