use std::time::Duration;

use ledger::{BootId, Claimed, IdempotencyClaim, KeptAnswer, Ledger, NewIdempotencyClaim, NodeId};

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

const PATIENCE: Duration = Duration::from_secs(600);

struct Asked<'a> {
    caller: &'a str,
    body: &'a str,
    boot: &'a str,
    node: &'a str,
}

const ASKED: Asked<'_> = Asked { caller: "key:1", body: "{}", boot: "boot", node: "node" };

async fn claim(ledger: &Ledger, asked: &Asked<'_>, second: u64) -> Claimed {
    let (node, boot) = (NodeId::new(asked.node), BootId::new(asked.boot));
    let new = NewIdempotencyClaim {
        caller: asked.caller,
        key: "patient 4711",
        method: "POST",
        address: "/v1/batches",
        body: asked.body.as_bytes(),
        node: &node,
        boot: &boot,
    };
    ledger.claim_idempotency_key(&new, PATIENCE, at(second)).await.expect("an answer")
}

async fn first(ledger: &Ledger) -> IdempotencyClaim {
    match claim(ledger, &ASKED, 1).await {
        Claimed::First(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer { status: 202, content_type: Some("application/json".to_owned()), body: Some(body.to_owned()) }
}

on_both! {
    async fn a_key_is_claimed_once_and_answers_for_a_day(db: TestDb) {
        let mine = first(&db.ledger).await;
        assert_eq!(claim(&db.ledger, &ASKED, 2).await, Claimed::Open);
        db.ledger.keep_answer(&mine, &answer("{\"id\":1}")).await.expect("kept");
        let kept = Claimed::Answered(answer("{\"id\":1}"));
        assert_eq!(claim(&db.ledger, &Asked { boot: "the next one", ..ASKED }, 3).await, kept);
        assert_eq!(claim(&db.ledger, &Asked { body: "[]", ..ASKED }, 3).await, Claimed::OtherRequest);
        assert!(matches!(claim(&db.ledger, &Asked { caller: "key:2", ..ASKED }, 3).await, Claimed::First(_)));
        assert_eq!(claim(&db.ledger, &ASKED, 24 * 60 * 60).await, kept);
        assert!(matches!(claim(&db.ledger, &ASKED, 24 * 60 * 60 + 2).await, Claimed::First(_)));
        let named = db.texts("select '1' from idempotency_claim where claim_id like '%4711%' or caller like '%4711%'");
        assert!(named.await.is_empty(), "the text of a key is kept");
    }

    async fn of_many_who_claim_at_once_one_is_first(db: TestDb) {
        let claims = (0..20).map(|_| {
            let ledger = db.ledger.clone();
            tokio::spawn(async move { claim(&ledger, &ASKED, 1).await })
        });
        let mut firsts = 0;
        for claimed in claims.collect::<Vec<_>>() {
            match claimed.await.expect("no panic") {
                Claimed::First(_) => firsts += 1,
                other => assert_eq!(other, Claimed::Open),
            }
        }
        assert_eq!(firsts, 1);
    }

    async fn what_a_dead_process_began_is_unknown_and_never_begun_again(db: TestDb) {
        first(&db.ledger).await;
        assert_eq!(claim(&db.ledger, &Asked { boot: "the next one", ..ASKED }, 2).await, Claimed::Unknown);
        // Another node may be at work still, for as long as a request can take.
        let other = Asked { node: "other", ..ASKED };
        assert_eq!(claim(&db.ledger, &other, 2).await, Claimed::Open);
        assert_eq!(claim(&db.ledger, &other, 602).await, Claimed::Unknown);
    }

    async fn a_key_that_is_given_back_is_free_and_one_left_unknown_is_not(db: TestDb) {
        let mine = first(&db.ledger).await;
        db.ledger.give_back_idempotency_key(&mine).await.expect("given back");
        let mine = first(&db.ledger).await;
        db.ledger.leave_unknown(&mine).await.expect("noted");
        assert_eq!(claim(&db.ledger, &ASKED, 2).await, Claimed::Unknown);
        // Nothing that comes late makes it known again.
        db.ledger.give_back_idempotency_key(&mine).await.expect("no harm");
        db.ledger.keep_answer(&mine, &answer("{}")).await.expect("no harm");
        assert_eq!(claim(&db.ledger, &ASKED, 3).await, Claimed::Unknown);
    }

    async fn an_answer_that_is_too_long_is_remembered_without_its_body(db: TestDb) {
        let mine = first(&db.ledger).await;
        db.ledger.keep_answer(&mine, &answer(&"x".repeat(65_537))).await.expect("kept");
        assert_eq!(claim(&db.ledger, &ASKED, 2).await, Claimed::Answered(KeptAnswer { body: None, ..answer("") }));
    }
}
