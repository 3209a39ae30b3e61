//! What a process that died leaves to the next one.

use std::{fs, os::unix::fs::FileExt};

use spool::{Durability, ReadError};
use tempfile::TempDir;

use crate::house::{begin, crashed, dataset, files_below, kept, key, noted, open, receive};

#[test]
fn the_next_start_puts_what_was_acknowledged_in_its_place() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 70_000);
    let mut incoming = begin(&spool, "1.2.3.4");
    incoming.write(&sent).unwrap();
    let noted = noted(incoming.end().unwrap());
    assert!(!spool.holds(&key("1.2.3.4")).unwrap(), "its file follows");
    let after = crashed(folder.path());
    let reopened = open(after.path(), Durability::Power);
    assert_eq!(reopened.unrecorded(), [key("1.2.3.4")]);
    assert!(reopened.read(&key("1.2.3.4")).unwrap().ends_with(&sent));
    kept(noted.place().unwrap());
    assert!(spool.read(&key("1.2.3.4")).unwrap().ends_with(&sent));
}

#[test]
fn a_file_that_the_disk_lost_comes_back_from_the_journal() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 70_000);
    let _kept = kept(receive(&spool, "1.2.3.4", &sent));
    for damage in ["missing", "cut", "empty", "blocks"] {
        let after = crashed(folder.path());
        let path = after
            .path()
            .join("spool")
            .join(spool.path_of(&key("1.2.3.4")).strip_prefix(folder.path().join("spool")).unwrap());
        match damage {
            "missing" => fs::remove_dir_all(path.ancestors().nth(3).unwrap()).unwrap(),
            "cut" => fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap(),
            "blocks" => {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&[0; 9000], 20_000).unwrap();
            }
            _ => fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap(),
        }
        let reopened = open(after.path(), Durability::Power);
        assert_eq!(reopened.unrecorded(), [key("1.2.3.4")], "{damage}");
        assert!(reopened.read(&key("1.2.3.4")).unwrap().ends_with(&sent), "{damage}");
    }
}

#[test]
fn an_acknowledged_instance_that_never_got_its_place_is_the_next_starts() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 100);
    let mut incoming = begin(&spool, "1.2.3.4");
    incoming.write(&sent).unwrap();
    drop(noted(incoming.end().unwrap()));
    assert!(spool.owed().is_empty(), "there is no file to record it from");
    drop(spool);
    let reopened = open(folder.path(), Durability::Power);
    assert_eq!(reopened.unrecorded(), [key("1.2.3.4")]);
    assert!(reopened.read(&key("1.2.3.4")).unwrap().ends_with(&sent));
}

#[test]
fn what_is_being_written_has_no_name_or_one_that_the_next_start_removes() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Process);
    let mut half = begin(&spool, "1.2.3.4");
    half.write(&dataset("1.2.3.4", "P1", 3 << 20)[..2 << 20]).unwrap();
    assert_eq!(spool.walk().count(), 0);
    fs::write(folder.path().join("spool/tmp/7.part"), "of a file system that has no files without a name")
        .unwrap();
    let after = crashed(folder.path());
    let reopened = open(after.path(), Durability::Process);
    assert_eq!(files_below(&after.path().join("spool/tmp")), 0);
    assert_eq!(reopened.walk().count(), 0);
}

#[test]
fn after_a_crash_the_unrecorded_are_named_until_they_are_reconciled() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Process);
    let recorded = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    spool.recorded(recorded.receipt);
    let _lost = kept(receive(&spool, "1.2.3.5", &dataset("1.2.3.5", "P1", 3 << 20)));
    let after = crashed(folder.path());
    let first = open(after.path(), Durability::Process);
    assert_eq!(first.unrecorded(), [key("1.2.3.4"), key("1.2.3.5")]);
    drop(first);
    let second = open(after.path(), Durability::Process);
    assert_eq!(second.unrecorded().len(), 2, "nobody has reconciled yet");
    second.reconciled().unwrap();
    drop(second);
    assert!(open(after.path(), Durability::Process).unrecorded().is_empty());
}

#[test]
fn a_clean_end_leaves_nothing_to_replay() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    spool.recorded(kept.receipt);
    drop(spool);
    assert!(open(folder.path(), Durability::Power).unrecorded().is_empty());
}

#[test]
fn a_deleted_instance_does_not_come_back() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let _kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    spool.delete(&key("1.2.3.4")).unwrap();
    assert!(matches!(spool.read(&key("1.2.3.4")), Err(ReadError::Missing)));
    assert!(!spool.path_of(&key("1.2.3.4")).ancestors().nth(2).unwrap().exists(), "empty folders go, too");
    let after = crashed(folder.path());
    let reopened = open(after.path(), Durability::Power);
    assert!(reopened.unrecorded().is_empty());
    assert!(!reopened.holds(&key("1.2.3.4")).unwrap());
}
