//! Violent deaths and full disks: what was acknowledged is there afterwards, byte for byte, once.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    sync::{Barrier, Mutex},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    service::{PATIENCE, Service, example, files_below},
    wire::{EXPLICIT, MR, Raw, dataset},
};

/// `kill -9` so many times; `make faults` asks for more.
fn runs() -> u64 {
    std::env::var("OVERREAD_FAULT_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// A moment within 300 ms that is the same at every run of the test.
fn moment(seed: u64) -> Duration {
    let mixed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Duration::from_micros((mixed >> 32) % 300_000)
}

/// Sends from four associations until the connection breaks; gives what was acknowledged.
fn load_until_it_dies(service: &mut Service, run: u64) -> BTreeMap<String, usize> {
    let acknowledged = Mutex::new(BTreeMap::new());
    let address = service.address();
    let all_associated = Barrier::new(5);
    std::thread::scope(|scope| {
        for peer in 0..4 {
            let (address, acknowledged, all_associated) = (&address, &acknowledged, &all_associated);
            scope.spawn(move || {
                let mut sender = Raw::associate(address, MR, EXPLICIT);
                sender.pdu_max = 64 << 10;
                all_associated.wait();
                for number in 0.. {
                    let instance = format!("1.2.3.{run}.{peer}.{number}");
                    // Some go through the journal, some are longer than it takes.
                    let pixels = if number % 7 == 6 { 1_500_000 } else { 30_000 + number * 500 };
                    match sender.store(MR, &instance, &dataset(&instance, pixels)) {
                        Ok(0) => acknowledged.lock().unwrap().insert(instance, pixels),
                        Ok(status) => panic!("{instance} was answered {status:04X}"),
                        Err(_) => return,
                    };
                }
            });
        }
        all_associated.wait();
        std::thread::sleep(moment(run)); // the moment of death, not a wait for anything
        service.die_and_restart();
    });
    acknowledged.into_inner().unwrap()
}

fn killed_again_and_again(durability: &str) {
    let folder = TempDir::new().unwrap();
    let mut service = Service::within(folder.path(), &["--durability", durability]);
    let mut acknowledged = BTreeMap::new();
    for run in 0..runs() {
        acknowledged.extend(load_until_it_dies(&mut service, run));
        assert_eq!(service.unfinished(), 0, "after run {run}");
    }
    service.stop();
    assert!(!acknowledged.is_empty());
    let stored: BTreeMap<String, _> = service
        .stored()
        .into_iter()
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    assert_eq!(stored.len(), service.stored().len(), "each once");
    for (instance, pixels) in &acknowledged {
        let path = stored.get(instance).unwrap_or_else(|| panic!("{instance} was acknowledged and is lost"));
        assert!(
            fs::read(path).unwrap().ends_with(&dataset(instance, *pixels)),
            "{instance} is not as it was sent"
        );
    }
    let rows = service.ledger("select sop_instance_uid from instance");
    let rows: std::collections::BTreeSet<&str> = rows.lines().collect();
    let unrecorded: Vec<_> = stored.keys().filter(|instance| !rows.contains(instance.as_str())).collect();
    assert!(unrecorded.is_empty(), "kept without a row: {unrecorded:?}");
    assert_eq!(rows.len(), stored.len(), "rows without a file");
    assert_eq!(service.ledger("select count(*) from association where ended_at is null").trim(), "0");
    assert_eq!((service.quarantined(), service.unfinished()), (0, 0));
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_under_process_durability() {
    killed_again_and_again("process");
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_under_power_durability() {
    killed_again_and_again("power");
}

#[test]
fn a_twin_whose_receiver_died_before_its_row_holds_the_study_after_the_restart() {
    let first = dataset("1.2.3.4", 100);
    let mut second = first.clone();
    let at = second.windows(2).rposition(|bytes| bytes == b"T1").unwrap();
    second[at..at + 2].copy_from_slice(b"T2"); // another Patient ID
    let stores = |service: &Service, datasets: &[&[u8]]| {
        let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
        for dataset in datasets {
            assert_eq!(sender.store(MR, "1.2.3.4", dataset).unwrap(), 0);
        }
        sender.release();
    };
    let (elsewhere, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let other = Service::within(elsewhere.path(), &[]);
    stores(&other, &[&first, &second]);
    let mut service = Service::within(folder.path(), &[]);
    stores(&service, &[&first]);
    // Killed here, the file is in quarantine and nothing else knows of it.
    for file in files_below(&elsewhere.path().join("quarantine")) {
        fs::copy(&file, folder.path().join("quarantine").join(file.file_name().unwrap())).unwrap();
    }
    for _ in 0..2 {
        service.die_and_restart();
    }
    service.stop();
    let expect_noted = |service: &Service| {
        assert_eq!(service.ledger("select reason, study_uid is null from quarantined").trim(), "twin 0");
        assert_eq!(service.ledger("select reason from hold").trim(), "quarantined-twin");
    };
    expect_noted(&service);
    // The database is lost as well: the study is not known when the file in quarantine is to hold it.
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let lost = fs::remove_file(folder.path().join(file));
        assert!(lost.is_ok() || !folder.path().join(file).exists());
    }
    service.restart();
    service.stop();
    expect_noted(&service);
}

/// A listener whose folder is a file system of its own, made in a namespace of its own.
struct Small {
    process: ::peers::Guarded,
    root: String,
    port: u16,
    // Last: removing the mount's folder would take the file system from the listener.
    _folder: TempDir,
}

impl Small {
    fn start(megabytes: u32, min_free: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let inside = folder.path().to_str().unwrap().to_owned();
        let script = format!(
            "mount -t tmpfs -o size={megabytes}m none {inside} && exec {} --dir {inside} --durability power --min-free-bytes {min_free} --journal-bytes 100663296",
            example().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).stdin(Stdio::null());
        let process = ::peers::Guarded::spawn(command);
        let root = format!("/proc/{}/root{inside}", process.0.id());
        let ports = format!("{root}/ports");
        let port =
            ::peers::wait_until("the listener", PATIENCE, || fs::read_to_string(&ports).ok()?.parse().ok());
        Self { process, root, port, _folder: folder }
    }

    fn files(&self, folder: &str) -> Vec<std::path::PathBuf> {
        files_below(std::path::Path::new(&format!("{}/{folder}", self.root)))
    }

    /// Stores until the disk is full; gives how many were acknowledged.
    fn fill(&self) -> usize {
        let mut sender = Raw::associate(&format!("127.0.0.1:{}", self.port), MR, EXPLICIT);
        for number in 0..1000 {
            let instance = format!("1.2.3.4.{number}");
            match sender.store(MR, &instance, &dataset(&instance, 700_000)).unwrap() {
                0 => {}
                0xA700 => return number,
                other => panic!("{instance} was answered {other:04X}"),
            }
        }
        panic!("the disk never was full");
    }

    fn is_refused(&self) -> bool {
        let mut peer = Raw::connect(&format!("127.0.0.1:{}", self.port));
        peer.send(&crate::wire::associate_rq("OVERREAD", MR, EXPLICIT));
        peer.receive().unwrap() == (3, vec![0, 2, 3, 1])
    }
}

#[test]
fn a_full_disk_is_answered_with_a700_loses_nothing_and_passes() {
    let small = Small::start(160, "8388608");
    let acknowledged = small.fill();
    assert!(acknowledged > 10, "{acknowledged}");
    assert!(small.is_refused(), "new associations have to wait while there is no room");
    let stored: Vec<_> = small
        .files("spool")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "dcm"))
        .collect();
    assert_eq!(stored.len(), acknowledged);
    for path in &stored {
        let instance = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(fs::read(path).unwrap().ends_with(&dataset(&instance, 700_000)), "{instance}");
    }
    assert!(small.files("spool/tmp").is_empty());
    for path in &stored[..stored.len() / 2] {
        fs::remove_file(path).unwrap();
    }
    assert!(!small.is_refused(), "there is room again");
    let mut sender = Raw::associate(&format!("127.0.0.1:{}", small.port), MR, EXPLICIT);
    assert_eq!(sender.store(MR, "1.2.3.5", &dataset("1.2.3.5", 1000)).unwrap(), 0);
    drop(small.process);
}

#[test]
fn a_disk_that_fills_up_within_an_instance_is_answered_with_a700() {
    let small = Small::start(110, "0");
    let mut sender = Raw::associate(&format!("127.0.0.1:{}", small.port), MR, EXPLICIT);
    let large = dataset("1.2.3.4", 120 << 20);
    assert_eq!(sender.store(MR, "1.2.3.4", &large).unwrap(), 0xA700);
    assert_eq!(sender.store(MR, "1.2.3.5", &dataset("1.2.3.5", 1000)).unwrap(), 0, "small ones still fit");
    sender.release();
    assert!(small.files("spool/tmp").is_empty(), "nothing is half kept");
}
