//! House rules, read from the live schema of both backends.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{
    BatchItemState, ClaimState, Decision, DeliveryState, Door, Ending, FailureKind, HoldReason, JobState,
    Outcome, QuarantineReason, RecipientKind, RejectionReason, RequestState, RetrainingState, ReviewState,
    Role, SessionKind,
};

use crate::database::TestDb;
use crate::examples::{at, instance, must_claim, new_result, open_association, study, study_with_job};
use crate::on_both;

const SQLITE_COLUMNS: &str = "
    select m.name, c.name, lower(c.type), cast(c.\"notnull\" or c.pk > 0 as text)
    from sqlite_master m join pragma_table_info(m.name) c
    where m.type = 'table' and m.name not like 'sqlite%' and m.name not like '_sqlx%'";
const POSTGRES_COLUMNS: &str = "
    select table_name::text, column_name::text, case data_type when 'bigint' then 'integer' else data_type::text end,
           case is_nullable when 'NO' then '1' else '0' end
    from information_schema.columns
    where table_schema = 'public' and table_name not like '\\_sqlx%'";

const SQLITE_FOREIGN_KEYS: &str = "
    select m.name, f.\"from\", f.\"table\"
    from sqlite_master m join pragma_foreign_key_list(m.name) f
    where m.type = 'table'";
const POSTGRES_FOREIGN_KEYS: &str = "
    select c.conrelid::regclass::text, a.attname::text, c.confrelid::regclass::text
    from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey)
    where c.contype = 'f'";

const SQLITE_INDEXES: &str =
    "select tbl_name, name from sqlite_master where type = 'index' and sql is not null";
const POSTGRES_INDEXES: &str = "
    select i.tablename::text, i.indexname::text from pg_indexes i
    where i.schemaname = 'public' and i.tablename not like '\\_sqlx%'
      and not exists (select 1 from pg_constraint c where c.conname = i.indexname)";

const SQLITE_DEFINITIONS: &str = "select name, sql from sqlite_master where type = 'table'";
const POSTGRES_DEFINITIONS: &str = "
    select conrelid::regclass::text, string_agg(pg_get_constraintdef(oid), ' ') from pg_constraint
    where contype = 'c' group by conrelid";

async fn ask(db: &TestDb, sqlite: &str, postgres: &str) -> BTreeSet<Vec<String>> {
    let rows = db.texts(if db.is_sqlite() { sqlite } else { postgres }).await;
    rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
}

async fn columns(db: &TestDb) -> BTreeSet<Vec<String>> {
    ask(db, SQLITE_COLUMNS, POSTGRES_COLUMNS).await
}

#[tokio::test]
async fn both_backends_have_the_same_tables_columns_keys_and_indexes() {
    let (sqlite, postgres) = (TestDb::sqlite().await, TestDb::postgres().await);
    assert!(columns(&sqlite).await.len() > 100);
    assert_eq!(columns(&sqlite).await, columns(&postgres).await);
    let foreign_keys = |db| ask(db, SQLITE_FOREIGN_KEYS, POSTGRES_FOREIGN_KEYS);
    assert_eq!(foreign_keys(&sqlite).await, foreign_keys(&postgres).await);
    let indexes = |db| ask(db, SQLITE_INDEXES, POSTGRES_INDEXES);
    assert_eq!(indexes(&sqlite).await, indexes(&postgres).await);
}

on_both! {
    async fn every_study_uid_column_has_a_foreign_key(db: TestDb) {
        let keys = ask(&db, SQLITE_FOREIGN_KEYS, POSTGRES_FOREIGN_KEYS).await;
        let mut checked = 0;
        for column in columns(&db).await.iter().filter(|column| column[1] == "study_uid" && column[0] != "study") {
            let key = vec![column[0].clone(), "study_uid".to_owned(), "study".to_owned()];
            assert!(keys.contains(&key), "{} has a study_uid that points nowhere", column[0]);
            checked += 1;
        }
        assert!(checked >= 8, "only {checked} tables were checked");
    }

    async fn every_column_is_an_integer_or_text(db: TestDb) {
        for column in columns(&db).await {
            assert!(["integer", "text"].contains(&column[2].as_str()), "{column:?}");
        }
    }

    async fn the_words_of_enums_are_those_of_the_checks(db: TestDb) {
        let definitions: BTreeMap<String, String> = ask(&db, SQLITE_DEFINITIONS, POSTGRES_DEFINITIONS)
            .await
            .into_iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect();
        fn words<T: ToString>(all: &[T]) -> BTreeSet<String> {
            all.iter().map(T::to_string).collect()
        }
        for (table, column, expected) in [
            ("association", "door", words(Door::ALL)),
            ("association", "ending", words(Ending::ALL)),
            ("hold", "reason", words(HoldReason::ALL)),
            ("quarantined", "reason", words(QuarantineReason::ALL)),
            ("job", "state", words(JobState::ALL)),
            ("job", "failure_kind", words(FailureKind::ALL)),
            ("result", "outcome", words(Outcome::ALL)),
            ("delivery", "state", words(DeliveryState::ALL)),
            ("account", "role", words(Role::ALL)),
            ("api_key", "role", words(Role::ALL)),
            ("session", "kind", words(SessionKind::ALL)),
            ("result", "review_state", words(ReviewState::ALL)),
            ("batch_item", "state", words(BatchItemState::ALL)),
            ("retraining", "state", words(RetrainingState::ALL)),
            ("segmentation_request", "state", words(RequestState::ALL)),
            ("idempotency_claim", "state", words(ClaimState::ALL)),
            ("push_recipient", "kind", words(RecipientKind::ALL)),
            ("review", "decision", words(Decision::ALL)),
            ("review", "reason", words(RejectionReason::ALL)),
        ] {
            assert_eq!(allowed_words(&definitions[table], column), expected, "{table}.{column}");
        }
    }

    async fn nothing_names_the_patient_of_a_forgotten_study(db: TestDb) {
        let association = open_association(&db.ledger).await;
        let mut stranger = instance(association, 1, 1, 5);
        stranger.header.facts.patient.id = "SEACOLE-1".to_owned();
        let job = study_with_job(&db.ledger, 1).await;
        db.ledger.record_instances(&[stranger]).await.expect("recorded");
        let lease = must_claim(&db.ledger, "w", at(3)).await.lease;
        db.ledger.compute_job(lease, &new_result(1), at(4)).await.expect("an answer").expect("kept");
        db.ledger.cancel_job(job, "admin", None, at(5)).await.expect("cancelled");
        assert!(!tables_naming(&db, &["Nightingale", "SEACOLE", "18200512"]).await.is_empty());

        db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("forgotten");

        let naming = tables_naming(&db, &["Nightingale", "SEACOLE", "18200512"]).await;
        assert!(naming.is_empty(), "still named in {naming:?}");
    }

    async fn a_state_that_is_none_cannot_be_written(db: TestDb) {
        study_with_job(&db.ledger, 1).await;
        let (ledger, url) = (&db.ledger, db.url.clone());
        let attempt = tokio::spawn(async move {
            let db = TestDb::at(url).await;
            db.execute("update job set state = 'sleeping'").await;
        });
        assert!(attempt.await.is_err(), "the schema let it through");
        let counts = ledger.queue_counts().await.expect("an answer");
        assert_eq!(counts[0].state, JobState::Queued);
    }
}

/// The words that a CHECK allows for a column, whichever way the backend prints it.
fn allowed_words(definition: &str, column: &str) -> BTreeSet<String> {
    let sqlite = format!("{column} in (");
    let postgres = format!("({column} = ANY (ARRAY[");
    let found = definition.find(&sqlite).map(|start| (start + sqlite.len(), ')'));
    let found = found.or_else(|| definition.find(&postgres).map(|start| (start + postgres.len(), ']')));
    let (start, end) = found.unwrap_or_else(|| panic!("no list of words for {column} in {definition}"));
    let list = &definition[start..];
    let list = &list[..list.find(end).expect("the list ends")];
    list.split(',').map(|word| word.split('\'').nth(1).unwrap_or_default().to_owned()).collect()
}

/// Tables of which a text column holds one of the needles.
async fn tables_naming(db: &TestDb, needles: &[&str]) -> BTreeSet<String> {
    let mut naming = BTreeSet::new();
    for column in columns(db).await.iter().filter(|column| column[2] == "text") {
        for needle in needles {
            let (table, name) = (&column[0], &column[1]);
            let found =
                db.texts(&format!("select '1' from {table} where {name} like '%{needle}%' limit 1")).await;
            if !found.is_empty() {
                naming.insert(format!("{table}.{name}"));
            }
        }
    }
    naming
}
