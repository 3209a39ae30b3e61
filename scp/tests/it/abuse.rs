//! Peers that are slow, greedy, malformed or many: they are cut off, and nobody else notices.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    service::{Service, wait_until},
    wire::{EXPLICIT, MR, Raw, associate_rq, dataset, p_data, pdu, store_message, store_rq},
};

/// Seconds that fuzzing over the wire may take.
fn fuzz_seconds() -> u64 {
    std::env::var("OVERREAD_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[track_caller]
fn still_serves(service: &Service) {
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    let instance = format!("1.2.9.{}", Instant::now().elapsed().as_nanos());
    assert_eq!(sender.store(MR, &instance, &dataset(&instance, 100)).unwrap(), 0);
    sender.release();
}

/// What the listener says to bytes that break the protocol: nothing more than an A-ABORT.
#[track_caller]
fn is_cut_off(service: &Service, prepare: &[u8], bytes: &[u8]) {
    let mut peer = Raw::connect(&service.address());
    peer.send(prepare);
    if !prepare.is_empty() {
        assert_eq!(peer.receive().unwrap().0, 2);
    }
    peer.send(bytes);
    let (kind, _) = peer.receive().unwrap();
    assert_eq!(kind, 7);
    still_serves(service);
}

#[test]
fn malformed_peers_are_aborted_and_others_served() {
    let service = Service::start();
    let open = associate_rq("OVERREAD", MR, EXPLICIT);
    is_cut_off(&service, &[], &pdu(5, &[0; 4])); // a release before anything
    is_cut_off(&service, &[], &pdu(1, &[0; 20])); // an association request that is cut
    is_cut_off(&service, &[], &[1, 0, 0xFF, 0xFF, 0xFF, 0xFF]); // one of four gigabytes
    is_cut_off(&service, &open, &pdu(9, &[])); // an unknown PDU
    is_cut_off(&service, &open, &open); // a second request
    is_cut_off(&service, &open, &[4, 0, 0x7F, 0xFF, 0xFF, 0xFF]); // longer than agreed
    is_cut_off(&service, &open, &pdu(4, &[0, 0, 0, 200, 1, 3])); // a fragment longer than its PDU
    is_cut_off(&service, &open, &pdu(4, &[0, 0, 0, 1, 1, 3])); // a fragment without its control header
    is_cut_off(&service, &open, &p_data(2, b"data without a command"));
    is_cut_off(&service, &open, &p_data(3, b"no command"));
    is_cut_off(&service, &open, &[p_data(3, &store_rq(1, MR, "1.2.3")), pdu(5, &[0; 4])].concat()); // a release within a message
    let other_context = {
        let mut bytes = p_data(3, &store_rq(1, MR, "1.2.3"));
        bytes[10] = 7;
        bytes
    };
    is_cut_off(&service, &open, &other_context);
    let long_command = vec![0; 20 << 10];
    is_cut_off(&service, &open, &p_data(3, &long_command));
}

#[test]
fn uids_of_a_peer_never_become_paths_unchecked() {
    let service = Service::start();
    for evil in ["../../../../tmp/evil", "1.2/../3", "..", "1..2"] {
        let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
        assert_eq!(sender.store(MR, evil, &dataset(evil, 100)).unwrap(), 0x0117, "{evil}");
        sender.release();
    }
    // The command is fine, the series is not.
    let mut sneaky = dataset("1.2.3.4", 100);
    let at = sneaky.windows(8).rposition(|bytes| bytes == b"1.2.3.2\0").unwrap();
    sneaky[at..at + 8].copy_from_slice(b"../../x\0");
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    assert_eq!(sender.store(MR, "1.2.3.4", &sneaky).unwrap(), 0xC000);
    sender.release();
    assert!(service.stored().is_empty());
}

#[test]
fn wrong_titles_are_refused_with_their_reason() {
    let service = Service::start();
    let mut peer = Raw::connect(&service.address());
    peer.send(&associate_rq("SOMEBODY", MR, EXPLICIT));
    assert_eq!(peer.receive().unwrap(), (3, vec![0, 1, 1, 7]));
}

/// Length of the long instance; `make faults` asks for 2 GB.
fn long_megabytes() -> u32 {
    std::env::var("OVERREAD_LONG_MEGABYTES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[test]
fn a_long_instance_takes_no_more_memory_than_a_short_one() {
    let service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    sender.pdu_max = 128 << 10;
    assert_eq!(sender.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100 << 10)).unwrap(), 0);
    let before = service.peak_memory();
    assert_eq!(sender.store_streamed("1.2.3.5", long_megabytes() << 20).unwrap(), 0);
    let growth = service.peak_memory().saturating_sub(before);
    eprintln!(
        "one instance of {} MiB: {} KiB more, {} MiB in all",
        long_megabytes(),
        growth >> 10,
        service.peak_memory() >> 20
    );
    assert!(growth < 4 << 20, "{growth} bytes more");
    assert!(service.peak_memory() < 40 << 20, "{} bytes", service.peak_memory());
    let lengths: Vec<_> = service.stored().iter().map(|path| path.metadata().unwrap().len() >> 20).collect();
    assert_eq!(lengths, [0, u64::from(long_megabytes())]);
}

/// Sends a message byte by byte, one in `pause`, until told to stop; then how many were taken.
fn drip(service: &Service, pause: Duration, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    let mut peer = Raw::associate(&service.address(), MR, EXPLICIT);
    let message = store_message(1, MR, "1.2.3.4", &dataset("1.2.3.4", 4000), 16384);
    std::thread::spawn(move || {
        for (sent, byte) in message.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return sent;
            }
            peer.socket.write_all(&[*byte]).unwrap();
            std::thread::sleep(pause);
        }
        message.len()
    })
}

#[test]
fn whoever_sends_a_byte_now_and_then_keeps_nobody_waiting() {
    let service = Service::start();
    let stop = Arc::new(AtomicBool::new(false));
    let drips: Vec<_> = (0..20).map(|_| drip(&service, Duration::from_millis(100), stop.clone())).collect();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    for number in 0..100 {
        let instance = format!("1.2.3.9.{number}");
        assert_eq!(sender.store(MR, &instance, &dataset(&instance, 130_000)).unwrap(), 0);
    }
    sender.release();
    stop.store(true, Ordering::Relaxed);
    for drip in drips {
        let sent = drip.join().unwrap();
        assert!(sent < 4000, "it was to be on its way still: {sent} bytes");
    }
}

#[test]
fn fifty_associations_at_once_are_all_served_in_bounded_memory() {
    let service = Service::start();
    let seconds = std::env::var("OVERREAD_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let stored: Vec<_> = (0..50).map(|_| AtomicUsize::new(0)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let drips: Vec<_> = (0..10).map(|_| drip(&service, Duration::from_secs(1), stop.clone())).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for (peer, stored) in stored.iter().enumerate() {
            let service = &service;
            scope.spawn(move || {
                let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
                for number in 0.. {
                    let instance = format!("1.2.3.{peer}.{number}");
                    assert_eq!(sender.store(MR, &instance, &dataset(&instance, 60_000)).unwrap(), 0);
                    stored.fetch_add(1, Ordering::Relaxed);
                    if Instant::now() > end {
                        break;
                    }
                }
                sender.release();
            });
        }
    });
    stop.store(true, Ordering::Relaxed);
    let dripped: usize = drips.into_iter().map(|drip| drip.join().unwrap()).sum();
    assert!(dripped > 0);
    let stored: Vec<_> = stored.iter().map(|stored| stored.load(Ordering::Relaxed)).collect();
    assert_eq!(service.stored().len(), stored.iter().sum::<usize>());
    let memory = service.peak_memory();
    eprintln!(
        "50 associations, and 10 of a byte a second, for {seconds} s: {} instances, {} to {} for each, {} MiB at most",
        stored.iter().sum::<usize>(),
        stored.iter().min().unwrap(),
        stored.iter().max().unwrap(),
        memory >> 20
    );
    assert!(memory < 200 << 20, "{memory} bytes for 60 associations");
}

#[test]
fn damaged_conversations_never_stop_the_service() {
    let service = Service::start();
    let conversation = [
        associate_rq("OVERREAD", MR, EXPLICIT),
        store_message(1, MR, "1.2.3.4", &dataset("1.2.3.4", 300), 16384),
        pdu(5, &[0; 4]),
    ]
    .concat();
    let damage =
        (proptest::collection::vec((0..conversation.len(), any::<u8>()), 1..6), 0..=conversation.len());
    // Time ends it, not a number of cases, so the runner's own loop will not do.
    let mut runner = TestRunner::deterministic();
    let end = Instant::now() + Duration::from_secs(fuzz_seconds());
    while Instant::now() < end {
        let (changes, length) = damage.new_tree(&mut runner).unwrap().current();
        let mut bytes = conversation.clone();
        for &(at, byte) in &changes {
            bytes[at] = byte;
        }
        bytes.truncate(length);
        let mut peer = Raw::connect(&service.address());
        // The listener may have closed already: what it made of the bytes shows below.
        let _ = peer.socket.write_all(&bytes);
        let _ = peer.socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = peer.socket.read_to_end(&mut answer);
        assert!(answer.len() < 4096, "{changes:?}, cut at {length}: {} bytes", answer.len());
    }
    still_serves(&service);
    wait_until("the end of what was damaged", || service.unfinished() == 0);
    assert!(service.peak_memory() < 100 << 20);
}
