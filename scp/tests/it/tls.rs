//! TLS beside plain: DCMTK and our own sender, client certificates, renewal without restart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use peers::{Orthanc, OrthancOptions};
use scp::{AeTitle, ClientOptions, SendOptions, TlsOptions, echo, send};
use serde_json::json;
use tempfile::TempDir;

use crate::service::{Service, data, dcmtk, peer_script_over_tls, run};

/// An authority and what it issued: `ca.pem`, `<name>.pem`, `<name>.key`.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(TempDir::new().unwrap());
        run(Command::new("openssl").current_dir(authority.0.path()).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=Test Authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]));
        authority
    }

    fn issue(&self, name: &str) {
        let folder = self.0.path();
        fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        run(Command::new("openssl").current_dir(folder).args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &request,
        ]));
        run(Command::new("openssl").current_dir(folder).args([
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &certificate,
        ]));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn tls_service(authority: &Authority, extra: &[&str]) -> Service {
    let (cert, key) = (authority.text("server.pem"), authority.text("server.key"));
    let mut arguments = vec!["--tls-listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    arguments.extend(extra);
    Service::with(&arguments)
}

fn peer(port: u16, ca: &Path, identity: Option<(PathBuf, PathBuf)>) -> ClientOptions {
    let title = |text| AeTitle::parse(text).unwrap();
    let tls = TlsOptions { ca: ca.to_owned(), identity, server_name: None };
    ClientOptions {
        tls: Some(tls),
        ..ClientOptions::new(format!("127.0.0.1:{port}"), title("OVERREAD"), title("SENDER"))
    }
}

#[test]
fn dcmtk_and_our_sender_store_over_tls_while_plain_goes_on() {
    let authority = Authority::new();
    authority.issue("server");
    let service = tls_service(&authority, &[]);
    let port = service.tls_port.unwrap();
    let file = data("syntaxes").into_iter().find(|path| path.ends_with("CT_small.dcm")).unwrap();
    run(dcmtk("storescu")
        .args(["+tla", "+cf", &authority.text("ca.pem"), "-aec", "OVERREAD", "127.0.0.1", &port.to_string()])
        .arg(&file));
    run(dcmtk("echoscu").args(["-aec", "OVERREAD", "127.0.0.1", &service.port.to_string()]));
    let files: Vec<_> =
        data("syntaxes").into_iter().filter(|path| path.ends_with("examples_palette.dcm")).collect();
    let report = send(files, &SendOptions::new(peer(port, &authority.path("ca.pem"), None)), &|_| {});
    assert_eq!((report.stored, report.failed.len()), (1, 0), "{:?}", report.failed);
    assert_eq!(service.stored().len(), 2);
}

#[test]
fn pynetdicom_stores_and_has_it_committed_over_tls() {
    let authority = Authority::new();
    authority.issue("server");
    let service = tls_service(&authority, &[]);
    let port = service.tls_port.unwrap().to_string();
    let file = |name| data("syntaxes").into_iter().find(|path| path.ends_with(name)).unwrap();
    let (stored, committed) = (file("CT_small.dcm"), file("MR_small_implicit.dcm"));
    let ca = authority.path("ca.pem");
    let output = peer_script_over_tls("store.py", &["localhost", &port, stored.to_str().unwrap()], &ca);
    assert!(output.contains("0000"), "{output}");
    let output = peer_script_over_tls("commit.py", &["same", &port, committed.to_str().unwrap()], &ca);
    assert!(output.starts_with("action 0000\nevent 1 confirmed 1 failed 0\n"), "{output}");
    assert_eq!(service.stored().len(), 2);
}

#[test]
fn orthanc_forwards_its_instances_over_tls() {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("client");
    let service = tls_service(&authority, &["--tls-ca", &authority.text("ca.pem")]);
    let modality = json!({
        "AET": "OVERREAD", "Host": "127.0.0.1", "Port": service.tls_port.unwrap(), "UseDicomTls": true,
    });
    let options = OrthancOptions::default()
        .set("DicomModalities", json!({ "overread": modality }))
        .set("DicomTlsCertificate", json!(authority.text("client.pem")))
        .set("DicomTlsPrivateKey", json!(authority.text("client.key")))
        .set("DicomTlsTrustedCertificates", json!(authority.text("ca.pem")));
    let orthanc = Orthanc::start_with(options);
    let file = data("syntaxes").into_iter().find(|path| path.ends_with("CT_small.dcm")).unwrap();
    let stored = orthanc.store(&file)["ID"].clone();
    let report =
        orthanc.post("/modalities/overread/store", &json!({ "Resources": [stored], "Synchronous": true }));
    assert_eq!(report["FailedInstancesCount"], 0, "{report}");
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn a_required_client_certificate_is_required() {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("client");
    let stranger = Authority::new();
    stranger.issue("client");
    let service = tls_service(&authority, &["--tls-ca", &authority.text("ca.pem")]);
    let port = service.tls_port.unwrap();
    let ca = authority.path("ca.pem");
    let identity = |of: &Authority| Some((of.path("client.pem"), of.path("client.key")));
    echo(&peer(port, &ca, identity(&authority))).unwrap();
    assert!(echo(&peer(port, &ca, None)).is_err());
    assert!(echo(&peer(port, &ca, identity(&stranger))).is_err());
    assert!(echo(&peer(port, &stranger.path("ca.pem"), identity(&authority))).is_err(), "we check them, too");
}

#[test]
fn an_optional_client_certificate_may_be_missing_but_not_wrong() {
    let authority = Authority::new();
    authority.issue("server");
    authority.issue("client");
    let stranger = Authority::new();
    stranger.issue("client");
    let ca = authority.text("ca.pem");
    let service = tls_service(&authority, &["--tls-ca", &ca, "--tls-client", "optional"]);
    let port = service.tls_port.unwrap();
    let ca = authority.path("ca.pem");
    let identity = |of: &Authority| Some((of.path("client.pem"), of.path("client.key")));
    echo(&peer(port, &ca, identity(&authority))).unwrap();
    echo(&peer(port, &ca, None)).unwrap();
    assert!(echo(&peer(port, &ca, identity(&stranger))).is_err());
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let authority = Authority::new();
    authority.issue("server");
    let service = tls_service(&authority, &[]);
    let port = service.tls_port.unwrap();
    echo(&peer(port, &authority.path("ca.pem"), None)).unwrap();
    let successor = Authority::new();
    successor.issue("server");
    fs::write(authority.path("server.key"), "half written").unwrap();
    echo(&peer(port, &authority.path("ca.pem"), None)).unwrap();
    for name in ["server.key", "server.pem"] {
        fs::copy(successor.path(name), authority.path(name)).unwrap();
    }
    echo(&peer(port, &successor.path("ca.pem"), None)).unwrap();
}
