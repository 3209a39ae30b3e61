use ledger::{AuditFilter, AuditHead, AuditKey, AuditProblem, Ledger, NewAudit, PageRequest};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

fn key() -> AuditKey {
    AuditKey::new(*b"a key that is not in the database")
}

async fn add(ledger: &Ledger, action: &str) -> i64 {
    let new = NewAudit {
        at: at(1),
        actor: "kim".to_owned(),
        action: action.to_owned(),
        subject: "1.2.3".to_owned(),
        request_id: Some("r1".to_owned()),
        detail: json!({ "b": 2, "a": [1.5, null] }),
    };
    ledger.add_audit(&key(), &new).await.expect("added")
}

async fn three_rows(db: &TestDb) {
    for action in ["study.viewed", "result.accepted", "user.added"] {
        add(&db.ledger, action).await;
    }
}

async fn verdict(db: &TestDb) -> Result<i64, AuditProblem> {
    db.ledger.verify_audit(&key(), &[]).await.expect("an answer")
}

on_both! {
    async fn an_untouched_trail_is_whole(db: TestDb) {
        assert_eq!(db.ledger.audit_head().await.expect("an answer"), None);
        three_rows(&db).await;
        assert_eq!(verdict(&db).await, Ok(3));
        let rows = db.ledger.audit(&AuditFilter::default(), &PageRequest::first(2)).await.expect("an answer").rows;
        assert_eq!(rows[0].action, "user.added");
        assert_eq!(db.ledger.audit_head().await.expect("an answer"), Some(AuditHead { seq: 3, mac: rows[0].mac.clone() }));
    }

    async fn a_changed_row_shows(db: TestDb) {
        three_rows(&db).await;
        db.execute("update audit set actor = 'lee' where seq = 2").await;
        assert_eq!(verdict(&db).await, Err(AuditProblem::Altered { seq: 2 }));
    }

    async fn a_removed_row_shows(db: TestDb) {
        three_rows(&db).await;
        db.execute("delete from audit where seq = 2").await;
        assert_eq!(verdict(&db).await, Err(AuditProblem::Missing { seq: 2 }));
    }

    async fn a_removed_row_shows_also_when_the_rest_is_renumbered(db: TestDb) {
        three_rows(&db).await;
        db.execute("delete from audit where seq = 2").await;
        db.execute("update audit set seq = 2 where seq = 3").await;
        assert_eq!(verdict(&db).await, Err(AuditProblem::Altered { seq: 2 }));
    }

    async fn another_key_does_not_fit(db: TestDb) {
        three_rows(&db).await;
        let other = db.ledger.verify_audit(&AuditKey::new(*b"other"), &[]).await.expect("an answer");
        assert_eq!(other, Err(AuditProblem::Altered { seq: 1 }));
    }

    async fn a_tail_that_was_cut_off_shows_against_an_anchor(db: TestDb) {
        three_rows(&db).await;
        let anchor = db.ledger.audit_head().await.expect("an answer").expect("a head");
        db.execute("delete from audit where seq = 3").await;
        assert_eq!(verdict(&db).await, Ok(2), "the chain alone cannot tell");
        let found = db.ledger.verify_audit(&key(), std::slice::from_ref(&anchor)).await.expect("an answer");
        assert_eq!(found, Err(AuditProblem::Cut { last: 2, anchored: 3 }));
        // Longer than before does not help whoever cut it.
        for action in ["one", "two", "three"] {
            add(&db.ledger, action).await;
        }
        let found = db.ledger.verify_audit(&key(), &[anchor]).await.expect("an answer");
        assert_eq!(found, Err(AuditProblem::Rewritten { seq: 3 }));
    }

    async fn a_trail_that_was_written_anew_with_the_key_shows_against_an_anchor(db: TestDb) {
        three_rows(&db).await;
        let anchor = db.ledger.audit_head().await.expect("an answer").expect("a head");
        db.execute("delete from audit").await;
        for action in ["study.viewed", "result.rejected", "user.added"] {
            add(&db.ledger, action).await;
        }
        assert_eq!(verdict(&db).await, Ok(3), "the chain alone cannot tell");
        let found = db.ledger.verify_audit(&key(), &[anchor]).await.expect("an answer");
        assert_eq!(found, Err(AuditProblem::Rewritten { seq: 3 }));
    }

    async fn the_trail_is_asked_by_who_what_and_when(db: TestDb) {
        three_rows(&db).await;
        let count = async |filter: AuditFilter| {
            db.ledger.audit(&filter, &PageRequest::first(10)).await.expect("an answer").rows.len()
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(count(AuditFilter { actor: text("kim"), ..AuditFilter::default() }).await, 3);
        assert_eq!(count(AuditFilter { action: text("user.added"), ..AuditFilter::default() }).await, 1);
        assert_eq!(count(AuditFilter { action: text("result."), ..AuditFilter::default() }).await, 1);
        assert_eq!(count(AuditFilter { action: text("result"), ..AuditFilter::default() }).await, 0);
        assert_eq!(count(AuditFilter { subject: text("9.9"), ..AuditFilter::default() }).await, 0);
        assert_eq!(count(AuditFilter { from: Some(at(2)), ..AuditFilter::default() }).await, 0);
        assert_eq!(count(AuditFilter { before: Some(at(2)), ..AuditFilter::default() }).await, 3);
    }

    async fn writers_at_once_make_one_chain(db: TestDb) {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let ledger = db.ledger.clone();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        add(&ledger, "study.viewed").await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends well");
        }
        assert_eq!(verdict(&db).await, Ok(40));
    }
}
