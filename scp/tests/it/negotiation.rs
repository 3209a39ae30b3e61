//! What is answered to the items of an association request beside its presentation contexts (PS3.7 §D.3.3).

use crate::{
    service::Service,
    wire::{EXPLICIT, MR, Raw, associate_rq_with, dataset, item},
};

const ROLE_SELECTION: u8 = 0x54;
const ASYNCHRONOUS_OPERATIONS_WINDOW: u8 = 0x53;
const EXTENDED_NEGOTIATION: u8 = 0x56;
const USER_IDENTITY_RQ: u8 = 0x58;
const USER_IDENTITY_AC: u8 = 0x59;

/// Type and content of each item.
fn items(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut items = Vec::new();
    while let [kind, _, high, low, rest @ ..] = bytes {
        let (content, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        items.push((*kind, content.to_vec()));
        bytes = after;
    }
    items
}

/// Sends `user` in a request; gives the items of user information in the acceptance, and the association.
#[track_caller]
fn negotiate(service: &Service, user: &[u8]) -> (Vec<(u8, Vec<u8>)>, Raw) {
    let mut peer = Raw::connect(&service.address());
    peer.send(&associate_rq_with("OVERREAD", MR, EXPLICIT, user));
    let (kind, content) = peer.receive().unwrap();
    assert_eq!(kind, 2, "{content:?}");
    let user = items(&content[68..]).into_iter().find(|(kind, _)| *kind == 0x50).unwrap();
    (items(&user.1), peer)
}

fn answered(answer: &[(u8, Vec<u8>)], kind: u8) -> Vec<&[u8]> {
    answer.iter().filter(|(found, _)| *found == kind).map(|(_, content)| &content[..]).collect()
}

fn about(class: &str, rest: &[u8]) -> Vec<u8> {
    [&u16::try_from(class.len()).unwrap().to_be_bytes()[..], class.as_bytes(), rest].concat()
}

#[test]
fn a_class_that_is_asked_about_two_thousand_times_is_answered_once() {
    let service = Service::start();
    let asked = item(EXTENDED_NEGOTIATION, &about(MR, &[])).repeat(2113);
    let (answer, mut peer) = negotiate(&service, &asked);
    assert_eq!(answered(&answer, EXTENDED_NEGOTIATION), [about(MR, &[2, 0, 0, 0, 0, 0])]);
    assert_eq!(peer.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), 0);
    peer.release();
}

#[test]
fn window_roles_and_storage_level_are_answered() {
    let service = Service::start();
    let commitment = "1.2.840.10008.1.20.1";
    let asked = [
        item(ASYNCHRONOUS_OPERATIONS_WINDOW, &[0, 0, 0, 0]),
        item(ROLE_SELECTION, &about(MR, &[1, 1])),
        item(ROLE_SELECTION, &about(commitment, &[0, 1])),
        item(ROLE_SELECTION, &about("1.2.3.4", &[1, 1])),
        item(EXTENDED_NEGOTIATION, &about(MR, &[1, 0, 0, 0, 1, 0])),
        item(EXTENDED_NEGOTIATION, &about("1.2.3.4", &[1])),
    ]
    .concat();
    let (answer, peer) = negotiate(&service, &asked);
    assert_eq!(answered(&answer, ASYNCHRONOUS_OPERATIONS_WINDOW), [[0, 1, 0, 1]]);
    assert_eq!(answered(&answer, ROLE_SELECTION), [about(MR, &[1, 0]), about(commitment, &[0, 1])]);
    assert_eq!(answered(&answer, EXTENDED_NEGOTIATION), [about(MR, &[2, 0, 0, 0, 0, 0])]);
    peer.release();
}

#[test]
fn an_identity_is_answered_only_where_it_was_checked() {
    let identity =
        |kind: u8| item(USER_IDENTITY_RQ, &[&[kind, 1][..], &about("ct1", &about("secret", &[]))].concat());
    let (nobody, users) =
        (Service::start(), Service::with(&["--durability", "process", "--user", "ct1:secret"]));
    for kind in [1, 2, 3, 5] {
        let (answer, peer) = negotiate(&nobody, &identity(kind));
        assert!(answered(&answer, USER_IDENTITY_AC).is_empty(), "kind {kind}");
        peer.release();
    }
    let (answer, peer) = negotiate(&users, &identity(2));
    assert_eq!(answered(&answer, USER_IDENTITY_AC), [[0, 0]]);
    peer.release();
}
