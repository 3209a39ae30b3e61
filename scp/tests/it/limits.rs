//! Peers that say nothing or too little, that are too many, and those in the middle of a message when the service ends.

use std::{io::Write, net::Ipv4Addr, time::Duration};

use crate::{
    service::{Service, wait_until},
    wire::{EXPLICIT, MR, Raw, associate_rq, command, dataset, element, p_data, store_message, store_rq},
};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A listener with the limits that the product has by default.
fn service() -> Service {
    let limits = ["--associations-max", "64", "--associations-per-peer-max", "32"];
    Service::with(&[&["--durability", "process"][..], &limits].concat())
}

#[track_caller]
fn serves(peer: Raw, instance: &str) {
    let mut sender = peer.associated(MR, EXPLICIT);
    assert_eq!(sender.store(MR, instance, &dataset(instance, 100)).unwrap(), 0);
    sender.release();
}

/// A listener with one timer that is short, and long others.
fn impatient(timer: &str) -> Service {
    Service::with(&["--durability", "process", timer, "2000"])
}

/// What the listener says to whoever was waited for too long: A-ABORT by the service provider, no reason given.
const WAITED_TOO_LONG: (u8, [u8; 4]) = (7, [0, 0, 2, 0]);
/// A-ASSOCIATE-RJ: transient, by the service provider (presentation), local limit exceeded.
const TOO_MANY: (u8, [u8; 4]) = (3, [0, 2, 3, 2]);

#[track_caller]
fn hears(peer: &mut Raw, expected: (u8, [u8; 4])) {
    let (kind, content) = peer.receive().unwrap();
    assert_eq!((kind, &content[..]), (expected.0, &expected.1[..]));
}

#[test]
fn whoever_never_asks_for_an_association_is_let_go_without_a_word() {
    let service = impatient("--artim-ms");
    let (mut silent, mut half) = (Raw::connect(&service.address()), Raw::connect(&service.address()));
    half.send(&associate_rq("OVERREAD", MR, EXPLICIT)[..100]);
    assert!(silent.rest().is_empty());
    assert!(half.rest().is_empty());
    serves(Raw::connect(&service.address()), "1.2.3.4");
}

#[test]
fn whoever_stops_within_a_pdu_is_cut_off() {
    let service = impatient("--pdu-ms");
    let command = p_data(3, &store_rq(1, MR, "1.2.3.4"));
    for length in [3, 8, command.len() - 1] {
        let mut peer = Raw::associate(&service.address(), MR, EXPLICIT);
        peer.send(&command[..length]);
        hears(&mut peer, WAITED_TOO_LONG);
    }
    serves(Raw::connect(&service.address()), "1.2.3.4");
}

#[test]
fn whoever_does_not_finish_a_message_is_cut_off() {
    let service = impatient("--message-ms");
    let message = store_message(1, MR, "1.2.3.4", &dataset("1.2.3.4", 100_000), 16384);
    let mut peer = Raw::associate(&service.address(), MR, EXPLICIT);
    peer.send(&message[..message.len() / 2]);
    hears(&mut peer, WAITED_TOO_LONG);
    drop(peer);
    wait_until("what was half kept to be gone", || service.unfinished() == 0);
    serves(Raw::connect(&service.address()), "1.2.3.4");
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn whoever_sends_nothing_more_is_cut_off() {
    let service = impatient("--idle-ms");
    let mut peer = Raw::associate(&service.address(), MR, EXPLICIT);
    assert_eq!(peer.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), 0);
    hears(&mut peer, WAITED_TOO_LONG);
    serves(Raw::connect(&service.address()), "1.2.3.5");
}

#[test]
fn whoever_takes_no_answers_is_cut_off() {
    let service = impatient("--write-ms");
    let mut peer = Raw::associate(&service.address(), MR, EXPLICIT);
    let echo = command(&[
        element(0x0002, b"1.2.840.10008.1.1"),
        element(0x0100, &0x0030_u16.to_le_bytes()),
        element(0x0110, &1_u16.to_le_bytes()),
        element(0x0800, &0x0101_u16.to_le_bytes()),
    ]);
    let echoes = p_data(3, &echo).repeat(500);
    peer.socket.set_write_timeout(Some(crate::service::PATIENCE)).unwrap();
    // Until both sides' buffers are full, and then until the listener closes.
    let taken = (0..10_000).take_while(|_| peer.socket.write_all(&echoes).is_ok()).count();
    assert!(taken < 10_000, "the listener never stopped to answer");
    serves(Raw::connect(&service.address()), "1.2.3.4");
}

#[test]
fn too_many_associations_are_refused_until_one_ends() {
    let limits = ["--associations-max", "2", "--associations-per-peer-max", "1"];
    let service = Service::with(&[&["--durability", "process"][..], &limits].concat());
    let request = associate_rq("OVERREAD", MR, EXPLICIT);
    let first = Raw::associate(&service.address(), MR, EXPLICIT);
    let mut second = Raw::connect(&service.address());
    second.send(&request);
    hears(&mut second, TOO_MANY);
    let elsewhere = Raw::connect_from(ELSEWHERE, &service.address()).associated(MR, EXPLICIT);
    let mut third = Raw::connect_from(Ipv4Addr::new(127, 0, 0, 3), &service.address());
    third.send(&request);
    hears(&mut third, TOO_MANY);
    first.release();
    wait_until("a place for another one", || {
        let mut again = Raw::connect(&service.address());
        again.send(&request);
        again.receive().is_ok_and(|(kind, _)| kind == 2)
    });
    elsewhere.release();
}

#[test]
fn silent_connections_of_one_address_keep_no_other_address_out() {
    let service = service();
    let mut silent: Vec<_> = (0..400).map(|_| Raw::connect(&service.address())).collect();
    serves(Raw::connect_from(ELSEWHERE, &service.address()), "1.2.3.4");
    assert!(silent.last_mut().unwrap().rest().is_empty(), "what is too much is closed at once");
    drop(silent);
    wait_until("room for their address", || {
        let mut peer = Raw::connect(&service.address());
        peer.send(&associate_rq("OVERREAD", MR, EXPLICIT));
        peer.receive().is_ok_and(|(kind, _)| kind == 2)
    });
}

#[test]
fn a_message_that_is_under_way_at_the_end_of_the_service_is_kept() {
    let mut service = service();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    let mut idle = Raw::associate(&service.address(), MR, EXPLICIT);
    let dataset = dataset("1.2.3.4", 100_000);
    let (first, second) = dataset.split_at(50_000);
    sender.send(&[p_data(3, &store_rq(1, MR, "1.2.3.4")), p_data(0, first)].concat());
    std::thread::sleep(Duration::from_millis(500)); // until the listener has begun with it
    service.terminate();
    let abort = [7, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    assert_eq!(idle.rest(), abort, "whoever is between messages is told at once");
    std::thread::sleep(Duration::from_millis(500)); // longer than a listener's thread sleeps
    sender.send(&p_data(2, second));
    assert_eq!(sender.status().unwrap(), 0);
    assert_eq!(sender.rest(), abort, "then the association ends");
    service.wait_for_end();
    assert_eq!(service.stored().len(), 1);
    assert_eq!(service.ledger("select count(*) from instance").trim(), "1");
}
