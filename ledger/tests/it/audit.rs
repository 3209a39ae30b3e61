use ledger::{AuditKey, AuditProblem, Ledger, NewAudit, PageRequest};
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
    db.ledger.verify_audit(&key()).await.expect("an answer")
}

on_both! {
    async fn an_untouched_trail_is_whole(db: TestDb) {
        assert_eq!(db.ledger.audit_head().await.expect("an answer"), None);
        three_rows(&db).await;
        assert_eq!(verdict(&db).await, Ok(3));
        let rows = db.ledger.audit(&PageRequest::first(2)).await.expect("an answer").rows;
        assert_eq!(rows[0].action, "user.added");
        assert_eq!(db.ledger.audit_head().await.expect("an answer"), Some((3, rows[0].mac.clone())));
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
        let other = db.ledger.verify_audit(&AuditKey::new(*b"other")).await.expect("an answer");
        assert_eq!(other, Err(AuditProblem::Altered { seq: 1 }));
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
