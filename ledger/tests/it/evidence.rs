use std::time::Duration;

use ledger::{Door, Ending, Error};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::{at, boot, instance, node, open_association, receive_study, series, study};
use crate::on_both;

const QUIET: Duration = Duration::from_secs(5);

async fn to_look_at(db: &TestDb, seconds: u64) -> Vec<imaging::StudyUid> {
    db.ledger.studies_to_look_at(at(seconds), QUIET, 100).await.expect("an answer")
}

/// Looks at study 1 as it is, and notes it.
async fn look(db: &TestDb) -> i64 {
    let revision = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").revision;
    db.ledger.study_looked_at(&study(1), revision, &json!(["nothing"]), None).await.expect("noted");
    revision
}

on_both! {
    async fn a_study_is_looked_at_when_it_has_been_quiet(db: TestDb) {
        receive_study(&db.ledger, 1).await; // at second 1
        assert!(to_look_at(&db, 5).await.is_empty());
        assert_eq!(db.ledger.next_look_at(QUIET).await.expect("an answer"), Some(at(6)));
        assert_eq!(to_look_at(&db, 6).await, [study(1)]);
        look(&db).await;
        assert!(to_look_at(&db, 600).await.is_empty());
        assert_eq!(db.ledger.next_look_at(QUIET).await.expect("an answer"), None);
    }

    async fn the_end_of_an_association_asks_for_a_look_at_once(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        db.ledger.end_association(association, Ending::Released, at(2)).await.expect("noted");
        assert_eq!(to_look_at(&db, 2).await, [study(1)]);
    }

    async fn what_arrives_during_the_look_is_looked_at_again(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let seen = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").revision;
        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        db.ledger.study_looked_at(&study(1), seen, &json!(null), None).await.expect("noted");
        assert_eq!(to_look_at(&db, 60).await, [study(1)]);
    }

    async fn a_study_can_ask_to_be_looked_at_later(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let seen = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").revision;
        db.ledger.study_looked_at(&study(1), seen, &json!({ "for": "more" }), Some(at(90))).await.expect("noted");
        assert!(to_look_at(&db, 89).await.is_empty());
        assert_eq!(to_look_at(&db, 90).await, [study(1)]);
        let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        assert_eq!(row.waits_for, Some(json!({ "for": "more" })));
    }

    async fn a_person_can_force_a_study(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        look(&db).await;
        db.ledger.force_study(&study(1), "dr-kim", Some("r7"), at(3)).await.expect("forced");
        assert_eq!(to_look_at(&db, 3).await, [study(1)]);
        let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        let forced = row.forced.expect("forced");
        assert_eq!((forced.at, forced.by.as_str(), forced.revision), (at(3), "dr-kim", row.revision));
        assert!(matches!(db.ledger.force_study(&study(9), "dr-kim", None, at(3)).await, Err(Error::NoSuchStudy(_))));
    }

    async fn carriers_say_who_brought_a_series_and_whether_they_finished(db: TestDb) {
        let first = receive_study(&db.ledger, 1).await;
        let second = open_association(&db.ledger).await;
        db.ledger.record_instances(&[instance(second, 1, 1, 2), instance(second, 1, 1, 3)]).await.expect("recorded");
        db.ledger.end_association(first, Ending::Released, at(4)).await.expect("noted");

        let evidence = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        let carriers = &evidence.series[0].carriers;
        assert_eq!(carriers.iter().map(|carrier| carrier.instance_count).collect::<Vec<_>>(), [2, 2], "repeats count");
        assert_eq!(carriers[0].ended, Some((at(4), Ending::Released)));
        assert_eq!((carriers[1].ended, carriers[1].door), (None, Door::Dimse));
        assert!(!evidence.series[0].all_released());

        db.ledger.end_association(second, Ending::Released, at(5)).await.expect("noted");
        let evidence = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(evidence.series[0].all_released());
    }

    async fn an_aborted_association_is_no_evidence(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        db.ledger.end_association(association, Ending::Aborted, at(2)).await.expect("noted");
        db.ledger.end_association(association, Ending::Released, at(3)).await.expect("a second end changes nothing");
        let evidence = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(!evidence.series[0].all_released());
        let row = db.ledger.association(association).await.expect("an answer").expect("an association");
        assert_eq!(row.ended, Some((at(2), Ending::Aborted)));
    }

    async fn associations_of_an_earlier_run_are_lost(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        assert_eq!(db.ledger.end_lost_associations(&node("n2"), &boot("b9"), at(8)).await.expect("an answer"), 0);
        assert_eq!(db.ledger.end_lost_associations(&node("n1"), &boot("b1"), at(8)).await.expect("an answer"), 0);
        assert_eq!(db.ledger.end_lost_associations(&node("n1"), &boot("b2"), at(8)).await.expect("an answer"), 1);
        let row = db.ledger.association(association).await.expect("an answer").expect("an association");
        assert_eq!(row.ended, Some((at(8), Ending::Lost)));
        assert_eq!(to_look_at(&db, 8).await, [study(1)]);
    }

    async fn stable_ends_with_the_next_arrival(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        db.ledger.series_is_stable(&study(1), &series(1), at(5)).await.expect("noted");
        db.ledger.study_is_stable(&study(1), at(5)).await.expect("noted");
        let evidence = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(evidence.series[0].is_stable());
        assert_eq!(evidence.study.stable.expect("stable").revision, evidence.study.revision);

        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        let evidence = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(!evidence.series[0].is_stable());
        assert!(evidence.study.stable.expect("it was said").revision < evidence.study.revision);
        assert!(matches!(db.ledger.series_is_stable(&study(1), &series(8), at(5)).await, Err(Error::NoSuchSeries(_))));
    }

    async fn instances_recorded_after_the_end_ask_for_a_look_at_once(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        db.ledger.end_association(association, Ending::Released, at(2)).await.expect("noted");
        look(&db).await;
        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");
        assert_eq!(to_look_at(&db, 2).await, [study(1)]);
    }
}
