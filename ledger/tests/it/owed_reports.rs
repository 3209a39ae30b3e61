use imaging::Uid;
use ledger::{Ledger, NodeId, OwedReport};

use crate::database::TestDb;
use crate::examples::at;
use crate::on_both;

fn node() -> NodeId {
    NodeId::new("n1")
}

fn transaction(number: u32) -> Uid {
    Uid::parse(&format!("2.25.{number}")).expect("a UID")
}

async fn owe(ledger: &Ledger, number: u32, instance: &str, second: u64) {
    let asked = [("1.2.840.10008.5.1.4.1.1.4".to_owned(), instance.to_owned())];
    ledger.owe_report(&node(), "CT1", &transaction(number), &asked, at(second)).await.expect("taken down");
}

async fn due(ledger: &Ledger, second: u64) -> Vec<OwedReport> {
    ledger.owed_reports_due(&node(), 10, at(second)).await.expect("an answer")
}

on_both! {
    async fn a_report_is_owed_until_it_is_settled(db: TestDb) {
        owe(&db.ledger, 1, "1.2.3", 0).await;
        let owed = due(&db.ledger, 0).await.pop().expect("a report");
        assert_eq!((owed.requester.as_str(), owed.attempts, owed.asked[0].1.as_str()), ("CT1", 0, "1.2.3"));
        db.ledger.report_not_taken(&owed, at(15)).await.expect("noted");
        assert_eq!(due(&db.ledger, 14).await, []);
        assert_eq!(db.ledger.next_owed_report_due(&node()).await.expect("an answer"), Some(at(15)));
        let again = due(&db.ledger, 15).await.pop().expect("the same report");
        assert_eq!(again.attempts, 1);
        db.ledger.report_settled(&again).await.expect("noted");
        assert_eq!(due(&db.ledger, 1000).await, []);
        assert_eq!(db.ledger.next_owed_report_due(&node()).await.expect("an answer"), None);
    }

    async fn who_asks_again_meanwhile_is_told_about_the_later_request(db: TestDb) {
        owe(&db.ledger, 1, "1.2.3", 0).await;
        let under_way = due(&db.ledger, 0).await.pop().expect("a report");
        owe(&db.ledger, 1, "1.2.4", 5).await;
        db.ledger.report_settled(&under_way).await.expect("nothing of it is left");
        db.ledger.report_not_taken(&under_way, at(900)).await.expect("nothing of it is left");
        let owed = due(&db.ledger, 5).await;
        assert_eq!(owed.len(), 1);
        assert_eq!((owed[0].asked[0].1.as_str(), owed[0].attempts), ("1.2.4", 0));
    }

    async fn a_node_reports_what_its_own_spool_holds(db: TestDb) {
        owe(&db.ledger, 1, "1.2.3", 0).await;
        let other = NodeId::new("n2");
        assert_eq!(db.ledger.owed_reports_due(&other, 10, at(9)).await.expect("an answer"), []);
        assert_eq!(db.ledger.next_owed_report_due(&other).await.expect("an answer"), None);
    }
}
