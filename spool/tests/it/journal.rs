//! The intake journal: its segments, and the receipts that hold them.

use std::{fs, os::unix::fs::FileExt};

use spool::{Durability, KeepError, Spool, SpoolConfig};
use tempfile::TempDir;

use crate::house::{
    SEGMENTS, begin, config, crashed, dataset, files_below, kept, key, open, receive, segments,
};

#[test]
fn the_journal_of_another_version_is_not_passed_over() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let _kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    let after = crashed(folder.path());
    let journal = fs::read_dir(after.path().join("spool/journal")).unwrap();
    let written = journal.map(|entry| entry.unwrap().path()).min().unwrap();
    fs::File::options().write(true).open(written).unwrap().write_all_at(b"OVRDSEG2", 0).unwrap();
    let refused = Spool::open(config(after.path(), Durability::Power)).unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("another version"), "{refused}: {cause}");
}

#[test]
fn whoever_drops_a_receipt_leaves_the_instance_to_others_and_does_not_stop_the_journal() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    drop(kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100))));
    let owed = |spool: &Spool| {
        spool.owed().into_iter().map(|(key, receipt)| (key, drop(receipt)).0).collect::<Vec<_>>()
    };
    assert_eq!(owed(&spool), [key("1.2.3.4")]);
    assert_eq!(owed(&spool), [key("1.2.3.4")], "nobody has recorded it yet");
    let after = crashed(folder.path());
    assert_eq!(open(after.path(), Durability::Power).unrecorded(), [key("1.2.3.4")]);
    for (_, receipt) in spool.owed() {
        spool.recorded(receipt);
    }
    assert_eq!(owed(&spool), []);
    for number in 0..150 {
        let instance = format!("1.2.3.5.{number}");
        spool.recorded(kept(receive(&spool, &instance, &dataset(&instance, "P1", 500_000))).receipt);
    }
}

#[test]
fn a_segment_whose_making_was_cut_short_is_passed_over() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 100);
    let _kept = kept(receive(&spool, "1.2.3.4", &sent));
    let after = crashed(folder.path());
    for next in 2..5 {
        fs::write(after.path().join(format!("spool/journal/{next:016x}.log")), [0; 4096]).unwrap();
    }
    let reopened = open(after.path(), Durability::Power);
    assert_eq!(reopened.unrecorded(), [key("1.2.3.4")]);
    let _kept = kept(receive(&reopened, "1.2.3.5", &dataset("1.2.3.5", "P1", 100)));
    reopened.reconciled().unwrap();
    let after = crashed(after.path());
    assert_eq!(
        open(after.path(), Durability::Power).unrecorded(),
        [key("1.2.3.5")],
        "its segment was not removed"
    );
}

#[test]
fn a_start_finds_the_journal_that_the_last_one_laid_out() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    while segments(folder.path()).len() < SEGMENTS {
        std::thread::yield_now();
    }
    let kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    spool.recorded(kept.receipt);
    drop(spool);
    let laid_out = segments(folder.path());
    let again = open(folder.path(), Durability::Power);
    assert!(again.unrecorded().is_empty());
    for number in 0..200 {
        let instance = format!("1.2.3.5.{number}");
        let kept = self::kept(receive(&again, &instance, &dataset(&instance, "P1", 200_000)));
        again.recorded(kept.receipt);
    }
    drop(again);
    assert_eq!(segments(folder.path()), laid_out);
    let third = open(folder.path(), Durability::Power);
    let _kept = self::kept(receive(&third, "1.2.3.6", &dataset("1.2.3.6", "P1", 100)));
    let after = crashed(folder.path());
    assert_eq!(
        open(after.path(), Durability::Power).unrecorded(),
        [key("1.2.3.6")],
        "and nothing of earlier"
    );
    drop(third);
    let process = open(folder.path(), Durability::Process);
    assert_eq!(process.unrecorded(), [key("1.2.3.6")]);
    process.reconciled().unwrap();
    assert!(segments(folder.path()).is_disjoint(&laid_out), "nothing is laid out without need");
}

#[test]
fn segments_of_a_process_that_died_are_used_again_once_reconciled() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    while segments(folder.path()).len() < SEGMENTS {
        std::thread::yield_now();
    }
    let _kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    let after = crashed(folder.path());
    let left = segments(after.path());
    let reopened = open(after.path(), Durability::Power);
    assert_eq!(reopened.unrecorded(), [key("1.2.3.4")]);
    reopened.reconciled().unwrap();
    reopened.delete(&key("1.2.3.4")).unwrap();
    drop(reopened);
    let again = open(after.path(), Durability::Power);
    assert!(again.unrecorded().is_empty(), "what was freed does not count any more");
    assert!(!again.holds(&key("1.2.3.4")).unwrap());
    assert!(segments(after.path()).intersection(&left).count() > 6);
}

#[test]
fn without_room_for_the_journal_the_spool_opens_and_takes_nothing_in() {
    let folder = TempDir::new().unwrap();
    let config = SpoolConfig { journal_bytes: 1 << 60, ..config(folder.path(), Durability::Power) };
    let spool = Spool::open(config).unwrap();
    for _ in 0..2 {
        let mut incoming = begin(&spool, "1.2.3.4");
        incoming.write(&dataset("1.2.3.4", "P1", 100)).unwrap();
        let error = incoming.finish().unwrap_err();
        assert!(matches!(error, KeepError::Full), "{error}");
    }
    for empty in ["tmp", "journal"] {
        assert_eq!(files_below(&folder.path().join("spool").join(empty)), 0, "{empty}");
    }
    assert_eq!(spool.walk().count(), 0);
}

#[test]
fn the_journal_goes_round_when_the_ledger_keeps_up() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    for number in 0..150 {
        let instance = format!("1.2.3.4.{number}");
        let kept = kept(receive(&spool, &instance, &dataset(&instance, "P1", 500_000)));
        spool.recorded(kept.receipt);
    }
    assert_eq!(spool.walk().filter(Result::is_ok).count(), 150);
    assert!(segments(folder.path()).len() <= SEGMENTS);
}
