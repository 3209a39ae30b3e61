//! What is kept comes back, and what cannot be kept leaves nothing.

use std::fs;

use spool::{Durability, Fault, KeepError, Outcome, ReadError, Spool, SpoolConfig};
use tempfile::TempDir;

use crate::house::{begin, config, dataset, files_below, kept, open, receive};

#[test]
fn the_data_set_comes_back_byte_for_byte_whatever_its_size() {
    for durability in [Durability::Power, Durability::Process] {
        let folder = TempDir::new().unwrap();
        let spool = open(folder.path(), durability);
        for (number, pixels) in [2, 131_072, 1 << 20, 5 << 20].into_iter().enumerate() {
            let instance = format!("1.2.3.3.{number}");
            let sent = dataset(&instance, "P1", pixels);
            let kept = kept(receive(&spool, &instance, &sent));
            let file = spool.read(&kept.key).unwrap();
            assert_eq!(file.len() as u64, kept.size_bytes);
            assert!(file.ends_with(&sent), "{durability:?} {pixels}");
            assert_eq!(kept.header.patient.id, "P1");
            spool.recorded(kept.receipt);
        }
        assert_eq!(files_below(&folder.path().join("spool/tmp")), 0);
    }
}

#[test]
fn the_same_data_set_again_is_no_second_instance() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let sent = dataset("1.2.3.4", "P1", 100);
    let first = kept(receive(&spool, "1.2.3.4", &sent));
    assert!(matches!(receive(&spool, "1.2.3.4", &sent), Outcome::Same(same) if same.digest == first.digest));
    assert_eq!(files_below(&folder.path().join("quarantine")), 0);
}

#[test]
fn what_cannot_be_used_is_quarantined_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Process);
    let whole = dataset("1.2.3.4", "P1", 100);
    for (bytes, fault) in [
        (&whole[..whole.len() - 1], "the data set ends inside an element"),
        (&whole[..34], "SOP Instance UID (0008,0018) is missing"),
        (&[0x12; 300][..], "element (1212,1212) has no valid value representation"),
        (&[][..], "SOP Class UID (0008,0016) is missing"),
    ] {
        let Outcome::Unusable(unusable) = receive(&spool, "1.2.3.4", bytes) else { panic!("usable") };
        assert_eq!(unusable.fault.to_string(), fault);
        let note = fs::read_to_string(unusable.quarantined.with_extension("json")).unwrap();
        assert!(note.contains(fault), "{note}");
    }
    let Outcome::Unusable(unusable) = receive(&spool, "1.2.3.5", &whole) else { panic!("usable") };
    assert!(matches!(unusable.fault, Fault::Disagrees(_)));
    assert!(spool.walk().next().is_none());
}

#[test]
fn an_instance_that_is_dropped_half_way_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let mut incoming = begin(&spool, "1.2.3.4");
    incoming.write(&dataset("1.2.3.4", "P1", 3 << 20)[..2 << 20]).unwrap();
    drop(incoming);
    assert_eq!(files_below(&folder.path().join("spool/tmp")), 0);
    assert!(spool.walk().next().is_none());
}

#[test]
fn below_the_watermark_nothing_is_accepted() {
    let folder = TempDir::new().unwrap();
    let config = SpoolConfig { min_free_bytes: u64::MAX, ..config(folder.path(), Durability::Process) };
    let spool = Spool::open(config).unwrap();
    assert!(matches!(spool.check_space(), Err(KeepError::Full)));
}

#[test]
fn two_processes_cannot_open_one_spool() {
    let folder = TempDir::new().unwrap();
    let _spool = open(folder.path(), Durability::Process);
    let error = Spool::open(config(folder.path(), Durability::Process)).unwrap_err();
    assert!(error.to_string().contains("another process uses the spool"));
}

#[test]
fn damage_on_the_disk_is_found_when_reading() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Process);
    let kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    let path = spool.path_of(&kept.key);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.read(&kept.key), Err(ReadError::Damaged)));
}

#[test]
fn a_whole_file_can_be_put_and_put_again() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let first = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    let file = spool.read(&first.key).unwrap();
    let other = TempDir::new().unwrap();
    let second = open(other.path(), Durability::Power);
    let put = kept(second.put(&file).unwrap());
    assert_eq!((put.digest, &put.key), (first.digest, &first.key));
    assert!(matches!(second.put(&file).unwrap(), Outcome::Same(_)));
    assert!(second.put(b"no file").is_err());
}

#[test]
fn associations_share_the_spool_without_losing_or_doubling() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let spool = spool.clone();
            scope.spawn(move || {
                for number in 0..25 {
                    // Every second instance is sent by all four.
                    let instance = if number % 2 == 0 {
                        format!("1.2.3.4.{number}")
                    } else {
                        format!("1.2.3.{thread}9.{number}")
                    };
                    if let Outcome::Kept(kept) = receive(&spool, &instance, &dataset(&instance, "P1", 20_000))
                    {
                        spool.recorded(kept.receipt);
                    }
                }
            });
        }
    });
    assert_eq!(spool.walk().filter(Result::is_ok).count(), 13 + 4 * 12);
    assert_eq!(files_below(&folder.path().join("quarantine")), 0);
    assert_eq!(files_below(&folder.path().join("spool/tmp")), 0);
}
