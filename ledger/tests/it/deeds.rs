//! A deed and its row of the audit trail: neither is there without the other.

use ledger::{
    AuditFilter, AuditKey, AuditRow, Error, Ledger, NewAccount, NewAudit, NewBatch, Noted, PageRequest, Role,
};
use serde_json::json;

use crate::database::TestDb;
use crate::examples::{at, study, study_with_job};
use crate::on_both;

fn key() -> AuditKey {
    AuditKey::new(*b"a key that is not in the database")
}

fn row(action: &str, subject: &str) -> NewAudit {
    NewAudit {
        at: at(1),
        actor: "account:ada".to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        request_id: None,
        detail: json!({}),
    }
}

async fn add_kim(ledger: &Ledger) {
    let new = NewAccount {
        name: "kim".to_owned(),
        role: Role::Doctor,
        full_name: String::new(),
        organization: String::new(),
        password_hash: "$argon2id$…".to_owned(),
    };
    ledger.add_account(&new, "admin", at(0)).await.expect("added");
}

async fn promote(ledger: &Ledger) -> Result<Noted<bool>, Error> {
    let rows = vec![row("user.role", "kim")];
    ledger.noted(&key(), rows, async |ledger| ledger.set_role("kim", Role::Admin, "ada", at(1)).await).await
}

async fn role(ledger: &Ledger) -> Role {
    ledger.account_by_name("kim").await.expect("an answer").expect("an account").role
}

async fn trail(ledger: &Ledger) -> Vec<AuditRow> {
    assert!(ledger.verify_audit(&key(), &[]).await.expect("an answer").is_ok());
    ledger.audit(&AuditFilter::default(), &PageRequest::first(10)).await.expect("an answer").rows
}

on_both! {
    async fn a_deed_is_in_the_trail_once(db: TestDb) {
        add_kim(&db.ledger).await;
        let done = promote(&db.ledger).await.expect("done");
        assert!(done.outcome && done.left.is_empty());
        let rows = trail(&db.ledger).await;
        assert_eq!(rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(), ["user.role"]);
    }

    async fn a_role_is_not_changed_when_its_row_cannot_be_written(db: TestDb) {
        add_kim(&db.ledger).await;
        db.execute("alter table audit rename to audit_that_is_gone").await;
        promote(&db.ledger).await.expect_err("refused");
        assert_eq!(role(&db.ledger).await, Role::Doctor);
        db.execute("alter table audit_that_is_gone rename to audit").await;
        promote(&db.ledger).await.expect("done");
        assert_eq!(role(&db.ledger).await, Role::Admin);
        assert_eq!(trail(&db.ledger).await.len(), 1);
    }

    async fn a_deed_that_changes_nothing_is_not_noted(db: TestDb) {
        let done = promote(&db.ledger).await.expect("an answer");
        assert!(!done.outcome);
        assert_eq!(done.left.len(), 1);
        assert!(trail(&db.ledger).await.is_empty());
    }

    async fn a_second_transaction_of_a_deed_is_refused(db: TestDb) {
        add_kim(&db.ledger).await;
        let key = key();
        let twice = db.ledger.noted(&key, vec![row("user.role", "kim")], async |ledger| {
            ledger.set_role("kim", Role::Admin, "ada", at(1)).await?;
            ledger.set_role("kim", Role::Service, "ada", at(2)).await
        });
        assert!(matches!(twice.await, Err(Error::Unnoted(_))));
        assert_eq!(role(&db.ledger).await, Role::Admin);
        assert_eq!(trail(&db.ledger).await.len(), 1);
    }

    async fn a_row_names_what_its_deed_made(db: TestDb) {
        let new = NewBatch { actor: "account:ada".to_owned(), request_id: None, items: Vec::new() };
        let key = key();
        let add = db.ledger.noted(&key, vec![row("batch.add", "")], async |ledger| ledger.add_batch(&new, at(1)).await);
        let id = add.await.expect("done").outcome;
        assert_eq!(trail(&db.ledger).await[0].subject, id.to_string());
    }

    async fn a_row_about_nothing_is_refused_with_its_deed(db: TestDb) {
        let job = study_with_job(&db.ledger, 1).await;
        let key = key();
        let cancel = db.ledger.noted(&key, vec![row("job.cancel", "")], async |ledger| {
            ledger.cancel_job(job, "ada", None, at(1)).await
        });
        assert!(matches!(cancel.await, Err(Error::Unnoted(_))));
        let jobs = db.ledger.jobs_of_study(&study(1)).await.expect("an answer");
        assert_eq!(jobs[0].state, ledger::JobState::Queued);
    }

    async fn all_rows_of_a_deed_go_together(db: TestDb) {
        add_kim(&db.ledger).await;
        let rows = vec![row("user.role", "kim"), row("user.password", "kim")];
        let key = key();
        let deed = db.ledger.noted(&key, rows, async |ledger| ledger.set_password("kim", "other", "ada", at(1)).await);
        assert!(deed.await.expect("done").left.is_empty());
        assert_eq!(trail(&db.ledger).await.len(), 2);
    }
}
