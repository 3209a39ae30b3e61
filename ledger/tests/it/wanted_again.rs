use imaging::{SopInstanceUid, Uid};

use crate::database::TestDb;
use crate::examples::{at, instance, receive_study, study};
use crate::on_both;

async fn wanted(db: &TestDb) -> Vec<SopInstanceUid> {
    let wanted = db.ledger.wanted_again(10).await.expect("an answer");
    wanted.into_iter().map(|wanted| wanted.sop_instance).collect()
}

on_both! {
    async fn what_is_known_is_wanted_once_and_until_it_is_there(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let known = instance(association, 1, 1, 1).header.sop_instance;
        let unknown = SopInstanceUid::from(Uid::parse("1.2.3.999").expect("a UID"));
        db.ledger.want_again(&[known.clone(), unknown], at(5)).await.expect("noted");
        db.ledger.want_again(std::slice::from_ref(&known), at(6)).await.expect("noted");
        let all = db.ledger.wanted_again(10).await.expect("an answer");
        assert_eq!(all.len(), 1);
        let row = db.ledger.instance(&known).await.expect("an answer").expect("a row");
        assert_eq!((&all[0].sop_instance, all[0].since, &all[0].digest), (&known, at(5), &row.digest));
        db.ledger.no_longer_wanted(&[known]).await.expect("noted");
        assert_eq!(wanted(&db).await, []);
    }

    async fn a_forgotten_study_is_not_asked_for(db: TestDb) {
        let association = receive_study(&db.ledger, 1).await;
        let known = instance(association, 1, 1, 1).header.sop_instance;
        db.ledger.want_again(&[known], at(5)).await.expect("noted");
        assert_eq!(db.ledger.forget_study(&study(1), at(50), at(60)).await.expect("forgotten").len(), 2);
        assert_eq!(wanted(&db).await, []);
    }
}
