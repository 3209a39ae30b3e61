use std::time::Duration;

use ledger::{Error, Ledger, LoginFailure, NewAccount, NewApiKey, NewSession, Role, SessionKind};

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

const RULE: LoginFailure = LoginFailure { failures_max: 3, locked_for: Duration::from_secs(60) };

async fn add(ledger: &Ledger, name: &str) -> Result<ledger::AccountId, Error> {
    let new = NewAccount {
        name: name.to_owned(),
        role: Role::Doctor,
        full_name: "Kim^Min-jun".to_owned(),
        organization: "General Hospital".to_owned(),
        password_hash: "$argon2id$…".to_owned(),
    };
    ledger.add_account(&new, "admin", at(0)).await
}

async fn sign_in(
    ledger: &Ledger,
    account: ledger::AccountId,
    kind: SessionKind,
    hash: &str,
) -> ledger::SessionId {
    let new = NewSession { account, kind, hash: hash.to_owned(), expires_at: at(100) };
    ledger.add_session(&new, at(0)).await.expect("a session")
}

on_both! {
    async fn a_name_is_given_once(db: TestDb) {
        add(&db.ledger, "kim").await.expect("added");
        assert!(matches!(add(&db.ledger, "kim").await, Err(Error::NameTaken(name)) if name == "kim"));
        assert_eq!(db.ledger.accounts().await.expect("an answer").len(), 1);
    }

    async fn three_wrong_passwords_lock_an_account_for_a_while(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        assert_eq!(db.ledger.login_failed(id, RULE, at(1)).await.expect("noted"), None);
        assert_eq!(db.ledger.login_failed(id, RULE, at(2)).await.expect("noted"), None);
        assert_eq!(db.ledger.login_failed(id, RULE, at(3)).await.expect("noted"), Some(at(63)));
        let account = db.ledger.account(id).await.expect("an answer").expect("an account");
        assert!(account.is_locked(at(62)) && !account.is_locked(at(63)));
    }

    async fn a_right_password_forgives_wrong_ones(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        for second in [1, 2] {
            db.ledger.login_failed(id, RULE, at(second)).await.expect("noted");
        }
        db.ledger.login_succeeded(id, at(3)).await.expect("noted");
        assert_eq!(db.ledger.login_failed(id, RULE, at(4)).await.expect("noted"), None);
    }

    async fn a_new_password_ends_all_sessions(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        sign_in(&db.ledger, id, SessionKind::Access, "h1").await;
        assert!(db.ledger.set_password("kim", "other", "kim", at(1)).await.expect("set"));
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(2)).await.expect("an answer").is_none());
        assert!(!db.ledger.set_password("nobody", "other", "kim", at(1)).await.expect("an answer"));
    }

    async fn a_disabled_account_has_no_sessions(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        assert!(db.ledger.disable_account("kim", "admin", at(1)).await.expect("disabled"));
        sign_in(&db.ledger, id, SessionKind::Access, "h1").await;
        sign_in(&db.ledger, id, SessionKind::OneTime, "h2").await;
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(2)).await.expect("an answer").is_none());
        assert!(db.ledger.use_session_once(SessionKind::OneTime, "h2", at(2)).await.expect("an answer").is_none());
        assert!(db.ledger.enable_account("kim", "admin", at(3)).await.expect("enabled"));
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(4)).await.expect("an answer").is_some());
    }

    async fn a_one_time_login_works_once(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        sign_in(&db.ledger, id, SessionKind::OneTime, "h1").await;
        let other = db.other_node().await;
        let (one, two) = tokio::join!(
            db.ledger.use_session_once(SessionKind::OneTime, "h1", at(1)),
            other.use_session_once(SessionKind::OneTime, "h1", at(1)),
        );
        let used = [one.expect("an answer"), two.expect("an answer")];
        assert_eq!(used.iter().flatten().count(), 1);
    }

    async fn sessions_end(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        let session = sign_in(&db.ledger, id, SessionKind::Access, "h1").await;
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(99)).await.expect("an answer").is_some());
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(100)).await.expect("an answer").is_none());
        assert!(db.ledger.session_by_hash(SessionKind::Refresh, "h1", at(1)).await.expect("an answer").is_none());
        db.ledger.revoke_session(session, at(5)).await.expect("revoked");
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(6)).await.expect("an answer").is_none());
        assert_eq!(db.ledger.delete_expired_sessions(at(101)).await.expect("deleted"), 1);
    }

    async fn a_key_works_until_it_is_revoked_or_expires(db: TestDb) {
        let new = |hash: &str, expires_at| NewApiKey {
            name: "gateway".to_owned(),
            role: Role::Service,
            scopes: vec!["predict".to_owned()],
            hash: hash.to_owned(),
            expires_at,
        };
        let id = db.ledger.add_api_key(&new("h1", None), "admin", at(0)).await.expect("added");
        db.ledger.add_api_key(&new("h2", Some(at(10))), "admin", at(1)).await.expect("added");
        let key = db.ledger.api_key_by_hash("h1", at(5)).await.expect("an answer").expect("a key");
        assert_eq!((key.id, key.role, key.scopes), (id, Role::Service, vec!["predict".to_owned()]));
        assert_eq!(db.ledger.api_keys().await.expect("an answer")[0].used_at, Some(at(5)));
        assert!(db.ledger.api_key_by_hash("h2", at(10)).await.expect("an answer").is_none());
        assert!(db.ledger.revoke_api_key(id, "admin", at(6)).await.expect("revoked"));
        assert!(!db.ledger.revoke_api_key(id, "admin", at(7)).await.expect("an answer"));
        assert!(db.ledger.api_key_by_hash("h1", at(8)).await.expect("an answer").is_none());
    }
}
