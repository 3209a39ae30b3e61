use std::time::Duration;

use ledger::{
    AccountChange, Error, Ledger, LoginFailure, NewAccount, NewApiKey, NewSession, Role, SessionKind,
};

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
    let epoch = ledger.account(account).await.expect("an answer").expect("an account").epoch;
    ledger.add_session(&session(account, epoch, kind, hash), at(0)).await.expect("a session")
}

fn session(account: ledger::AccountId, epoch: i64, kind: SessionKind, hash: &str) -> NewSession {
    NewSession { account, epoch, kind, hash: hash.to_owned(), expires_at: at(100) }
}

async fn use_once(ledger: &Ledger, hash: &str, new: &[NewSession], second: u64) -> bool {
    ledger.exchange_session(SessionKind::OneTime, hash, new, at(second)).await.expect("an answer")
}

async fn is_good(ledger: &Ledger, kind: SessionKind, hash: &str) -> bool {
    ledger.session_by_hash(kind, hash, at(9)).await.expect("an answer").is_some()
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
        db.ledger.login_succeeded(id, &[], at(3)).await.expect("noted");
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
        assert!(!use_once(&db.ledger, "h2", &[], 2).await);
        assert!(db.ledger.enable_account("kim", "admin", at(3)).await.expect("enabled"));
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(4)).await.expect("an answer").is_some());
    }

    async fn a_one_time_login_works_once(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        sign_in(&db.ledger, id, SessionKind::OneTime, "h1").await;
        let other = db.other_node().await;
        let (one, two) = tokio::join!(use_once(&db.ledger, "h1", &[], 1), use_once(&other, "h1", &[], 1));
        assert!(one ^ two);
    }

    async fn what_is_exchanged_once_is_spent_only_with_what_it_gives(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        sign_in(&db.ledger, id, SessionKind::OneTime, "h1").await;
        sign_in(&db.ledger, id, SessionKind::Access, "taken").await;
        let taken = [session(id, 0, SessionKind::Access, "taken")];
        db.ledger.exchange_session(SessionKind::OneTime, "h1", &taken, at(1)).await.expect_err("refused");
        assert!(use_once(&db.ledger, "h1", &[session(id, 0, SessionKind::Access, "new")], 2).await);
        assert!(is_good(&db.ledger, SessionKind::Access, "new").await);
    }

    async fn a_sign_in_that_was_under_way_is_signed_out_everywhere_too(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        let seen = db.ledger.account(id).await.expect("an answer").expect("an account").epoch;
        assert_eq!(db.ledger.revoke_sessions_of(id, at(1)).await.expect("revoked"), 0);
        db.ledger.login_succeeded(id, &[session(id, seen, SessionKind::Access, "h1")], at(2)).await.expect("noted");
        db.ledger.add_session(&session(id, seen, SessionKind::OneTime, "h2"), at(2)).await.expect("added");
        assert!(!is_good(&db.ledger, SessionKind::Access, "h1").await);
        assert!(!use_once(&db.ledger, "h2", &[], 3).await);
        sign_in(&db.ledger, id, SessionKind::Access, "h3").await;
        assert!(is_good(&db.ledger, SessionKind::Access, "h3").await);
    }

    async fn a_sign_in_with_the_old_password_does_not_outlive_the_new_one(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        let seen = db.ledger.account(id).await.expect("an answer").expect("an account").epoch;
        assert!(db.ledger.set_password("kim", "other", "admin", at(1)).await.expect("set"));
        db.ledger.login_succeeded(id, &[session(id, seen, SessionKind::Refresh, "h1")], at(2)).await.expect("noted");
        assert!(!is_good(&db.ledger, SessionKind::Refresh, "h1").await);
    }

    async fn only_the_very_first_account_has_no_password(db: TestDb) {
        let new = NewAccount {
            name: "admin".to_owned(),
            role: Role::Admin,
            full_name: String::new(),
            organization: String::new(),
            password_hash: "$argon2id$…".to_owned(),
        };
        let id = db.ledger.add_first_account(&new, "overread", at(0)).await.expect("added").expect("the first");
        assert!(db.ledger.add_first_account(&new, "overread", at(0)).await.expect("an answer").is_none());
        let account = async || db.ledger.account(id).await.expect("an answer").expect("an account");
        assert!(!account().await.has_password && account().await.signed_in_at.is_none());

        db.ledger.replace_sessions(&session(id, 0, SessionKind::OneTime, "h1"), at(1)).await.expect("kept");
        db.ledger.replace_sessions(&session(id, 0, SessionKind::OneTime, "h2"), at(2)).await.expect("kept");
        assert!(!use_once(&db.ledger, "h1", &[], 3).await);
        assert!(account().await.signed_in_at.is_none());
        assert!(use_once(&db.ledger, "h2", &[], 4).await);
        assert_eq!(account().await.signed_in_at, Some(at(4)));
        assert!(db.ledger.set_password("admin", "other", "admin", at(5)).await.expect("set"));
        assert!(account().await.has_password);
    }

    async fn a_change_of_an_account_is_carried_out_as_a_whole(db: TestDb) {
        add(&db.ledger, "kim").await.expect("added");
        let change = AccountChange {
            role: Some(Role::Admin),
            password_hash: Some("other".to_owned()),
            disabled: Some(true),
        };
        assert!(db.ledger.change_account("kim", &change, "admin", at(1)).await.expect("changed"));
        assert!(!db.ledger.change_account("nobody", &change, "admin", at(1)).await.expect("an answer"));
        let account = db.ledger.account_by_name("kim").await.expect("an answer").expect("an account");
        assert_eq!((account.role, account.password_hash.as_str()), (Role::Admin, "other"));
        assert_eq!(account.disabled_at, Some(at(1)));
        assert!(db.ledger.change_account("kim", &AccountChange::default(), "admin", at(2)).await.expect("an answer"));
    }

    async fn sessions_end(db: TestDb) {
        let id = add(&db.ledger, "kim").await.expect("added");
        let session = sign_in(&db.ledger, id, SessionKind::Access, "h1").await;
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(99)).await.expect("an answer").is_some());
        assert!(db.ledger.session_by_hash(SessionKind::Access, "h1", at(100)).await.expect("an answer").is_none());
        assert!(db.ledger.session_by_hash(SessionKind::Refresh, "h1", at(1)).await.expect("an answer").is_none());
        db.ledger.revoke_sessions(&[session], at(5)).await.expect("revoked");
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
