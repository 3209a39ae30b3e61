//! What the spool promises, tried from outside.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]

use std::{collections::BTreeSet, ffi::OsString, fs, os::unix::fs::FileExt, path::Path};

use imaging::{SopClassUid, SopInstanceUid, Uid};
use spool::{
    Durability, Ended, Fault, FileMeta, Incoming, InstanceKey, KeepError, Noted, Outcome, ReadError, Spool,
    SpoolConfig,
};
use tempfile::TempDir;

const CLASS: &str = "1.2.840.10008.5.1.4.1.1.4";

/// A small explicit little endian data set; `pixels` bytes of it are pixel data.
fn dataset(instance: &str, patient: &str, pixels: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (group, number, vr, value) in [
        (0x0008_u16, 0x0016_u16, b"UI", CLASS),
        (0x0008, 0x0018, b"UI", instance),
        (0x0010, 0x0020, b"LO", patient),
        (0x0020, 0x000D, b"UI", "1.2.3.1"),
        (0x0020, 0x000E, b"UI", "1.2.3.2"),
    ] {
        let padding = if vr == b"UI" { 0 } else { b' ' };
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), padding);
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(vr);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&value);
    }
    out.extend_from_slice(&[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0]);
    out.extend_from_slice(&u32::try_from(pixels).unwrap().to_le_bytes());
    out.extend((0..pixels).map(|index| (index % 251) as u8));
    out
}

fn config(folder: &Path, durability: Durability) -> SpoolConfig {
    SpoolConfig {
        durability,
        min_free_bytes: 0,
        journal_bytes: 48 << 20,
        ..SpoolConfig::new(folder.join("spool"), folder.join("quarantine"))
    }
}

fn open(folder: &Path, durability: Durability) -> Spool {
    Spool::open(config(folder, durability)).unwrap()
}

fn begin(spool: &Spool, instance: &str) -> Incoming {
    let meta = FileMeta {
        sop_class: SopClassUid::parse(CLASS).unwrap(),
        sop_instance: SopInstanceUid::parse(instance).unwrap(),
        transfer_syntax: Uid::parse("1.2.840.10008.1.2.1").unwrap(),
        calling_ae_title: "MODALITY".to_owned(),
    };
    spool.receive(meta).unwrap()
}

fn receive(spool: &Spool, instance: &str, bytes: &[u8]) -> Outcome {
    let mut incoming = begin(spool, instance);
    for chunk in bytes.chunks(16_001) {
        incoming.write(chunk).unwrap();
    }
    incoming.finish().unwrap()
}

#[track_caller]
fn kept(outcome: Outcome) -> spool::Kept {
    match outcome {
        Outcome::Kept(kept) => kept,
        other => panic!("not kept: {other:?}"),
    }
}

fn files_below(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn key(instance: &str) -> InstanceKey {
    InstanceKey {
        study: "1.2.3.1".parse().unwrap(),
        series: "1.2.3.2".parse().unwrap(),
        sop_instance: instance.parse().unwrap(),
    }
}

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

#[track_caller]
fn noted(ended: Ended) -> Noted {
    match ended {
        Ended::Noted(noted) => *noted,
        other => panic!("not in the journal: {other:?}"),
    }
}

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

/// A copy of the spool's folder as a process that dies now would leave it.
fn crashed(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    let status =
        std::process::Command::new("cp").arg("-a").arg(folder.join(".")).arg(copy.path()).status().unwrap();
    assert!(status.success());
    copy
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
fn a_clean_end_leaves_nothing_to_replay() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path(), Durability::Power);
    let kept = kept(receive(&spool, "1.2.3.4", &dataset("1.2.3.4", "P1", 100)));
    spool.recorded(kept.receipt);
    drop(spool);
    assert!(open(folder.path(), Durability::Power).unrecorded().is_empty());
}

/// The segments of the journal by name.
/// Segments that the journal of these tests has.
const SEGMENTS: usize = 24;

fn segments(folder: &Path) -> BTreeSet<OsString> {
    let journal = fs::read_dir(folder.join("spool/journal")).unwrap();
    journal.map(|entry| entry.unwrap().file_name()).collect()
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
