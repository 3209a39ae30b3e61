//! Every way in which opening fails says what is wrong and what to do, in one sentence.

use ledger::{Durability, Ledger, OpenError};

use crate::database::{TestDb, postgres};
use crate::on_both;

async fn refusal(url: &str) -> OpenError {
    match Ledger::open(url, Durability::Power).await {
        Ok(_) => panic!("{url} opens"),
        Err(error) => error,
    }
}

#[track_caller]
fn says(error: &OpenError, words: &[&str]) {
    let sentence = error.to_string();
    for word in words {
        assert!(sentence.contains(word), "{sentence:?} does not say {word:?}");
    }
    assert!(!sentence.contains('\n'), "{sentence:?} is more than a line");
}

#[tokio::test]
async fn an_address_of_no_known_kind_is_named() {
    says(&refusal("mysql://localhost/overread").await, &["sqlite:PATH", "postgres://"]);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("not/there");
    says(
        &refusal(&format!("sqlite:{}/ledger.db", missing.display())).await,
        &["does not exist", "not/there", "create it"],
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    std::fs::create_dir(&path).expect("a folder in the file's place");
    let error = refusal(&format!("sqlite:{}", path.display())).await;
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    says(&error, &["cannot be written", "ledger.db"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let text = "not a database, but somebody's letter ".repeat(100);
    std::fs::write(&path, &text).expect("written");
    let error = refusal(&format!("sqlite:{}", path.display())).await;
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    says(&error, &["is not a SQLite database", "overread recover"]);
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}

#[tokio::test]
async fn a_server_that_is_down_is_named_without_the_password() {
    let error = refusal("postgres://overread:s3cret@127.0.0.1:1/overread").await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    says(&error, &["127.0.0.1:1/overread", "start it"]);
    assert!(!format!("{error:?}").contains("s3cret"), "the password is shown");
}

#[tokio::test]
async fn a_wrong_password_is_named() {
    let server = postgres();
    server.administer("create role stranger login password 'right'");
    let error = refusal(&server.url("stranger:wrong", "postgres")).await;
    assert!(matches!(error, OpenError::WrongPassword { .. }), "{error:?}");
    says(&error, &["refuses the user name or password"]);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let error = refusal(&postgres().url("overread", "nowhere")).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");
    says(&error, &["nowhere", "createdb"]);
}

on_both! {
    async fn a_ledger_opens_again_with_what_it_held(db: TestDb) {
        crate::examples::receive_study(&db.ledger, 1).await;
        db.ledger.close().await;
        let again = TestDb::at(db.url.clone()).await;
        assert!(again.ledger.study(&crate::examples::study(1)).await.expect("an answer").is_some());
        again.ledger.ping().await.expect("it answers");
    }

    async fn a_schema_of_a_newer_version_is_named(db: TestDb) {
        db.execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                    select 9999, description, success, checksum, execution_time from _sqlx_migrations limit 1").await;
        let error = refusal(&db.url).await;
        assert!(matches!(error, OpenError::Newer { found: 9999, .. }), "{error:?}");
        says(&error, &["newer Overread", "install that version"]);
    }

    async fn all_nodes_adopt_one_installation(db: TestDb) {
        let other = db.other_node().await;
        let (mine, theirs) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
        let now = crate::examples::at(1);
        let (one, two) = tokio::join!(db.ledger.adopt_installation(mine, now), other.adopt_installation(theirs, now));
        let (one, two) = (one.expect("an answer"), two.expect("an answer"));
        assert_eq!(one, two);
        assert!(one == mine || one == theirs);
    }

    async fn a_closed_ledger_answers_with_an_error(db: TestDb) {
        db.ledger.close().await;
        assert!(db.ledger.ping().await.is_err());
    }
}
