//! Overread beside a real Orthanc, set up as `orthanc/README.md` tells.

use std::{path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use peers::{Guarded, Orthanc, OrthancOptions, free_port, mortal, python, wait_until};
use serde_json::{Value, json};

use crate::{
    delivery::{delivered_results, instances_of, items},
    phantom::Phantom,
    service::{COMMAND_LIMIT, Service, Site},
    study::dcmsend,
};

/// Far longer than anything takes, even on a busy machine.
const LONG: Duration = Duration::from_secs(120);

const USER: &str = "overread";
const PASSWORD: &str = "a password of the tests";
const SECRET: &str = "a secret of the tests";

/// What a test wants otherwise than the README says.
#[derive(Default)]
pub(crate) struct Otherwise<'a> {
    /// Where the script calls; where the site listens, if nothing is said.
    pub(crate) webhook: Option<String>,
    /// More keys of the source.
    pub(crate) source: &'a str,
    /// Who speaks TLS in front of it.
    behind: Option<&'a Authority>,
}

/// Steps 2 and 3 of the README: Orthanc takes script and keys from our folder, and the site names it
/// as source and destination.
pub(crate) fn set_up(site: &Site, name: &str, options: OrthancOptions) -> Orthanc {
    set_up_otherwise(site, name, &Otherwise::default(), options)
}

pub(crate) fn set_up_otherwise(
    site: &Site,
    name: &str,
    otherwise: &Otherwise<'_>,
    options: OrthancOptions,
) -> Orthanc {
    let ours = format!("http://127.0.0.1:{}/hooks/orthanc/{name}", site.http_port());
    let orthanc = Orthanc::start_with(with_our_files(otherwise.webhook.as_ref().unwrap_or(&ours), options));
    let (url, authority) = match otherwise.behind {
        Some(authority) => {
            authority.stand_before(&orthanc);
            (authority.url(), format!("ca_file = {:?}", authority.file("ca.pem")))
        }
        None => (orthanc.url(), String::new()),
    };
    let account =
        format!("name = '{name}'\nurl = '{url}'\nusername = '{USER}'\npassword = '{PASSWORD}'\n{authority}");
    site.also(&format!(
        "[[source]]\nkind = 'orthanc'\n{account}\nwebhook_secret = '{SECRET}'\n{}\n\
         [[destination]]\nkind = 'orthanc'\n{account}\n",
        otherwise.source
    ));
    orthanc
}

fn with_our_files(webhook: &str, options: OrthancOptions) -> OrthancOptions {
    let folder = peers::workspace().join("orthanc");
    let text = std::fs::read_to_string(folder.join("orthanc.json")).expect("a file of the repository");
    let ours: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut keys = ours.as_object().expect("it is an object").clone();
    // What a user would adapt: where the script lies, where Overread is; and patience.
    keys["LuaScripts"] = json!([folder.join("overread.lua")]);
    keys["Overread"]["WebhookUrl"] = json!(webhook);
    keys["StableAge"] = json!(1);
    keys.extend(options.configuration);
    let mut environment = options.environment;
    environment.push(("OVERREAD_WEBHOOK_SECRET".to_owned(), SECRET.to_owned()));
    environment.push(("OVERREAD_ORTHANC_PASSWORD".to_owned(), PASSWORD.to_owned()));
    let credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
    OrthancOptions { configuration: keys, environment, credentials }
}

/// The packages of the pipeline's tests: they mark bright voxels, and compute in no time.
pub(crate) fn bright() -> PathBuf {
    peers::workspace().join("pipeline/tests/packages")
}

/// A study on disk that the package `bright` takes, as a modality would send it.
pub(crate) struct Examination {
    phantom: Phantom,
    pub(crate) files: Vec<PathBuf>,
    folder: tempfile::TempDir,
}

impl Examination {
    pub(crate) fn new(number: u32) -> Self {
        let phantom = Phantom::new(number);
        let folder =
            tempfile::Builder::new().prefix("overread-phantom").tempdir().expect("a temporary folder");
        let files = phantom.write_to(folder.path());
        Self { phantom, files, folder }
    }

    pub(crate) fn path(&self) -> &str {
        self.folder.path().to_str().expect("a path of ours is text")
    }

    pub(crate) fn uid(&self) -> String {
        self.phantom.study().as_str().to_owned()
    }
}

/// Numbers of series of one kind each, as Orthanc counts instances.
fn held(orthanc: &Orthanc, study: &str) -> [usize; 3] {
    ["MR", "SEG", "SR"].map(|modality| instances_of(orthanc, study, modality).len())
}

/// Waits until Orthanc calls the study stable with the results in it: its calls about them are made.
#[track_caller]
fn wait_until_results_are_stable(orthanc: &Orthanc, study: &str) {
    let query = json!({ "Level": "Study", "Query": { "StudyInstanceUID": study }, "Expand": true });
    wait_until("Orthanc to call the study stable again", LONG, || {
        let found = orthanc.post("/tools/find", &query);
        let is_stable = found[0]["IsStable"] == true;
        (is_stable && found[0]["Series"].as_array().is_some_and(|series| series.len() >= 3)).then_some(())
    });
}

/// Waits until the source has been read after now, twice, so that a second run would have begun.
#[track_caller]
fn wait_until_followed(service: &Service, study: &str) {
    wait_until("the study to be looked at", LONG, || {
        let study = service.api.get(&format!("/v1/studies/{study}")).json();
        (study["looked_at"] == true).then_some(())
    });
}

#[track_caller]
fn has_one_run(service: &Service, study: &str) {
    let jobs = items(&service.api, &format!("/v1/jobs?study={study}"));
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["state"], "done");
}

/// Modality → Orthanc → webhook → SEG and SR in Orthanc; the change log is not read meanwhile.
#[track_caller]
fn the_webhook_brings_it_in_and_the_results_go_back(overwrites: bool) {
    let site = Site::with_models(&bright(), "");
    let options = OrthancOptions::default().set("OverwriteInstances", json!(overwrites));
    let otherwise = Otherwise { source: "poll_seconds = 3600", ..Otherwise::default() };
    let orthanc = set_up_otherwise(&site, "main", &otherwise, options);
    let service = site.serve();
    let examination = Examination::new(1);
    dcmsend(&examination.files, orthanc.dicom_port());
    let study = examination.uid();
    delivered_results(&service.api, &study);
    assert_eq!(held(&orthanc, &study), [12, 1, 1]);

    // The modality sends it all again, and the write-back makes the study stable once more.
    dcmsend(&examination.files, orthanc.dicom_port());
    wait_until_results_are_stable(&orthanc, &study);
    wait_until_followed(&service, &study);
    has_one_run(&service, &study);
    assert_eq!(held(&orthanc, &study), [12, 1, 1]);
}

#[test]
fn the_webhook_brings_a_study_in_from_an_orthanc_that_overwrites() {
    the_webhook_brings_it_in_and_the_results_go_back(true);
}

#[test]
fn the_webhook_brings_a_study_in_from_an_orthanc_that_keeps_the_first() {
    the_webhook_brings_it_in_and_the_results_go_back(false);
}

#[test]
fn a_webhook_that_is_blocked_costs_only_time() {
    let site = Site::with_models(&bright(), "");
    let nowhere = format!("http://127.0.0.1:{}/hooks/orthanc/main", peers::free_port());
    let otherwise = Otherwise { webhook: Some(nowhere), source: "poll_seconds = 1", behind: None };
    let orthanc = set_up_otherwise(&site, "main", &otherwise, OrthancOptions::default());
    let service = site.serve();
    let examination = Examination::new(2);
    dcmsend(&examination.files, orthanc.dicom_port());
    delivered_results(&service.api, &examination.uid());
    assert!(orthanc.log().contains("Overread was not told"));
    has_one_run(&service, &examination.uid());
}

#[test]
fn orthanc_killed_in_the_middle_of_a_study_loses_and_doubles_nothing() {
    let site = Site::with_models(&bright(), "");
    let mut orthanc = set_up(&site, "main", OrthancOptions::default().set("StableAge", json!(3)));
    let service = site.serve();
    let examination = Examination::new(3);
    dcmsend(&examination.files[..5], orthanc.dicom_port());
    orthanc.kill();
    orthanc.restart();
    dcmsend(&examination.files[5..], orthanc.dicom_port());
    let study = examination.uid();
    // Killed once more while results may be under way.
    wait_until("a job", LONG, || {
        (!items(&service.api, &format!("/v1/jobs?study={study}")).is_empty()).then_some(())
    });
    orthanc.kill();
    orthanc.restart();
    delivered_results(&service.api, &study);
    let in_force: Vec<Value> = items(&service.api, &format!("/v1/results?study={study}"))
        .into_iter()
        .filter(|result| result["superseded_by"].is_null())
        .collect();
    assert_eq!(in_force.len(), 1, "{in_force:?}");
    let [images, segmentations, reports] = held(&orthanc, &study);
    assert_eq!((images, segmentations), (12, reports));
}

#[test]
fn two_orthancs_get_all_results_and_start_no_run_with_them() {
    let site = Site::with_models(&bright(), "");
    let [first, second] = ["first", "second"].map(|name| set_up(&site, name, OrthancOptions::default()));
    let service = site.serve();
    let examinations = [Examination::new(4), Examination::new(5)];
    for (examination, orthanc) in examinations.iter().zip([&first, &second]) {
        dcmsend(&examination.files, orthanc.dicom_port());
    }
    for (examination, [at_first, at_second]) in examinations.iter().zip([[12, 0], [0, 12]]) {
        let study = examination.uid();
        delivered_results(&service.api, &study);
        assert_eq!(held(&first, &study), [at_first, 1, 1]);
        assert_eq!(held(&second, &study), [at_second, 1, 1]);
    }
    // Each now holds results of a study whose images it never had, and tells of them.
    for (examination, orthanc) in examinations.iter().zip([&first, &second]) {
        wait_until_results_are_stable(orthanc, &examination.uid());
        wait_until_followed(&service, &examination.uid());
        has_one_run(&service, &examination.uid());
    }
}

/// Debian's Orthanc 1.10.1 ends with a segmentation fault at the first TLS connection; as in many
/// hospitals, something else speaks TLS in front of it.
#[test]
fn over_tls_the_named_authority_is_believed_and_no_other() {
    let authority = Authority::new();
    let site = Site::with_models(&bright(), "");
    let otherwise = Otherwise { behind: Some(&authority), ..Otherwise::default() };
    let orthanc = set_up_otherwise(&site, "main", &otherwise, OrthancOptions::default());
    let doctor = site.run(&["doctor"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    let service = site.serve();
    let examination = Examination::new(6);
    dcmsend(&examination.files, orthanc.dicom_port());
    delivered_results(&service.api, &examination.uid());
    assert_eq!(held(&orthanc, &examination.uid()), [12, 1, 1]);

    let stranger = Site::with_models(&bright(), "");
    let url = authority.url();
    stranger.also(&format!("[[destination]]\nkind = 'orthanc'\nname = 'main'\nurl = '{url}'\n"));
    let doctor = stranger.run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("certificate"), "{said}");
}

/// An authority, and what it issued for a server on loopback.
struct Authority {
    port: u16,
    proxy: OnceLock<Guarded>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("overread-ca").tempdir().expect("a temporary folder");
        let authority = Self { port: free_port(), proxy: OnceLock::new(), folder };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        authority.openssl(&format!("req -x509 {key} -days 2 -subj /CN=Tests -keyout ca.key -out ca.pem"));
        authority.openssl(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
        std::fs::write(authority.file("names"), "subjectAltName=IP:127.0.0.1\n").expect("our folder");
        authority.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        );
        let read = |name| std::fs::read_to_string(authority.file(name)).expect("openssl wrote it");
        let both = read("server.pem") + &read("server.key");
        std::fs::write(authority.file("server.both"), both).expect("our folder");
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn stand_before(&self, orthanc: &Orthanc) {
        let inside = orthanc.url().rsplit(':').next().expect("a URL with a port").to_owned();
        let mut command = mortal(python());
        command.arg(peers::workspace().join("tests/e2e/tls_proxy.py"));
        command.args([self.port.to_string(), inside]).arg(self.file("server.both"));
        self.proxy.set(Guarded::spawn(command)).expect("it stands before one Orthanc");
        wait_until("the TLS proxy to listen", LONG, || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(self.folder.path());
        let output = Guarded::output(command, COMMAND_LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
