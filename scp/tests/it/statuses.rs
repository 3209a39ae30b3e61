//! Statuses that no well-behaved sender on a well machine ever sees.

use std::process::Command;

use crate::{
    service::{Service, run},
    wire::{EXPLICIT, MR, Raw, command, dataset, element, p_data, store_rq},
};

const MISTYPED_ARGUMENT: u16 = 0x0212;
const PROCESSING_FAILURE: u16 = 0x0110;
const OUT_OF_RESOURCES: u16 = 0xA700;

/// C-STORE-RQ with these elements beside those that it always has.
fn store(elements: &[Vec<u8>]) -> Vec<u8> {
    let always = [element(0x0100, &1_u16.to_le_bytes()), element(0x0110, &1_u16.to_le_bytes())];
    command(&[&always[..], elements].concat())
}

#[test]
fn a_command_that_lacks_what_it_must_have_is_mistyped() {
    let service = Service::start();
    let (class, instance) = (element(0x0002, MR.as_bytes()), element(0x1000, b"1.2.3.4"));
    let data_set = |follows: bool| element(0x0800, &(if follows { 1_u16 } else { 0x0101 }).to_le_bytes());
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    for (has_data_set, elements) in
        [(false, vec![class.clone(), instance.clone()]), (true, vec![class]), (true, vec![instance])]
    {
        sender.send(&p_data(3, &store(&[&elements[..], &[data_set(has_data_set)]].concat())));
        if has_data_set {
            sender.send(&p_data(2, &dataset("1.2.3.4", 100)));
        }
        assert_eq!(sender.status().unwrap(), MISTYPED_ARGUMENT, "{has_data_set}");
    }
    assert_eq!(sender.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), 0);
    sender.release();
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn a_fault_of_the_receiver_is_answered_as_one_and_passes() {
    let service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    let files_at_most = |count: &str| {
        run(Command::new("prlimit").args([
            "--pid",
            &service.pid().to_string(),
            &format!("--nofile={count}:"),
        ]));
    };
    let large = dataset("1.2.3.4", 5 << 20); // more than is kept in memory before a file is made
    files_at_most("3");
    assert_eq!(sender.store(MR, "1.2.3.4", &large).unwrap(), PROCESSING_FAILURE);
    files_at_most("1024");
    assert_eq!(sender.store(MR, "1.2.3.4", &large).unwrap(), 0);
    sender.release();
    assert_eq!((service.stored().len(), service.unfinished()), (1, 0));
}

#[test]
fn a_data_set_that_is_longer_than_allowed_is_refused_and_the_next_one_is_not() {
    let service = Service::with(&["--durability", "process", "--dataset-bytes-max", "100000"]);
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    assert_eq!(sender.store(MR, "1.2.3.4", &dataset("1.2.3.4", 200_000)).unwrap(), OUT_OF_RESOURCES);
    assert_eq!(sender.store(MR, "1.2.3.5", &dataset("1.2.3.5", 50_000)).unwrap(), 0);
    sender.send(&p_data(3, &store_rq(9, MR, "1.2.3.6")));
    sender.send(&p_data(2, &[]));
    assert_eq!(sender.status().unwrap(), 0xC000, "nor is an empty one taken for a long one");
    sender.release();
    assert_eq!((service.stored().len(), service.unfinished()), (1, 0));
}
