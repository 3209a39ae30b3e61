//! Which of two data sets with one UID is in service, by policy; with a real spool and a real ledger.

#![allow(clippy::unwrap_used, reason = "in a test a failed step fails the test")]

use std::path::Path;

use admission::{Admitted, Arrival, settle};
use imaging::SopInstanceUid;
use ledger::{
    AssociationId, BootId, Door, HoldReason, InstanceRow, Ledger, Millis, NewAssociation, NodeId, PageRequest,
};
use spool::{InstanceKey, SameUid, Spool, SpoolConfig};

struct House {
    ledger: Ledger,
    spool: Spool,
    association: AssociationId,
    // Last: the folder goes after what uses it.
    _folder: tempfile::TempDir,
}

impl House {
    async fn with(same_uid: SameUid) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let ledger = Ledger::open(&url, ledger::Durability::Process).await.unwrap();
        let spool = Spool::open(SpoolConfig {
            durability: spool::Durability::Process,
            min_free_bytes: 0,
            journal_bytes: 48 << 20,
            same_uid,
            ..SpoolConfig::new(folder.path().join("spool"), folder.path().join("quarantine"))
        });
        let new = NewAssociation {
            door: Door::Upload,
            calling_ae: "test".to_owned(),
            called_ae: String::new(),
            peer: String::new(),
            node: NodeId::new("test"),
            boot: BootId::new("one"),
            opened_at: Millis::now(),
        };
        let association = ledger.open_association(&new).await.unwrap();
        Self { ledger, spool: spool.unwrap(), association, _folder: folder }
    }

    async fn bring(&self, file: &[u8]) -> Admitted {
        self.record(self.take_in(file)).await
    }

    /// Puts a file into the spool; its row is late.
    fn take_in(&self, file: &[u8]) -> Arrival {
        settle(&self.spool, self.spool.put(file).unwrap()).unwrap()
    }

    async fn record(&self, arrival: Arrival) -> Admitted {
        let admitted =
            admission::record(&self.spool, &self.ledger, self.association, vec![arrival], Millis::now());
        admitted.await.unwrap().remove(0)
    }

    async fn row(&self, uid: &SopInstanceUid) -> InstanceRow {
        self.ledger.instance(uid).await.unwrap().unwrap()
    }

    async fn set_aside(&self) -> usize {
        self.ledger.quarantined(&PageRequest::first(10)).await.unwrap().rows.len()
    }
}

fn mr() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read(root.join("tests/data/syntaxes/MR_small.dcm")).unwrap()
}

fn with_another_pixel() -> Vec<u8> {
    let mut file = mr();
    let at = file.len() - 200;
    file[at] ^= 1;
    file
}

fn with_yet_another_pixel() -> Vec<u8> {
    let mut file = mr();
    let at = file.len() - 200;
    file[at] ^= 2;
    file
}

fn of_another_patient() -> Vec<u8> {
    let mut file = mr();
    let at = file.windows(4).position(|bytes| bytes == b"4MR1").unwrap();
    file[at..at + 4].copy_from_slice(b"4MR2");
    file
}

fn stored(admitted: Admitted) -> imaging::Header {
    match admitted {
        Admitted::Stored(header) => *header,
        other => panic!("it is not new: {other:?}"),
    }
}

#[tokio::test]
async fn the_first_stays_and_the_second_is_set_aside() {
    let house = House::with(SameUid::KeepFirst).await;
    let first = stored(house.bring(&mr()).await);
    let before = house.row(&first.sop_instance).await;
    assert!(matches!(house.bring(&mr()).await, Admitted::Duplicate(_)));
    assert!(matches!(house.bring(&with_another_pixel()).await, Admitted::Conflict(_)));
    assert_eq!(house.row(&first.sop_instance).await, before);
    assert_eq!(house.set_aside().await, 1);
    assert!(house.ledger.open_holds(&first.study).await.unwrap().is_empty(), "it is of the same patient");
}

#[tokio::test]
async fn what_the_disk_has_damaged_is_set_aside_when_it_comes_again() {
    let house = House::with(SameUid::KeepFirst).await;
    let first = stored(house.bring(&mr()).await);
    let before = house.row(&first.sop_instance).await;
    let path = house.spool.path_of(&spool::InstanceKey::of(&first));
    std::fs::File::options().write(true).open(path).unwrap().set_len(2000).unwrap();
    assert!(matches!(house.bring(&mr()).await, Admitted::Duplicate(_)), "the ledger knew it");
    assert_eq!(house.row(&first.sop_instance).await, before);
    assert_eq!(house.set_aside().await, 1);
    assert!(house.spool.read(&spool::InstanceKey::of(&first)).is_ok(), "what is in service is whole again");
}

#[tokio::test]
async fn by_policy_the_second_takes_the_place_and_the_first_is_set_aside() {
    let house = House::with(SameUid::Replace).await;
    let first = stored(house.bring(&mr()).await);
    let before = house.row(&first.sop_instance).await;
    assert!(matches!(house.bring(&with_another_pixel()).await, Admitted::Replaced(_)));
    assert_ne!(house.row(&first.sop_instance).await.digest, before.digest);
    assert_eq!(house.set_aside().await, 1);
    assert!(house.spool.unrecorded().is_empty());
}

#[tokio::test]
async fn another_patients_never_takes_the_place_and_holds_the_study() {
    for same_uid in [SameUid::KeepFirst, SameUid::Replace] {
        let house = House::with(same_uid).await;
        let first = stored(house.bring(&mr()).await);
        let before = house.row(&first.sop_instance).await;
        assert!(matches!(house.bring(&of_another_patient()).await, Admitted::Conflict(_)));
        assert_eq!(house.row(&first.sop_instance).await, before);
        let holds = house.ledger.open_holds(&first.study).await.unwrap();
        let reasons: Vec<_> = holds.iter().map(|hold| hold.reason).collect();
        assert!(reasons.contains(&HoldReason::IdentityConflict), "{reasons:?}");
        assert!(reasons.contains(&HoldReason::QuarantinedTwin), "{reasons:?}");
    }
}

#[tokio::test]
async fn a_twin_that_is_heard_of_first_is_not_taken_for_what_is_in_service() {
    let house = House::with(SameUid::KeepFirst).await;
    let first = house.take_in(&mr());
    assert!(matches!(house.bring(&of_another_patient()).await, Admitted::Conflict(_)));
    let Admitted::Duplicate(header) = house.record(first).await else { panic!("the twin brought its row") };
    let in_service = house.spool.find(&InstanceKey::of(&header)).unwrap();
    let row = house.row(&header.sop_instance).await;
    assert_eq!((row.digest, row.size_bytes), (in_service.digest.to_string(), in_service.size_bytes));
    let holds = house.ledger.open_holds(&header.study).await.unwrap();
    assert!(holds.iter().any(|hold| hold.reason == HoldReason::QuarantinedTwin), "{holds:?}");
    assert_eq!(house.set_aside().await, 1);
}

#[tokio::test]
async fn a_twin_of_an_own_result_makes_no_arrival_of_it() {
    let house = House::with(SameUid::KeepFirst).await;
    let mut ours = mr();
    let at = ours.windows(12).position(|bytes| bytes == b"TOSHIBA_MEC ").unwrap();
    ours[at..at + 12].copy_from_slice(b"Overread    ");
    let Arrival::Kept(first) = house.take_in(&ours) else { panic!("not kept") };
    let at = ours.len() - 200;
    ours[at] ^= 1;
    assert!(matches!(house.bring(&ours).await, Admitted::Conflict(_)));
    assert!(house.ledger.instance(&first.header.sop_instance).await.unwrap().is_none());
    assert_eq!(house.set_aside().await, 1);
}

#[tokio::test]
async fn a_late_row_takes_nothing_out_of_service_that_replaced_its_instance() {
    let house = House::with(SameUid::Replace).await;
    let first = house.take_in(&mr());
    let Admitted::Replaced(header) = house.bring(&with_another_pixel()).await else { panic!("not replaced") };
    assert!(matches!(house.record(first).await, Admitted::Conflict(_)));
    let in_service = house.spool.find(&InstanceKey::of(&header)).unwrap();
    assert_eq!(house.row(&header.sop_instance).await.digest, in_service.digest.to_string());
    assert_eq!(house.set_aside().await, 1);
}

#[tokio::test]
async fn a_late_row_of_what_was_replaced_itself_does_not_come_back() {
    let house = House::with(SameUid::Replace).await;
    house.bring(&mr()).await;
    let second = house.take_in(&with_another_pixel());
    let Admitted::Replaced(header) = house.bring(&with_yet_another_pixel()).await else {
        panic!("not replaced")
    };
    assert!(matches!(house.record(second).await, Admitted::Replaced(_)));
    let in_service = house.spool.find(&InstanceKey::of(&header)).unwrap();
    assert_eq!(house.row(&header.sop_instance).await.digest, in_service.digest.to_string());
    assert_eq!(house.set_aside().await, 2);
}

#[tokio::test]
async fn what_the_ledger_knows_elsewhere_goes_out_of_service() {
    let house = House::with(SameUid::KeepFirst).await;
    let first = stored(house.bring(&mr()).await);
    let mut elsewhere = mr();
    let study = first.study.as_str().as_bytes();
    let at = elsewhere.windows(study.len()).position(|bytes| bytes == study).unwrap() + study.len() - 1;
    elsewhere[at] = if elsewhere[at] == b'1' { b'2' } else { b'1' };
    assert!(matches!(house.bring(&elsewhere).await, Admitted::Conflict(_)));
    assert_eq!(house.set_aside().await, 1);
    assert_eq!(house.spool.walk().count(), 1, "nothing without a row is in service");
    assert!(!house.ledger.open_holds(&first.study).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_set_aside() {
    let house = House::with(SameUid::KeepFirst).await;
    let mut file = mr();
    file.truncate(file.len() - 5000);
    assert!(matches!(house.bring(&file).await, Admitted::Unusable(_)));
    assert_eq!(house.set_aside().await, 1);
}
