//! The spool and the ledger stay of one mind when the ledger refuses, forgets, or hears late.

use std::{fs, time::Duration};

use tempfile::TempDir;

use crate::{
    service::{Service, wait_until},
    wire::{EXPLICIT, MR, Raw, dataset},
};

const ROWS: &str = "select sop_instance_uid from instance order by sop_instance_uid";

fn rows(service: &Service) -> Vec<String> {
    service.ledger(ROWS).lines().map(str::to_owned).collect()
}

fn store(sender: &mut Raw, instance: &str, dataset: &[u8]) {
    assert_eq!(sender.store(MR, instance, dataset).unwrap(), 0, "{instance}");
}

/// The same instance in another study.
fn elsewhere(instance: &str) -> Vec<u8> {
    let mut bytes = dataset(instance, 100);
    let at = bytes.windows(8).position(|bytes| bytes == b"1.2.3.1\0").unwrap();
    bytes[at..at + 8].copy_from_slice(b"1.2.3.9\0");
    bytes
}

#[test]
fn a_row_that_is_refused_for_good_changes_nothing_for_the_others_and_is_made_by_the_next_start() {
    let folder = TempDir::new().unwrap();
    let mut service = Service::within(folder.path(), &["--durability", "process"]);
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    store(&mut sender, "1.2.3.4.9", &dataset("1.2.3.4.9", 100));
    wait_until("the first row", || rows(&service) == ["1.2.3.4.9"]);
    service.break_ledger(
        "create trigger refusal before insert on instance when new.sop_instance_uid = '1.2.3.4.1'
         begin select raise(abort, 'refused'); end",
    );
    let held = service.hold_ledger();
    store(&mut sender, "1.2.3.4.8", &dataset("1.2.3.4.8", 100));
    // Beyond what the writer waits for more: now it waits for the ledger, and what comes is one batch.
    std::thread::sleep(Duration::from_millis(500));
    store(&mut sender, "1.2.3.4.1", &dataset("1.2.3.4.1", 100));
    store(&mut sender, "1.2.3.4.2", &dataset("1.2.3.4.2", 100));
    store(&mut sender, "1.2.3.4.9", &elsewhere("1.2.3.4.9"));
    drop(held);
    sender.release();
    service.stop();
    assert_eq!(rows(&service), ["1.2.3.4.2", "1.2.3.4.8", "1.2.3.4.9"]);
    let in_service: Vec<_> =
        service.stored().iter().map(|path| path.file_stem().unwrap().to_owned()).collect();
    assert_eq!(in_service, ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.8", "1.2.3.4.9"]);
    assert_eq!(
        (service.quarantined(), service.ledger("select reason from quarantined").trim()),
        (1, "misplaced")
    );
    service.break_ledger("drop trigger refusal");
    service.restart();
    service.stop();
    assert_eq!(rows(&service), ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.8", "1.2.3.4.9"]);
}

#[test]
fn an_association_that_the_database_has_lost_is_opened_again() {
    let mut service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    store(&mut sender, "1.2.3.4.1", &dataset("1.2.3.4.1", 100));
    wait_until("the first row", || rows(&service).len() == 1);
    service.break_ledger("delete from association");
    store(&mut sender, "1.2.3.4.2", &dataset("1.2.3.4.2", 100));
    wait_until("the second row", || rows(&service).len() == 2);
    store(&mut sender, "1.2.3.4.3", &dataset("1.2.3.4.3", 100));
    sender.release();
    service.stop();
    assert_eq!(rows(&service), ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]);
    assert_eq!(service.ledger("select ending from association").trim(), "released");
}

#[test]
fn a_twin_is_compared_with_what_is_in_service_also_when_that_has_no_row_yet() {
    let first = dataset("1.2.3.4", 100);
    let mut second = first.clone();
    let at = second.windows(2).rposition(|bytes| bytes == b"T1").unwrap();
    second[at..at + 2].copy_from_slice(b"T2"); // another Patient ID
    let (other, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = Service::within(other.path(), &["--durability", "process"]);
    store(&mut Raw::associate(&source.address(), MR, EXPLICIT), "1.2.3.4", &first);
    wait_until("the file", || source.stored().len() == 1);
    let mut service = Service::within(folder.path(), &["--durability", "process"]);
    // Another door has put it there, and its row is late.
    let target = folder.path().join(source.stored()[0].strip_prefix(other.path()).unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(&source.stored()[0], &target).unwrap();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    store(&mut sender, "1.2.3.4", &second);
    sender.release();
    service.stop();
    assert_eq!((service.stored(), service.quarantined()), (vec![target.clone()], 1));
    let bytes = fs::metadata(&target).unwrap().len();
    assert_eq!(service.ledger("select size_bytes from instance").trim(), bytes.to_string());
    assert_eq!(service.ledger("select reason from quarantined").trim(), "twin");
    let holds = service.ledger("select reason from hold");
    assert!(holds.contains("quarantined-twin"), "{holds}");
}

#[test]
fn what_could_not_be_put_into_quarantine_is_put_there_by_the_next_start() {
    let folder = TempDir::new().unwrap();
    let mut service = Service::within(folder.path(), &["--durability", "process"]);
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    store(&mut sender, "1.2.3.4", &dataset("1.2.3.4", 100));
    wait_until("the first row", || rows(&service).len() == 1);
    let (quarantine, away) = (folder.path().join("quarantine"), folder.path().join("away"));
    fs::rename(&quarantine, &away).unwrap();
    fs::write(&quarantine, "no folder").unwrap();
    store(&mut sender, "1.2.3.4", &elsewhere("1.2.3.4"));
    sender.release();
    service.stop();
    assert_eq!(service.stored().len(), 2);
    fs::remove_file(&quarantine).unwrap();
    fs::rename(&away, &quarantine).unwrap();
    service.restart();
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined()), (1, 1));
    assert_eq!(service.ledger("select reason from quarantined").trim(), "misplaced");
}
