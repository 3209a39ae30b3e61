//! DCMTK, pynetdicom and Orthanc as senders.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use ::peers::{Orthanc, OrthancOptions};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::service::{PATIENCE, Service, data, dcmtk, peer_script, run};

/// The files that every sender can read, one for each SOP Instance UID, without those that lack UIDs.
fn sendable() -> Vec<PathBuf> {
    let wanted = [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "SC_rgb_rle.dcm",
        "JPEG-LL.dcm",
        "examples_palette.dcm",
        "rtdose.dcm",
        "liver_1frame.dcm",
        "US-PAL-8-10x-echo",
        "image_dfl.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
    ];
    let files: Vec<_> =
        data("syntaxes").into_iter().filter(|path| wanted.iter().any(|name| path.ends_with(name))).collect();
    assert_eq!(files.len(), wanted.len());
    files
}

#[test]
fn echoscu_gets_its_answer() {
    let service = Service::start();
    run(dcmtk("echoscu").args(["-aec", "OVERREAD", "127.0.0.1", &service.port.to_string()]));
}

/// Makes DCMTK write the time before each line: seconds and milliseconds.
const WITH_TIMES: &str = "\
log4cplus.rootLogger = INFO, console
log4cplus.appender.console = log4cplus::ConsoleAppender
log4cplus.appender.console.layout = log4cplus::PatternLayout
log4cplus.appender.console.layout.ConversionPattern = %D{%s%q} %m%n
";

/// Milliseconds from each request of `storescu` to its answer.
fn answer_times(log: &str) -> Vec<u64> {
    let (mut sent, mut times) = (0, Vec::new());
    for line in log.lines() {
        let Some((at, said)) = line.split_once(' ') else { continue };
        if said.starts_with("Sending Store Request") {
            sent = at.parse().unwrap();
        } else if said.starts_with("Received Store Response (Success)") {
            times.push(at.parse::<u64>().unwrap() - sent);
        }
    }
    times
}

#[test]
fn storescu_sends_and_does_not_stall() {
    let mut service = Service::start();
    let mr = data("syntaxes").into_iter().find(|path| path.ends_with("MR_small.dcm")).unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), WITH_TIMES).unwrap();
    let port = service.port.to_string();
    let options = ["-R", "+II", "--repeat", "100", "-aec", "OVERREAD", "127.0.0.1", &port];
    let log = run(dcmtk("storescu").arg("--log-config").arg(config.path()).args(options).arg(mr));
    let times = answer_times(&log);
    assert_eq!(times.len(), 100, "{log}");
    // DCMTK has Nagle's algorithm on: with delayed acknowledgements every answer takes the kernel's 40 ms.
    let prompt = times.iter().filter(|&&milliseconds| milliseconds < 40).count();
    assert!(prompt > 50, "milliseconds to each answer: {times:?}");
    service.stop();
    assert_eq!(service.stored().len(), 100);
    assert_eq!(service.ledger("select count(*) from instance").trim(), "100");
}

#[test]
fn dcmsend_sends_what_it_can_read() {
    let mut service = Service::start();
    let files = sendable();
    run(dcmtk("dcmsend")
        .args(["-v", "-aec", "OVERREAD", "-dn", "127.0.0.1", &service.port.to_string()])
        .args(&files));
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined()), (files.len(), 0));
}

#[test]
fn pynetdicom_stores_in_every_syntax() {
    let mut service = Service::start();
    let files = sendable();
    let mut arguments = vec!["127.0.0.1".to_owned(), service.port.to_string()];
    arguments.extend(files.iter().map(|path| path.display().to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = peer_script("store.py", &arguments);
    assert_eq!(output.matches("0000").count(), files.len(), "{output}");
    service.stop();
    assert_eq!(service.stored().len(), files.len());
}

#[test]
fn commitment_is_reported_on_the_association_that_asked() {
    let service = Service::with(&[]);
    let file = sendable().remove(0);
    let output = peer_script("commit.py", &["same", &service.port.to_string(), file.to_str().unwrap()]);
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        [
            "action 0000",
            "event 1 confirmed 1 failed 0",
            "action 0000",
            "event 2 confirmed 1 failed 1 reason 0112",
            "action 0000",
            "event 2 confirmed 0 failed 1 reason 0119"
        ]
    );
}

/// Runs `commit.py` with one file; gives the first thing that was said of it.
fn first_verdict(service: &Service, mode: &str, file: &Path) -> String {
    let output = peer_script("commit.py", &[mode, &service.port.to_string(), file.to_str().unwrap()]);
    output.lines().nth(1).unwrap().to_owned()
}

const CONFIRMED: &str = "event 1 confirmed 1 failed 0";

#[test]
fn what_was_confirmed_outlives_a_power_cut_that_takes_its_file() {
    let mut service = Service::with(&["--durability", "power"]);
    let file = sendable().remove(0);
    assert_eq!(first_verdict(&service, "same", &file), CONFIRMED);
    let stored = service.stored();
    let bytes = fs::read(&stored[0]).unwrap();
    // Nothing has flushed the file itself.
    service.die();
    for path in &stored {
        fs::remove_file(path).unwrap();
    }
    service.restart();
    assert_eq!((stored.len(), fs::read(&stored[0]).unwrap()), (1, bytes));
    assert_eq!(first_verdict(&service, "again", &file), CONFIRMED);
}

#[test]
fn a_commitment_is_not_judged_before_the_row_is_there() {
    let service = Service::with(&[]);
    let file = sendable().remove(0);
    let held = service.hold_ledger();
    std::thread::scope(|scope| {
        let verdict = scope.spawn(|| first_verdict(&service, "same", &file));
        crate::service::wait_until("the file", || service.stored().len() == 1);
        std::thread::sleep(std::time::Duration::from_secs(1)); // the request has come by then
        assert!(!verdict.is_finished(), "nothing can be said yet");
        drop(held);
        assert_eq!(verdict.join().unwrap(), CONFIRMED);
    });
}

#[test]
fn what_is_damaged_on_the_disk_is_not_confirmed_and_can_be_sent_again() {
    let mut service = Service::start();
    let file = sendable().remove(0);
    assert_eq!(first_verdict(&service, "same", &file), CONFIRMED);
    let stored = service.stored();
    let mut bytes = fs::read(&stored[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&stored[0], &bytes).unwrap();
    assert_eq!(first_verdict(&service, "again", &file), "event 2 confirmed 0 failed 1 reason 0112");
    assert_eq!(first_verdict(&service, "same", &file), CONFIRMED);
    service.stop();
    assert_eq!((service.stored().len(), service.quarantined()), (1, 1));
    assert_eq!(service.ledger("select reason from quarantined").trim(), "unparsable");
}

#[test]
fn commitment_is_reported_to_the_requesters_own_listener() {
    let port = ::peers::free_port();
    let service = Service::with(&["--commitment-peer", &format!("MODALITY@127.0.0.1:{port}")]);
    let file = sendable().remove(0);
    let output = peer_script(
        "commit.py",
        &[&format!("own:{port}"), &service.port.to_string(), file.to_str().unwrap()],
    );
    assert!(output.starts_with("action 0000\nevent 1 confirmed 1 failed 0\n"), "{output}");
}

#[test]
fn a_commitment_report_outlives_a_kill() {
    // The requester's listener takes the connection and says nothing: the report is under way.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = silent.local_addr().unwrap().port();
    let mut service = Service::with(&["--commitment-peer", &format!("MODALITY@127.0.0.1:{own}")]);
    let file = sendable().remove(0);
    let asked = peer_script("commit.py", &["later", &service.port.to_string(), file.to_str().unwrap()]);
    assert_eq!(asked, "action 0000\n");
    let connection = silent.accept().unwrap();
    service.die();
    drop((connection, silent));
    let requester = std::thread::spawn(move || peer_script("commit.py", &["report", &own.to_string()]));
    ::peers::wait_until("the requester listens", PATIENCE, || TcpStream::connect(("127.0.0.1", own)).ok());
    service.restart();
    assert_eq!(requester.join().unwrap(), "event 1 confirmed 1 failed 0\n");
    let owed = || service.ledger("select count(*) from owed_report").trim() == "0";
    ::peers::wait_until("the report is settled", PATIENCE, || owed().then_some(()));
}

#[test]
fn with_users_only_their_passcodes_open_an_association() {
    let service = Service::with(&["--durability", "process", "--user", "ct1:secret"]);
    let ask = |identity: &[&str]| {
        let port = service.port.to_string();
        let mut arguments = vec![port.as_str()];
        arguments.extend(identity);
        peer_script("identity.py", &arguments).trim().to_owned()
    };
    const REFUSED: &str = "refused 1 2 1"; // for good, by ACSE, no reason given
    assert_eq!(ask(&["passcode", "ct1", "secret"]), "accepted and answered 0000");
    assert_eq!(ask(&["passcode", "ct1", "guess"]), REFUSED);
    assert_eq!(ask(&["passcode", "ct2", "secret"]), REFUSED);
    assert_eq!(ask(&["jwt", "a.token.nobody.checks"]), REFUSED);
    assert_eq!(ask(&["none"]), REFUSED);
}

#[test]
fn a_signed_token_opens_an_association_while_it_is_valid() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = |name: &str| {
        let path = folder.path().join(name);
        run(Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"])
            .arg(&path));
        EncodingKey::from_ec_pem(&fs::read(path).unwrap()).unwrap()
    };
    let (issuer, stranger) = (key("issuer.key"), key("stranger.key"));
    let public = folder.path().join("issuer.pem");
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(folder.path().join("issuer.key"))
        .arg("-out")
        .arg(&public));
    let service = Service::with(&["--durability", "process", "--token-key", public.to_str().unwrap()]);
    let ask = |token: &str| {
        peer_script("identity.py", &[&service.port.to_string(), "jwt", token]).trim().to_owned()
    };
    let signed = |by: &EncodingKey, from: &str, valid: i64| {
        let until = time::OffsetDateTime::now_utc().unix_timestamp() + valid;
        let claims = json!({ "iss": from, "sub": "ct1", "exp": until });
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, by).unwrap()
    };
    assert_eq!(ask(&signed(&issuer, "hospital", 600)), "accepted and answered 0000");
    for (why, token) in [
        ("expired", signed(&issuer, "hospital", -600)),
        ("another issuer", signed(&issuer, "elsewhere", 600)),
        ("another key", signed(&stranger, "hospital", 600)),
        ("no signature", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJob3NwaXRhbCIsImV4cCI6NDEwMjQ0NDgwMH0.".to_owned()),
    ] {
        assert_eq!(ask(&token), "refused 1 2 1", "{why}");
    }
}

#[test]
fn orthanc_forwards_its_instances() {
    let mut service = Service::start();
    let modality = json!({ "overread": { "AET": "OVERREAD", "Host": "127.0.0.1", "Port": service.port } });
    let orthanc = Orthanc::start_with(OrthancOptions::default().set("DicomModalities", modality));
    let files = sendable();
    let stored: Vec<_> = files.iter().map(|file| orthanc.store(file)["ID"].clone()).collect();
    let report =
        orthanc.post("/modalities/overread/store", &json!({ "Resources": stored, "Synchronous": true }));
    assert_eq!(report["FailedInstancesCount"], 0, "{report}");
    service.stop();
    assert_eq!(service.stored().len(), files.len());
    assert!(fs::metadata(&service.stored()[0]).unwrap().len() > 0);
}
