//! The audit trail at an Audit Record Repository.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{Syslog, SyslogConfig, SyslogTransport};
use ledger::NewAudit;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::app::TestApp;

const LIMIT: Duration = Duration::from_secs(60);

async fn deed(app: &TestApp, action: &str, subject: &str) {
    let row = NewAudit {
        at: app.now(),
        actor: "account:kim".to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        request_id: Some("r-1".to_owned()),
        detail: json!({}),
    };
    app.ledger.add_audit(&app.audit_key, &row).await.unwrap();
}

fn config(address: SocketAddr, transport: SyslogTransport) -> SyslogConfig {
    SyslogConfig { address: format!("localhost:{}", address.port()), transport, host: "ward-7".to_owned() }
}

/// What an XML parser of its own finds in the messages.
fn parsed(messages: &[String]) -> Vec<(String, String)> {
    let script = "import sys, json, base64, xml.etree.ElementTree as E\n\
        for text in json.load(sys.stdin):\n\
        \x20   root = E.fromstring(text.split('\\ufeff', 1)[1].encode())\n\
        \x20   event = root.find('EventIdentification/EventID')\n\
        \x20   details = {d.get('type'): base64.b64decode(d.get('value')).decode() for d in root.iter('ParticipantObjectDetail')}\n\
        \x20   assert root.tag == 'AuditMessage' and root.find('AuditSourceIdentification') is not None\n\
        \x20   print(details['seq'], event.get('csd-code'))";
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), serde_json::to_vec(messages).unwrap()).unwrap();
    let mut command = peers::mortal("sh");
    command.args(["-c", "exec \"$1\" -c \"$2\" < \"$3\"", "sh"]);
    command.arg(peers::python()).arg(script).arg(input.path());
    let output = peers::Guarded::output(command, LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

#[tokio::test]
async fn deeds_arrive_over_udp_as_dicom_audit_messages() {
    let app = TestApp::start().await;
    let repository = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(repository.local_addr().unwrap(), SyslogTransport::Udp);
    config.address = repository.local_addr().unwrap().to_string();
    deed(&app, "study.read", "1.2.3").await;
    deed(&app, "auth.login-failed", "kim & <co>").await;
    let sender = tokio::spawn(api::send_audit(app.state.clone(), Syslog::new(config).unwrap()));
    let mut messages = Vec::new();
    let mut bytes = vec![0; 65_536];
    for _ in 0..2 {
        let length = tokio::time::timeout(LIMIT, repository.recv(&mut bytes)).await.unwrap().unwrap();
        messages.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    assert!(messages[0].starts_with("<85>1 2023-11-14T22:13:20Z ward-7 overread "), "{}", messages[0]);
    let expected = [("1", "110103"), ("2", "110114")].map(|(seq, code)| (seq.to_owned(), code.to_owned()));
    assert_eq!(parsed(&messages), expected);
    sender.abort();
}

/// A certificate for localhost, and the authority that signed it.
fn certificates(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let run = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args(arguments.split(' '));
        let output = peers::Guarded::output(command, LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
    run(&format!("req -x509 {key} -days 2 -subj /CN=Tests -keyout ca.key -out ca.pem"));
    run(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    run(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    (folder.join("ca.pem"), folder.join("server.pem"), folder.join("server.key"))
}

/// A repository that takes messages until it is aborted.
fn repository(listener: TcpListener, tls: TlsAcceptor, got: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = tls.accept(stream).await else { continue };
            // RFC 5425 §4.3: length, space, message.
            'connection: loop {
                let mut length = 0;
                loop {
                    match stream.read_u8().await {
                        Ok(b' ') => break,
                        Ok(digit) => length = length * 10 + usize::from(digit - b'0'),
                        Err(_) => break 'connection,
                    }
                }
                let mut message = vec![0; length];
                if stream.read_exact(&mut message).await.is_err() {
                    break;
                }
                got.lock().unwrap().push(String::from_utf8(message).unwrap());
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_down_misses_nothing() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, cert, key) = certificates(folder.path());
    let chain = CertificateDer::pem_file_iter(cert).unwrap().collect::<Result<_, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth();
    let server = server.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    let tls = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    // Nobody listens when the first deeds are done.
    let transport = SyslogTransport::Tls { ca_file, identity: None };
    let syslog = Syslog::new(config(address, transport)).unwrap();
    for number in 0..20 {
        deed(&app, "study.read", &format!("1.2.{number}")).await;
    }
    let sender = tokio::spawn(api::send_audit(app.state.clone(), syslog));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let got = Arc::new(Mutex::new(Vec::new()));
    let first = repository(TcpListener::bind(address).await.unwrap(), tls.clone(), Arc::clone(&got));
    let wait_for = async |count: usize| {
        let waiting = async {
            while seqs(&got.lock().unwrap()).len() < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("the messages arrive");
    };
    wait_for(20).await;
    // It goes away with its connection, and comes back after more was done.
    first.abort();
    drop(first.await);
    for number in 20..30 {
        deed(&app, "study.read", &format!("1.2.{number}")).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = repository(TcpListener::bind(address).await.unwrap(), tls, Arc::clone(&got));
    wait_for(30).await;
    assert_eq!(seqs(&got.lock().unwrap()), (1..=30).collect());
    sender.abort();
    second.abort();
}

fn seqs(messages: &[String]) -> std::collections::BTreeSet<u32> {
    parsed(messages).into_iter().map(|(seq, _)| seq.parse().unwrap()).collect()
}
