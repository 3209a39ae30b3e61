//! One row for each file of the test data: which answer it gets. What is kept is kept byte for byte.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    service::{Service, data},
    wire::{EXPLICIT, MR, Raw, dataset, split},
};

const SUCCESS: u16 = 0x0000;
const INVALID_SOP_INSTANCE: u16 = 0x0117;
const DOES_NOT_MATCH: u16 = 0xA900;
const CANNOT_UNDERSTAND: u16 = 0xC000;

const IMPLICIT: &str = "1.2.840.10008.1.2";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Files that are not answered with success, or whose syntax is not in a meta group.
/// Written down before the first run; all others have to be kept.
const EXPECTED: &[(&str, Option<&str>, u16)] = &[
    ("CR-MONO1-10-chest", Some(IMPLICIT), SUCCESS),
    ("ExplVR_LitEndNoMeta.dcm", Some(EXPLICIT), SUCCESS),
    ("ExplVR_BigEndNoMeta.dcm", Some(BIG_ENDIAN), SUCCESS),
    ("no_meta.dcm", Some(EXPLICIT), CANNOT_UNDERSTAND), // begins with a stray byte
    ("meta_missing_tsyntax.dcm", Some(EXPLICIT), CANNOT_UNDERSTAND),
    ("MR_truncated.dcm", None, CANNOT_UNDERSTAND),
    ("rtplan_truncated.dcm", None, CANNOT_UNDERSTAND),
    ("emri_small_jpeg_2k_lossless_too_short.dcm", None, CANNOT_UNDERSTAND),
    ("no_meta_group_length.dcm", None, CANNOT_UNDERSTAND), // this one and the next ones lack UIDs
    ("UN_sequence.dcm", None, CANNOT_UNDERSTAND),
    ("empty_charset_LEI.dcm", None, CANNOT_UNDERSTAND),
    ("nested_priv_SQ.dcm", None, CANNOT_UNDERSTAND),
    ("chrSQEncoding.dcm", None, CANNOT_UNDERSTAND),
    ("HTJ2KLossless_08_RGB.dcm", None, CANNOT_UNDERSTAND),
    ("JLSL_16_15_1_1F.dcm", None, CANNOT_UNDERSTAND),
    ("JLSL_RGB_ILV0.dcm", Some("1.2.840.10008.1.2.4.80"), CANNOT_UNDERSTAND), // meta without preamble
    ("JPEGLSNearLossless_08.dcm", None, CANNOT_UNDERSTAND),
    ("JPEGLSNearLossless_16.dcm", None, CANNOT_UNDERSTAND),
    ("bad_sequence.dcm", None, INVALID_SOP_INSTANCE), // its UIDs are hexadecimal digests
];

/// What a sender would put into the command: from the data set, by pydicom.
fn identities(files: &[std::path::PathBuf]) -> BTreeMap<String, (String, String)> {
    let script = "import sys,warnings,os\nwarnings.simplefilter('ignore')\nimport pydicom\n\
        for f in sys.argv[1:]:\n d=pydicom.dcmread(f,force=True,stop_before_pixels=True)\n \
        print(os.path.basename(f),d.get('SOPClassUID','-'),d.get('SOPInstanceUID','-'),sep='|')";
    let mut arguments = vec!["-c", script];
    arguments.extend(files.iter().map(|path| path.to_str().unwrap()));
    crate::service::python(&arguments)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|').map(str::to_owned);
            Some((fields.next()?, (fields.next()?, fields.next()?)))
        })
        .collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_file_of_the_test_data_gets_its_answer_and_what_is_kept_is_unchanged() {
    let service = Service::start();
    let files: Vec<_> =
        ["syntaxes", "charsets", "bad", "mr-enhanced"].iter().flat_map(|folder| data(folder)).collect();
    let files: Vec<_> = files.into_iter().filter(|path| !name(path).ends_with(".tar.xz")).collect();
    let identities = identities(&files);
    let (mut wrong, mut kept, mut set_aside) = (Vec::new(), Vec::new(), 0);
    for path in &files {
        let expected = EXPECTED.iter().find(|(known, ..)| *known == name(path));
        let status = expected.map_or(SUCCESS, |(_, _, status)| *status);
        let (syntax, dataset) = split(&fs::read(path).unwrap());
        let syntax = expected.and_then(|(_, syntax, _)| *syntax).map(str::to_owned).or(syntax).unwrap();
        let (class, instance) = &identities[name(path)];
        let class = if class == "-" { MR } else { class };
        let instance = if instance == "-" { "1.2.3.4.5" } else { instance };
        let mut sender = Raw::associate(&service.address(), class, &syntax);
        let answer = sender.store(class, instance, &dataset).unwrap();
        if answer != status {
            wrong.push(format!("{}: {answer:04X}, expected {status:04X}", name(path)));
        }
        match status {
            SUCCESS => kept.push((name(path).to_owned(), instance.to_owned(), dataset)),
            CANNOT_UNDERSTAND => set_aside += 1,
            _ => {}
        }
        sender.release();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(service.unfinished(), 0);
    let stored = service.stored();
    let mut twins = 0;
    for (file, instance, dataset) in &kept {
        let path = stored.iter().find(|path| name(path) == format!("{instance}.dcm")).unwrap();
        // Some files of the collection are one image in several syntaxes under one UID: the first is kept.
        if !fs::read(path).unwrap().ends_with(dataset) {
            assert!(
                kept.iter().filter(|(_, other, _)| other == instance).count() > 1,
                "{file} is not as it was sent"
            );
            twins += 1;
        }
    }
    assert_eq!(service.quarantined(), set_aside + twins, "nothing else is in quarantine");
}

#[test]
fn a_data_set_that_disagrees_with_its_command_is_refused_and_kept_aside() {
    let service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    assert_eq!(sender.store(MR, "1.2.3.5", &dataset("1.2.3.4", 100)).unwrap(), DOES_NOT_MATCH);
    sender.release();
    let ct = "1.2.840.10008.5.1.4.1.1.2";
    let mut sender = Raw::associate(&service.address(), ct, EXPLICIT);
    assert_eq!(sender.store(ct, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), DOES_NOT_MATCH);
    // A class that is not that of the context never gets as far as its data set.
    assert_eq!(sender.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), 0x0122);
    sender.release();
    assert_eq!((service.stored().len(), service.quarantined()), (0, 2));
}

#[test]
fn the_same_instance_again_is_success_and_another_one_with_its_uid_holds_the_study() {
    let mut service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    let first = dataset("1.2.3.4", 100);
    let mut second = first.clone();
    let at = second.windows(2).rposition(|bytes| bytes == b"T1").unwrap();
    second[at..at + 2].copy_from_slice(b"T2"); // another Patient ID
    for sent in [&first, &first, &second] {
        assert_eq!(sender.store(MR, "1.2.3.4", sent).unwrap(), SUCCESS);
    }
    sender.release();
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined()), (1, 1));
    assert!(fs::read(&service.stored()[0]).unwrap().ends_with(&first));
    assert_eq!(service.ledger("select count(*) from instance").trim(), "1");
    assert_eq!(service.ledger("select reason from quarantined").trim(), "twin");
    assert_ne!(
        service.ledger("select count(*) from hold").trim(),
        "0",
        "another patient: a person has to look"
    );
}

#[test]
fn by_policy_new_content_replaces_the_old_unless_the_patient_differs() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut service = Service::within(folder.path(), &["--same-uid", "replace"]);
    let first = dataset("1.2.3.4", 100);
    let second = dataset("1.2.3.4", 102);
    let other_patient = {
        let mut bytes = dataset("1.2.3.4", 104);
        let at = bytes.windows(2).rposition(|bytes| bytes == b"T1").unwrap();
        bytes[at..at + 2].copy_from_slice(b"T2");
        bytes
    };
    let store = |service: &Service, sent: &[&Vec<u8>]| {
        let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
        for sent in sent {
            assert_eq!(sender.store(MR, "1.2.3.4", sent).unwrap(), SUCCESS);
        }
    };
    store(&service, &[&first]);
    service.stop();
    let mut service = Service::within(folder.path(), &["--same-uid", "replace"]);
    store(&service, &[&second, &second]);
    service.die_and_restart(); // whether or not the ledger had been told
    store(&service, &[&other_patient]);
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined(), service.unfinished()), (1, 2, 0));
    let kept = fs::read(&service.stored()[0]).unwrap();
    assert!(kept.ends_with(&second));
    assert_eq!(service.ledger("select size_bytes from instance").trim(), kept.len().to_string());
    assert_eq!(service.ledger("select count(*) from event where kind = 'instance.replaced'").trim(), "1");
    assert_ne!(
        service.ledger("select count(*) from hold").trim(),
        "0",
        "another patient: a person has to look"
    );
}

#[test]
fn an_instance_with_the_uid_of_another_study_is_kept_aside_and_holds_that_study() {
    let mut service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    let first = dataset("1.2.3.4", 100);
    let elsewhere = {
        let mut bytes = first.clone();
        let at = bytes.windows(8).position(|bytes| bytes == b"1.2.3.1\0").unwrap();
        bytes[at..at + 8].copy_from_slice(b"1.2.3.9\0"); // another Study Instance UID
        bytes
    };
    for sent in [&first, &elsewhere] {
        assert_eq!(sender.store(MR, "1.2.3.4", sent).unwrap(), SUCCESS);
    }
    sender.release();
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined(), service.unfinished()), (1, 1, 0));
    assert!(fs::read(&service.stored()[0]).unwrap().ends_with(&first));
    assert_eq!(service.ledger("select count(*) from instance").trim(), "1");
    assert_eq!(service.ledger("select reason from quarantined").trim(), "misplaced");
    assert_eq!(service.ledger("select study_uid from hold").trim(), "1.2.3.1");
    assert_eq!(service.ledger("select count(*) from event where kind = 'instance.misplaced'").trim(), "1");
}

#[test]
fn an_aborted_association_leaves_what_was_answered_and_nothing_else() {
    let mut service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    assert_eq!(sender.store(MR, "1.2.3.4", &dataset("1.2.3.4", 100)).unwrap(), SUCCESS);
    let half = crate::wire::store_message(9, MR, "1.2.3.5", &dataset("1.2.3.5", 3 << 20), 16384);
    sender.send(&half[..2 << 20]);
    drop(sender);
    crate::service::wait_until("the end of the association", || service.unfinished() == 0);
    service.stop();
    assert_eq!(service.stored().len(), 1);
    assert_eq!(service.ledger("select ending from association").trim(), "aborted");
}

#[test]
fn rows_come_before_the_end_of_their_association() {
    let mut service = Service::start();
    let mut sender = Raw::associate(&service.address(), MR, EXPLICIT);
    for number in 0..40 {
        let instance = format!("1.2.3.4.{number}");
        assert_eq!(sender.store(MR, &instance, &dataset(&instance, 2000)).unwrap(), SUCCESS);
    }
    sender.release();
    service.stop();
    assert_eq!(service.ledger("select count(*) from instance").trim(), "40");
    assert_eq!(
        service.ledger("select ending, door, calling_ae from association").trim(),
        "released dimse RAW"
    );
    let kinds = service.ledger("select kind from event order by rowid");
    assert!(kinds.trim().ends_with("association.ended"), "{kinds}");
}
