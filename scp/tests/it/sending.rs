//! `scp::send` and `scp::echo` against independent receivers.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::peers::Orthanc;
use scp::{AeTitle, ClientError, ClientOptions, SendEvent, SendFailure, SendOptions, echo, send};
use tempfile::TempDir;

use crate::{
    service::{Service, data, dcmtk, files_below},
    wire::{EXPLICIT, MR, dataset},
};

fn peer(address: &str, called: &str) -> ClientOptions {
    ClientOptions::new(address, AeTitle::parse(called).unwrap(), AeTitle::parse("SENDER").unwrap())
}

/// Writes Part 10 files, each of its own SOP class and instance.
fn files(folder: &Path, classes: &[String]) -> Vec<PathBuf> {
    classes
        .iter()
        .enumerate()
        .map(|(number, class)| {
            let instance = format!("1.2.3.4.{number}");
            let mut bytes = vec![0; 128];
            bytes.extend_from_slice(b"DICM");
            for (element, value) in [(2_u16, class.as_str()), (3, &instance), (0x10, EXPLICIT)] {
                let mut value = value.as_bytes().to_vec();
                value.resize(value.len().next_multiple_of(2), 0);
                bytes.extend_from_slice(&[2, 0]);
                bytes.extend_from_slice(&element.to_le_bytes());
                bytes.extend_from_slice(b"UI");
                bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
                bytes.extend(value);
            }
            let mut data = dataset(&instance, 1000);
            let mut padded = class.clone().into_bytes();
            padded.resize(padded.len().next_multiple_of(2), 0);
            let rest = data.split_off(8 + MR.len().next_multiple_of(2));
            data.truncate(6);
            data.extend_from_slice(&u16::try_from(padded.len()).unwrap().to_le_bytes());
            data.extend(padded);
            data.extend(rest);
            bytes.extend(data);
            let path = folder.join(format!("{number}.dcm"));
            fs::write(&path, bytes).unwrap();
            path
        })
        .collect()
}

#[test]
fn more_contexts_than_an_association_holds_are_split_over_several() {
    let service = Service::start();
    let folder = TempDir::new().unwrap();
    let statement = scp::conformance_statement();
    let classes: Vec<String> = statement
        .lines()
        .filter_map(|line| line.split('|').nth(2).map(str::trim))
        .filter(|uid| uid.starts_with("1.2.840.10008.5.1.4."))
        .map(str::to_owned)
        .collect();
    assert!(classes.len() > 150, "{} classes", classes.len());
    let files = files(folder.path(), &classes);
    let options = SendOptions { associations: 3, ..SendOptions::new(peer(&service.address(), "OVERREAD")) };
    let events = AtomicUsize::new(0);
    let report = send(files, &options, &|event| {
        assert!(matches!(event, SendEvent::Stored { .. }), "{event:?}");
        events.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!((report.stored, report.failed.len()), (classes.len(), 0));
    assert_eq!(events.load(Ordering::Relaxed), classes.len());
    assert_eq!(service.stored().len(), classes.len());
}

#[test]
fn storescp_gets_the_data_sets_as_they_are() {
    let folder = TempDir::new().unwrap();
    let port = ::peers::free_port();
    let mut command = dcmtk("storescp");
    command.args(["+B", "+xa", "-od", folder.path().to_str().unwrap(), &port.to_string()]);
    let _receiver = ::peers::Guarded::spawn(command);
    let address = format!("127.0.0.1:{port}");
    ::peers::wait_until("storescp", Duration::from_secs(30), || echo(&peer(&address, "STORESCP")).ok());
    let files: Vec<_> = data("syntaxes")
        .into_iter()
        .filter(|path| {
            ["CT_small.dcm", "JPEG-LL.dcm", "SC_rgb_rle.dcm"].iter().any(|name| path.ends_with(name))
        })
        .collect();
    let report = send(files.clone(), &SendOptions::new(peer(&address, "STORESCP")), &|_| {});
    assert_eq!((report.stored, report.failed.len()), (3, 0), "{:?}", report.failed);
    for file in files {
        let (_, sent) = crate::wire::split(&fs::read(file).unwrap());
        let arrived = files_below(folder.path()).iter().any(|path| fs::read(path).unwrap().ends_with(&sent));
        assert!(arrived);
    }
}

#[test]
fn orthanc_takes_parallel_associations() {
    let orthanc = Orthanc::start();
    let address = format!("127.0.0.1:{}", orthanc.dicom_port());
    let folder = TempDir::new().unwrap();
    let files = files(folder.path(), &vec![MR.to_owned(); 60]);
    let options = SendOptions { associations: 4, ..SendOptions::new(peer(&address, orthanc.ae_title())) };
    let report = send(files, &options, &|_| {});
    assert_eq!((report.stored, report.failed.len()), (60, 0), "{:?}", report.failed);
    assert_eq!(orthanc.get("/statistics")["CountInstances"], 60);
}

#[test]
fn a_peer_that_comes_late_gets_everything_by_retries() {
    let folder = TempDir::new().unwrap();
    let files = files(folder.path(), &vec![MR.to_owned(); 5]);
    let port = ::peers::free_port();
    let options = SendOptions {
        retries: 20,
        retry_pause: Duration::from_millis(50),
        ..SendOptions::new(peer(&format!("127.0.0.1:{port}"), "OVERREAD"))
    };
    let (postponed, started) = (AtomicUsize::new(0), Mutex::new(None));
    let report = send(files, &options, &|event| {
        if let SendEvent::Postponed { .. } = event
            && postponed.fetch_add(1, Ordering::Relaxed) == 2
        {
            let service =
                Service::with(&["--durability", "process", "--listen", &format!("127.0.0.1:{port}")]);
            *started.lock().unwrap() = Some(service);
        }
    });
    assert_eq!((report.stored, report.failed.len()), (5, 0), "{:?}", report.failed);
    assert!(postponed.load(Ordering::Relaxed) >= 3);
}

#[test]
fn what_cannot_be_sent_is_named_and_the_rest_is_sent() {
    let service = Service::start();
    let folder = TempDir::new().unwrap();
    let mut files = files(folder.path(), &[MR.to_owned(), "1.2.3.4.5".to_owned()]);
    let text = folder.path().join("text.dcm");
    fs::write(&text, "no DICOM file").unwrap();
    files.push(text.clone());
    let report = send(files, &SendOptions::new(peer(&service.address(), "OVERREAD")), &|_| {});
    assert_eq!(report.stored, 1);
    let reason = |path: &Path| &report.failed.iter().find(|(failed, _)| failed == path).unwrap().1;
    assert!(matches!(reason(&text), SendFailure::NotSendable(_)));
    let refused = reason(&folder.path().join("1.dcm")).to_string();
    assert!(refused.contains("does not take 1.2.3.4.5"), "{refused}");
}

#[test]
fn a_refusal_says_why() {
    let service = Service::start();
    let error = echo(&peer(&service.address(), "NOBODY")).unwrap_err();
    assert!(matches!(error, ClientError::Rejected([1, 1, 7])), "{error}");
    assert!(error.to_string().contains("AE title that we called"), "{error}");
    echo(&peer(&service.address(), "OVERREAD")).unwrap();
}
