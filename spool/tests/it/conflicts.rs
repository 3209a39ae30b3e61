//! Several data sets with one UID.

use std::{fs, os::unix::fs::FileExt};

use spool::{Durability, Outcome};
use tempfile::TempDir;

use crate::house::{begin, crashed, dataset, files_below, kept, key, noted, open, receive};

#[test]
fn another_data_set_with_the_uid_is_quarantined_and_the_first_stays() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let first = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    let Outcome::Conflict(conflict) = receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P2", 100)) else {
        panic!("no conflict")
    };
    assert!(conflict.identity_differs());
    assert!(conflict.quarantined.exists() && conflict.quarantined.with_extension("json").exists());
    assert!(spool.read(&first.key).unwrap().ends_with(&dataset("1.2.3.4", "P1", 100)));
    let Outcome::Conflict(conflict) = receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 102)) else {
        panic!("no conflict")
    };
    assert!(!conflict.identity_differs());
}

#[test]
fn a_conflict_can_be_decided_for_the_second_one() {
    for durability in [Durability::Power, Durability::Process] {
        let folder = TempDir::new().unwrap();
        let spool = open(folder.path(), durability);
        let (first, second) = (dataset("1.2.3.4", "P1", 100), dataset("1.2.3.4", "P1", 102));
        let kept = kept(receive(&spool, "1.2.3.4", &first));
        let Outcome::Conflict(conflict) = receive(&spool, "1.2.3.4", &second) else { panic!("no conflict") };
        let replaced = spool.replace(&conflict).unwrap();
        assert!(spool.read(&key("1.2.3.4")).unwrap().ends_with(&second));
        assert_eq!(fs::read(spool.path_of(&key("1.2.3.4"))).unwrap().len() as u64, replaced.size_bytes);
        assert!(fs::read(&replaced.quarantined).unwrap().ends_with(&first));
        assert_eq!(files_below(&folder.path().join("quarantine")), 2, "the first one and its reason");
        assert!(matches!(receive(&spool, "1.2.3.4", &second), Outcome::Same(_)));
        spool.recorded(kept.receipt);
        let after = crashed(folder.path());
        let reopened = open(after.path(), durability);
        assert_eq!(reopened.unrecorded(), [key("1.2.3.4")], "the ledger may know the first one only");
        assert!(
            reopened.read(&key("1.2.3.4")).unwrap().ends_with(&second),
            "nothing brings the first one back"
        );
        spool.recorded(replaced.receipt);
    }
}

#[test]
fn what_is_set_aside_is_out_of_service_and_kept() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 100);
    let kept = kept(receive(&spool, "1.2.3.4", &sent));
    let quarantined = spool.set_aside(&key("1.2.3.4"), "a reason").unwrap().unwrap();
    assert!(fs::read(&quarantined).unwrap().ends_with(&sent));
    let note = fs::read_to_string(quarantined.with_extension("json")).unwrap();
    assert!(note.contains("a reason") && note.contains("MODALITY"), "{note}");
    assert!(!spool.holds(&key("1.2.3.4")).unwrap());
    assert_eq!(spool.set_aside(&key("1.2.3.4"), "again").unwrap(), None);
    let after = crashed(folder.path());
    assert!(!open(after.path(), Durability::Power).holds(&key("1.2.3.4")).unwrap(), "it does not come back");
    spool.recorded(kept.receipt);
}

#[test]
fn a_second_one_of_a_uid_is_judged_when_the_first_is_in_its_place() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let mut incoming = begin(&spool, "1.2.3.4");
    incoming.write(&dataset("1.2.3.4", "P1", 100)).unwrap();
    let first = noted(incoming.end().unwrap());
    let second = std::thread::spawn({
        let spool = spool.clone();
        move || receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P2", 100))
    });
    std::thread::sleep(std::time::Duration::from_millis(50)); // it has the time to go wrong
    assert!(!second.is_finished(), "it was judged without the first");
    let _kept = kept(first.place().unwrap());
    assert!(matches!(second.join().unwrap(), Outcome::Conflict(_)));
    assert_eq!(spool.quarantined().unwrap().len(), 1);
}

#[test]
fn what_the_disk_has_damaged_gives_way_to_what_is_sent_again() {
    for damage in ["cut", "changed"] {
        let folder = TempDir::new().unwrap();
        let spool = open(folder.path(), Durability::Process);
        let sent = dataset("1.2.3.4", "P1", 70_000);
        let first = kept(receive(&spool, "1.2.3.4", &sent));
        spool.recorded(first.receipt);
        let file = fs::File::options().write(true).open(spool.path_of(&first.key)).unwrap();
        match damage {
            "cut" => file.set_len(1000).unwrap(),
            _ => file.write_all_at(&[0; 9000], 20_000).unwrap(),
        }
        let again = kept(receive(&spool, "1.2.3.4", &sent));
        assert!(spool.read(&first.key).unwrap().ends_with(&sent), "{damage}");
        assert_eq!(spool.quarantined().unwrap(), [again.damaged.unwrap()], "{damage}: what is left is kept");
        spool.recorded(again.receipt);
        assert!(matches!(receive(&spool, "1.2.3.4", &sent), Outcome::Same(_)), "{damage}");
    }
}

#[test]
fn of_two_that_take_the_same_place_at_once_none_is_lost() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Process);
    let sent: Vec<_> = (0..9).map(|extra| dataset("1.2.3.4", "P1", 100 + 2 * extra)).collect();
    let first = kept(receive(&spool, "1.2.3.4", &sent[0]));
    std::thread::scope(|scope| {
        for other in &sent[1..] {
            let spool = spool.clone();
            scope.spawn(move || {
                let Outcome::Conflict(conflict) = receive(&spool, "1.2.3.4", other) else {
                    panic!("no conflict")
                };
                spool.recorded(spool.replace(&conflict).unwrap().receipt);
            });
        }
    });
    let mut files: Vec<_> = spool.quarantined().unwrap();
    files.push(spool.path_of(&key("1.2.3.4")));
    let files: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for one in &sent {
        assert!(files.iter().any(|file| file.ends_with(one)), "an acknowledged data set is nowhere");
    }
    spool.recorded(first.receipt);
}
