use ledger::{
    AuditKey, CallId, Ledger, ModelRef, NewAudit, NewPrediction, NewPredictions, PageRequest,
    PredictionFilter, PredictionId,
};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

fn key() -> AuditKey {
    AuditKey::new(*b"a key that is not in the database")
}

fn audit(call: CallId) -> NewAudit {
    NewAudit {
        at: at(1),
        actor: "account:kim".to_owned(),
        action: "model.predict".to_owned(),
        subject: "meso@1.0.0".to_owned(),
        request_id: Some("r1".to_owned()),
        detail: json!({ "call": call }),
    }
}

fn rows(call: CallId, patient: &str, second: u64, labels: &[u8]) -> NewPredictions {
    let row = |(index, label): (usize, &u8)| NewPrediction {
        number: u32::try_from(index).expect("small") + 1,
        input: json!({ "age": 65, "LDH'\"ratio": 0.1 }),
        label: Some(*label),
        answer: json!({ "probability": 0.1 + 0.2, "label": label }),
    };
    NewPredictions {
        call,
        at: at(second),
        model: ModelRef { id: "meso".to_owned(), version: "1.0.0".to_owned(), digest: "d".to_owned() },
        model_name: "meso_xgb".to_owned(),
        patient_id: patient.to_owned(),
        doctor: Some("kim".to_owned()),
        actor: "account:kim".to_owned(),
        request_id: Some("r1".to_owned()),
        rows: labels.iter().enumerate().map(row).collect(),
    }
}

async fn record(ledger: &Ledger, patient: &str, second: u64, labels: &[u8]) -> Vec<PredictionId> {
    let call = CallId::generate();
    let kept = rows(call, patient, second, labels);
    ledger.record_call(&key(), Some(audit(call)), Some(kept)).await.expect("recorded")
}

async fn found(ledger: &Ledger, filter: PredictionFilter) -> Vec<i64> {
    let page = ledger.predictions(&filter, &PageRequest::first(100)).await.expect("an answer");
    page.rows.iter().map(|row| row.id.0).collect()
}

on_both! {
    async fn every_row_of_a_call_is_kept_as_it_was_asked_and_answered(db: TestDb) {
        let ids = record(&db.ledger, "12", 5, &[1, 0, 1]).await;
        assert_eq!(ids.len(), 3);
        let row = db.ledger.prediction(ids[1]).await.expect("an answer").expect("kept");
        assert_eq!((row.row_number, row.label), (2, Some(0)));
        assert_eq!(row.input, json!({ "age": 65, "LDH'\"ratio": 0.1 }));
        assert_eq!(row.answer["probability"].as_f64().map(f64::to_bits), Some((0.1_f64 + 0.2).to_bits()));
        assert_eq!((row.patient_id.as_str(), row.doctor.as_deref()), ("12", Some("kim")));
        assert_eq!(db.ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(1));
        assert!(db.ledger.prediction(PredictionId(4711)).await.expect("an answer").is_none());
    }

    async fn a_call_without_a_patient_is_noted_and_its_rows_are_not_kept(db: TestDb) {
        let kept = db.ledger.record_call(&key(), Some(audit(CallId::generate())), None).await.expect("noted");
        assert!(kept.is_empty());
        assert_eq!(db.ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(1));
        assert!(found(&db.ledger, PredictionFilter::default()).await.is_empty());
    }

    async fn calls_at_once_share_transactions_and_get_their_own_numbers(db: TestDb) {
        let callers: Vec<_> = (0_u8..40)
            .map(|caller| {
                let ledger = db.ledger.clone();
                tokio::spawn(async move {
                    let patient = format!("p{caller}");
                    let ids = record(&ledger, &patient, 1, &[caller % 2, 1]).await;
                    (patient, ids)
                })
            })
            .collect();
        for caller in callers {
            let (patient, ids) = caller.await.expect("a caller ends well");
            let first = db.ledger.prediction(ids[0]).await.expect("an answer").expect("kept");
            assert_eq!((first.patient_id.as_str(), first.row_number), (patient.as_str(), 1));
        }
        assert_eq!(db.ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(40));
        assert_eq!(found(&db.ledger, PredictionFilter::default()).await.len(), 80);
    }

    async fn a_caller_who_hangs_up_takes_nobody_elses_answer_with_him(db: TestDb) {
        let (ledger, call) = (db.ledger.clone(), CallId::generate());
        let gone = tokio::spawn(async move {
            ledger.record_call(&key(), Some(audit(call)), None).await.expect("noted");
        });
        tokio::task::yield_now().await;
        gone.abort();
        assert_eq!(record(&db.ledger, "12", 1, &[1]).await.len(), 1);
    }

    async fn the_history_is_filtered_and_paged_newest_first(db: TestDb) {
        let old = record(&db.ledger, "12", 10, &[1, 0]).await;
        let other = record(&db.ledger, "13", 20, &[1]).await;
        let new = record(&db.ledger, "12", 30, &[1]).await;
        let all = [new[0].0, other[0].0, old[1].0, old[0].0];
        assert_eq!(found(&db.ledger, PredictionFilter::default()).await, all);
        let of = PredictionFilter { patient_id: Some("12".to_owned()), ..PredictionFilter::default() };
        assert_eq!(found(&db.ledger, of.clone()).await, [new[0].0, old[1].0, old[0].0]);
        let positive = PredictionFilter { label: Some(1), from: Some(at(10)), before: Some(at(30)), ..of };
        assert_eq!(found(&db.ledger, positive).await, [old[0].0]);
        let by = |doctor: &str| PredictionFilter { doctor: Some(doctor.to_owned()), ..PredictionFilter::default() };
        assert_eq!(found(&db.ledger, by("kim")).await.len(), 4);
        assert!(found(&db.ledger, by("lee")).await.is_empty());

        let filter = PredictionFilter::default();
        let first = db.ledger.predictions(&filter, &PageRequest::first(3)).await.expect("an answer");
        let next = PageRequest::after(3, &first.next.expect("a second page")).expect("a cursor");
        let second = db.ledger.predictions(&filter, &next).await.expect("an answer");
        assert_eq!(second.rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [old[0].0]);
        assert_eq!(second.next, None);
    }

    async fn what_cannot_be_written_is_told_to_everybody_who_waited(db: TestDb) {
        let call = CallId::generate();
        db.ledger.record_call(&key(), None, Some(rows(call, "12", 1, &[1]))).await.expect("recorded");
        let twice = db.ledger.record_call(&key(), Some(audit(call)), Some(rows(call, "12", 1, &[1]))).await;
        assert!(twice.is_err(), "one row of one call was kept twice");
        assert_eq!(db.ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(0));
        assert_eq!(record(&db.ledger, "13", 2, &[0]).await.len(), 1);
    }
}

async fn with_journal(folder: &tempfile::TempDir) -> Ledger {
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let ledger = Ledger::open(&url, ledger::Durability::Power).await.expect("the ledger opens");
    ledger.keep_calls_in(&folder.path().join("calls.journal"), &key()).await.expect("a journal");
    ledger
}

/// The rows of the trail, by request id.
async fn noted(ledger: &Ledger) -> Vec<String> {
    let page = PageRequest::first(1000);
    let page = ledger.audit(&ledger::AuditFilter::default(), &page).await.expect("an answer");
    let mut ids: Vec<_> = page.rows.into_iter().filter_map(|row| row.request_id).collect();
    ids.sort();
    ids
}

async fn note_many(ledger: &Ledger, callers: std::ops::Range<u32>) -> Vec<String> {
    let call = |caller: u32| {
        let (ledger, id) = (ledger.clone(), format!("r{caller:04}"));
        tokio::spawn(async move {
            let audit = NewAudit { request_id: Some(id.clone()), ..audit(CallId::generate()) };
            ledger.record_call(&key(), Some(audit), None).await.expect("noted");
            id
        })
    };
    let mut ids = Vec::new();
    for call in callers.map(call).collect::<Vec<_>>() {
        ids.push(call.await.expect("a caller ends well"));
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_the_journal_are_in_the_trail_when_it_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = with_journal(&folder).await;
    for round in 0..5 {
        note_many(&ledger, round * 40..round * 40 + 40).await;
        record(&ledger, "12", 1, &[1]).await;
        assert_eq!(noted(&ledger).await.len(), (round as usize + 1) * 41);
    }
    assert_eq!(ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(205));
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_the_database_lacks_are_added_once_at_the_next_start() {
    let (folder, copy) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let ledger = with_journal(&folder).await;
    let first = note_many(&ledger, 0..30).await;
    assert_eq!(noted(&ledger).await, first);
    // As a power cut would leave it: the journal of now, and the database of before.
    for file in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(folder.path().join(file), copy.path().join(file)).expect("a file of ours");
    }
    let later = note_many(&ledger, 30..60).await;
    assert_eq!(noted(&ledger).await.len(), 60);
    let anchor = ledger.audit_head().await.expect("an answer").expect("a trail");
    std::fs::copy(folder.path().join("calls.journal"), copy.path().join("calls.journal"))
        .expect("a file of ours");

    for _ in 0..2 {
        let after = with_journal(&copy).await;
        assert_eq!(noted(&after).await, [first.clone(), later.clone()].concat());
        let anchors = std::slice::from_ref(&anchor);
        assert_eq!(
            after.verify_audit(&key(), anchors).await.expect("an answer"),
            Ok(60),
            "row for row as before"
        );
        after.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_the_journal_holds_go_through_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = with_journal(&folder).await;
    let long = "x".repeat(12_000);
    let calls: Vec<_> = (0..1500)
        .map(|_| {
            let (ledger, detail) = (ledger.clone(), json!({ "long": long }));
            tokio::spawn(async move {
                let audit = NewAudit { detail, ..audit(CallId::generate()) };
                ledger.record_call(&key(), Some(audit), None).await.expect("noted");
            })
        })
        .collect();
    for call in calls {
        call.await.expect("a caller ends well");
    }
    assert_eq!(ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(1500));
    let huge = NewAudit { detail: json!({ "long": "x".repeat(100_000) }), ..audit(CallId::generate()) };
    ledger.record_call(&key(), Some(huge), None).await.expect("noted without the journal");
    assert_eq!(ledger.verify_audit(&key(), &[]).await.expect("an answer"), Ok(1501));
}

#[tokio::test]
async fn a_mark_holds_until_something_is_committed() {
    let db = TestDb::sqlite().await;
    let before = db.ledger.mark().expect("SQLite gives one");
    found(&db.ledger, PredictionFilter::default()).await;
    assert_eq!(db.ledger.mark(), Some(before));
    db.other_node().await.add_audit(&key(), &audit(CallId::generate())).await.expect("added");
    let after = db.ledger.mark();
    assert!(after.is_some() && after != Some(before));
    // Another process, too.
    db.execute("update audit set actor = 'x'").await;
    assert_ne!(db.ledger.mark(), after);
}
