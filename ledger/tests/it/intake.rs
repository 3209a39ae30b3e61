use ledger::{HoldReason, NewQuarantined, PageRequest, QuarantineReason, Recorded, StudyFilter};

use crate::database::TestDb;
use crate::examples::{at, instance, open_association, receive_study, series, study};
use crate::on_both;

on_both! {
    async fn a_batch_makes_study_series_and_instances_known(db: TestDb) {
        let association = open_association(&db.ledger).await;
        let batch: Vec<_> = (1..=3).flat_map(|slice| [instance(association, 1, 1, slice), instance(association, 2, 2, slice)]).collect();

        let recorded = db.ledger.record_instances(&batch).await.expect("recorded");

        assert_eq!(recorded, vec![Recorded::New; 6]);
        let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        assert_eq!((row.series_count, row.instance_count, row.modalities), (1, 3, vec!["MR".to_owned()]));
        assert_eq!(row.patient.id, "P1");
        let instances = db.ledger.instances_of_series(&study(2), &series(2)).await.expect("an answer");
        assert_eq!(instances.len(), 3);
        assert_eq!(instances[0].header, batch[1].header);
        assert_eq!((instances[0].digest.as_str(), instances[0].size_bytes), ("digest-1", 132_000));
    }

    async fn a_batch_of_more_rows_than_a_statement_takes_is_recorded_row_for_row(db: TestDb) {
        let association = open_association(&db.ledger).await;
        // 128, 128, 32, 8, 2 and 1.
        let batch: Vec<_> = (1..=299).map(|slice| instance(association, 1, 1, slice)).collect();

        let recorded = db.ledger.record_instances(&batch).await.expect("recorded");

        assert_eq!(recorded, vec![Recorded::New; 299]);
        for new in &batch {
            let row = db.ledger.instance(&new.header.sop_instance).await.expect("an answer").expect("an instance");
            assert_eq!((row.header, row.digest), (new.header.clone(), new.digest.clone()));
        }
        assert_eq!(db.ledger.record_instances(&batch).await.expect("recorded"), vec![Recorded::Same; 299]);
    }

    async fn the_same_instance_again_changes_nothing(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let before = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");

        let recorded = db.ledger.record_instances(&[instance(association, 1, 1, 1)]).await.expect("recorded");

        assert_eq!(recorded, [Recorded::Same]);
        let after = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
        assert_eq!(before, after);
    }

    async fn a_repeat_within_one_batch_counts_once(db: TestDb) {
        let association = open_association(&db.ledger).await;
        let one = instance(association, 1, 1, 1);
        let recorded = db.ledger.record_instances(&[one.clone(), one]).await.expect("recorded");
        assert_eq!(recorded, [Recorded::New, Recorded::Same]);
        let row = db.ledger.series(&study(1), &series(1)).await.expect("an answer").expect("a series");
        assert_eq!(row.instance_count, 1);
    }

    async fn a_uid_that_a_batch_brings_for_two_studies_is_the_firsts(db: TestDb) {
        let association = open_association(&db.ledger).await;
        let first = instance(association, 1, 1, 1);
        let mut moved = first.clone();
        (moved.header.study, moved.header.series) = (study(2), series(2));

        let recorded = db.ledger.record_instances(&[first.clone(), moved]).await.expect("recorded");

        assert_eq!(recorded, [Recorded::New, Recorded::Misplaced]);
        let kept = db.ledger.instance(&first.header.sop_instance).await.expect("an answer").expect("an instance");
        assert_eq!(kept.header.study, study(1));
        assert!(db.ledger.study(&study(2)).await.expect("an answer").is_none());
    }

    async fn what_is_only_compared_never_becomes_known(db: TestDb) {
        let association = open_association(&db.ledger).await;
        let twin = instance(association, 1, 1, 1);

        assert_eq!(db.ledger.compare_instance(&twin).await.expect("compared"), None);

        assert!(db.ledger.instance(&twin.header.sop_instance).await.expect("an answer").is_none());
        assert!(db.ledger.study(&study(1)).await.expect("an answer").is_none());
    }

    async fn what_is_only_compared_is_judged_as_what_is_recorded(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut twin = instance(association, 1, 1, 1);
        assert_eq!(db.ledger.compare_instance(&twin).await.expect("compared"), Some(Recorded::Same));
        twin.digest = "another".to_owned();
        twin.header.facts.patient.name = "Seacole^Mary".to_owned();
        assert_eq!(db.ledger.compare_instance(&twin).await.expect("compared"), Some(Recorded::Twin));
        assert!(db.ledger.study(&study(1)).await.expect("an answer").expect("a study").is_held);
        twin.header.study = study(2);
        assert_eq!(db.ledger.compare_instance(&twin).await.expect("compared"), Some(Recorded::Misplaced));
    }

    async fn every_arrival_moves_the_revision(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let study_before = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").revision;
        let series_before = db.ledger.series(&study(1), &series(1)).await.expect("an answer").expect("a series").revision;

        db.ledger.record_instances(&[instance(association, 1, 1, 3)]).await.expect("recorded");

        let study_after = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").revision;
        let series_after = db.ledger.series(&study(1), &series(1)).await.expect("an answer").expect("a series").revision;
        assert!(study_after > study_before);
        assert!(series_after > series_before);
    }

    async fn evidence_moves_the_revision_of_the_study_but_not_of_the_series(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let before = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");

        db.ledger.series_is_stable(&study(1), &series(1), at(5)).await.expect("noted");

        let after = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(after.study.revision > before.study.revision);
        assert_eq!(after.series[0].series.revision, before.series[0].series.revision);
    }

    async fn another_patient_in_the_study_is_kept_and_holds_it(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut stranger = instance(association, 1, 1, 3);
        stranger.header.facts.patient.id = "SOMEBODY-ELSE".to_owned();

        let recorded = db.ledger.record_instances(&[stranger.clone()]).await.expect("recorded");

        assert_eq!(recorded, [Recorded::NewOfOtherPatient]);
        let holds = db.ledger.open_holds(&study(1)).await.expect("an answer");
        assert_eq!(holds.len(), 1);
        assert_eq!(holds[0].reason, HoldReason::IdentityConflict);
        assert!(!holds[0].subject.contains("SOMEBODY"), "a hold names no patient");
        assert!(db.ledger.instance(&stranger.header.sop_instance).await.expect("an answer").is_some());
    }

    async fn a_decided_conflict_is_not_raised_again_by_the_next_slice(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut stranger = instance(association, 1, 1, 3);
        stranger.header.facts.patient.birth_date = "19000101".to_owned();
        db.ledger.record_instances(&[stranger.clone()]).await.expect("recorded");
        assert_eq!(db.ledger.release_holds(&study(1), "dr-kim", Some("r1"), at(9)).await.expect("released"), 1);

        let mut next = instance(association, 1, 1, 4);
        next.header.facts.patient = stranger.header.facts.patient.clone();
        db.ledger.record_instances(&[next]).await.expect("recorded");

        assert!(db.ledger.open_holds(&study(1)).await.expect("an answer").is_empty());
        let released = db.ledger.holds(&study(1)).await.expect("an answer")[0].released.clone();
        assert_eq!(released, Some((at(9), "dr-kim".to_owned())));
    }

    async fn a_third_patient_holds_the_study_again(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        for (slice, id) in [(3, "SECOND"), (4, "THIRD")] {
            let mut stranger = instance(association, 1, 1, slice);
            stranger.header.facts.patient.id = id.to_owned();
            db.ledger.record_instances(&[stranger]).await.expect("recorded");
            assert_eq!(db.ledger.release_holds(&study(1), "dr-kim", None, at(9)).await.expect("released"), 1, "{id}");
        }
    }

    async fn the_first_of_two_twins_stays(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut twin = instance(association, 1, 1, 1);
        twin.digest = "another".to_owned();

        let recorded = db.ledger.record_instances(&[twin.clone()]).await.expect("recorded");

        assert_eq!(recorded, [Recorded::Twin]);
        let kept = db.ledger.instance(&twin.header.sop_instance).await.expect("an answer").expect("an instance");
        assert_eq!(kept.digest, "digest-1");
        assert!(db.ledger.open_holds(&study(1)).await.expect("an answer").is_empty(), "it is the same patient's");
    }

    async fn a_twin_of_another_patient_holds_the_study(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut twin = instance(association, 1, 1, 1);
        twin.digest = "another".to_owned();
        twin.header.facts.patient.name = "Seacole^Mary".to_owned();
        assert_eq!(db.ledger.record_instances(&[twin]).await.expect("recorded"), [Recorded::Twin]);
        assert!(db.ledger.study(&study(1)).await.expect("an answer").expect("a study").is_held);
    }

    async fn a_replaced_instance_is_an_arrival(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let before = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        let mut second = instance(association, 1, 1, 1);
        second.digest = "another".to_owned();
        second.header.facts.echo_time = Some(90.0);

        for _ in 0..2 {
            db.ledger.replace_instance(&second).await.expect("recorded");
        }

        let kept = db.ledger.instance(&second.header.sop_instance).await.expect("an answer").expect("an instance");
        assert_eq!((kept.digest.as_str(), kept.header.facts.echo_time), ("another", Some(90.0)));
        let after = db.ledger.evidence(&study(1)).await.expect("an answer").expect("a study");
        assert!(after.study.revision > before.study.revision, "somebody looks at the study");
        assert_eq!(after.series[0].series.revision, before.series[0].series.revision + 1);
        assert_eq!(after.series[0].series.instance_count, before.series[0].series.instance_count);
    }

    async fn a_replacement_that_the_ledger_never_knew_is_recorded(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let new = instance(association, 1, 1, 9);
        db.ledger.replace_instance(&new).await.expect("recorded");
        assert!(db.ledger.instance(&new.header.sop_instance).await.expect("an answer").is_some());
    }

    async fn an_instance_cannot_move_to_another_study(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let mut moved = instance(association, 1, 1, 1);
        moved.header.study = study(2);

        assert_eq!(db.ledger.record_instances(&[moved]).await.expect("recorded"), [Recorded::Misplaced]);

        assert!(db.ledger.study(&study(2)).await.expect("an answer").is_none());
        let held = db.ledger.study(&study(1)).await.expect("an answer").expect("a study").is_held;
        assert!(held);
    }

    async fn a_study_that_lacks_an_instance_because_of_its_uid_is_held_too(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        receive_study(&db.ledger, 2).await;
        let mut moved = instance(association, 1, 1, 1);
        moved.header.study = study(2);

        assert_eq!(db.ledger.record_instances(&[moved]).await.expect("recorded"), [Recorded::Misplaced]);

        for number in [1, 2] {
            let row = db.ledger.study(&study(number)).await.expect("an answer").expect("a study");
            assert!(row.is_held, "study {number}");
        }
    }

    async fn quarantine_knows_what_was_kept_and_why(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        let new = NewQuarantined {
            kept_as: "20260102-1.dcm".to_owned(),
            reason: QuarantineReason::Unparsable,
            detail: "the data set ends within an element".to_owned(),
            association: None,
            study: Some(study(77)),
            sop_instance: None,
            at: at(3),
        };
        db.ledger.quarantine(&new).await.expect("noted");
        db.ledger.quarantine_and_hold(&NewQuarantined { at: at(4), ..new }, &study(1)).await.expect("noted");

        let rows = db.ledger.quarantined(&PageRequest::first(10)).await.expect("an answer").rows;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].kept_as, "20260102-1.dcm");
        assert_eq!(rows[1].study, None, "a study that is not known cannot be pointed at");
        assert!(db.ledger.study(&study(1)).await.expect("an answer").expect("a study").is_held);
    }

    async fn instances_are_known_by_the_place_that_they_have(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let known = instance(association, 1, 1, 1).header.sop_instance;
        let unknown = instance(association, 1, 1, 9).header.sop_instance;
        let places = db.ledger.places_of(&[known.clone(), unknown]).await.expect("an answer");
        assert_eq!(places.into_iter().collect::<Vec<_>>(), [(known, (study(1), series(1)))]);
    }

    async fn what_was_set_aside_for_its_uid_is_known_by_the_study_that_it_came_for(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let uid = instance(association, 1, 1, 1).header.sop_instance;
        let aside = |reason, of| NewQuarantined {
            kept_as: "20260102-1.dcm".to_owned(),
            reason,
            detail: "a reason".to_owned(),
            association: Some(association),
            study: Some(study(of)),
            sop_instance: Some(uid.clone()),
            at: at(3),
        };
        let of = async |number| {
            db.ledger.set_aside_of(&study(number), std::slice::from_ref(&uid)).await.expect("an answer")
        };
        db.ledger.quarantine(&aside(QuarantineReason::Unparsable, 1)).await.expect("noted");
        assert!(of(1).await.is_empty(), "it may be whole when it comes again");
        db.ledger.quarantine(&aside(QuarantineReason::Twin, 1)).await.expect("noted");
        assert_eq!((of(1).await.len(), of(2).await.len()), (1, 0));
    }

    async fn lists_are_paged_without_loss_or_repeat(db: TestDb) {
        for number in 1..=5 {
            receive_study(&db.ledger, number).await;
        }
        let mut seen = Vec::new();
        let mut request = PageRequest::first(2);
        loop {
            let page = db.ledger.studies(&StudyFilter::default(), &request).await.expect("an answer");
            seen.extend(page.rows.into_iter().map(|row| row.study));
            let Some(next) = page.next else { break };
            request = PageRequest::after(2, &next).expect("a position");
        }
        assert_eq!(seen, (1..=5).rev().map(study).collect::<Vec<_>>());
    }

    async fn studies_are_found_by_what_they_say(db: TestDb) {
        receive_study(&db.ledger, 1).await;
        receive_study(&db.ledger, 2).await;
        let filter = StudyFilter {
            patient_id: Some("P2".to_owned()),
            modality: Some("MR".to_owned()),
            study_date_from: Some("20260101".to_owned()),
            study_date_to: Some("20260102".to_owned()),
            accession_number: None,
        };
        let found = db.ledger.studies(&filter, &PageRequest::first(10)).await.expect("an answer").rows;
        assert_eq!(found.into_iter().map(|row| row.study).collect::<Vec<_>>(), [study(2)]);
        let filter = StudyFilter { modality: Some("CT".to_owned()), ..StudyFilter::default() };
        assert!(db.ledger.studies(&filter, &PageRequest::first(10)).await.expect("an answer").rows.is_empty());
    }
}

/// Two nodes that take in the same instances at once: each is new for exactly one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_taking_in_one_study_record_each_instance_once() {
    let db = TestDb::postgres().await;
    let other = db.other_node().await;
    let association = open_association(&db.ledger).await;
    let mut new = 0;
    for round in 0..20 {
        let batch: Vec<_> = (0..50).map(|slice| instance(association, 1, 1, round * 100 + slice)).collect();
        let reversed: Vec<_> = batch.iter().rev().cloned().collect();
        let (one, two) = tokio::join!(db.ledger.record_instances(&batch), other.record_instances(&reversed));
        let both = one.expect("recorded").into_iter().chain(two.expect("recorded"));
        new += both.filter(|recorded| *recorded == Recorded::New).count();
    }
    assert_eq!(new, 1000);
    let row = db.ledger.study(&study(1)).await.expect("an answer").expect("a study");
    assert_eq!(row.instance_count, 1000);
}
