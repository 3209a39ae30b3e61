use figment::{
    Figment,
    providers::{Format, Toml},
};

use super::*;
use crate::config::DEFAULT_FILE;

fn read(text: &str) -> Result<(), ConfigError> {
    let figment = Figment::from(Toml::string(DEFAULT_FILE)).merge(Toml::string(text));
    let config: Config = figment.extract().map_err(ConfigError::from_figment)?;
    whole(&config)
}

/// The sentence must name the key, and hold every word that says what to do.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let sentence = read(text).expect_err(text).to_string();
    for word in words {
        assert!(sentence.contains(word), "{text}\n  gives: {sentence}\n  without: {word}");
    }
    assert!(!sentence.contains('\n'), "one sentence: {sentence}");
}

#[test]
fn unknown_keys_are_named_with_what_is_allowed() {
    refused(
        "[dicom]\nlisten_on = '127.0.0.1:1'",
        &["dicom.listen_on", "no known setting", "ae_title", "listen"],
    );
    refused("[dicm]\nlisten = '127.0.0.1:1'", &["dicm", "no known setting", "dicom"]);
    refused(
        "[[destination]]\nkind='folder'\nname='x'\npath='p'\npat='q'",
        &["pat", "no known setting", "path"],
    );
}

#[test]
fn bad_values_are_named_with_what_is_expected() {
    refused("[dicom]\nlisten = 'here'", &["dicom.listen", "here"]);
    refused("[dicom]\ndurability = 'sometimes'", &["dicom.durability", "sometimes", "power", "process"]);
    refused("[dicom]\nae_title = 'THIS TITLE IS TOO LONG'", &["dicom.ae_title", "16"]);
    refused("[dicom]\nassociations_max = 0", &["dicom.associations_max", "at least 1"]);
    refused("[dicom]\npdu_bytes_max = '1KiB'", &["dicom.pdu_bytes_max", "1KiB", "4KiB to 1GiB"]);
    refused("[dicom]\npdu_bytes_max = '4GiB'", &["dicom.pdu_bytes_max", "4GiB", "4KiB to 1GiB"]);
    refused("[dicom]\ndataset_bytes_max = 0", &["dicom.dataset_bytes_max", "at least 1MiB"]);
    refused("[dicom.timeouts]\nartim_seconds = 0", &["dicom.timeouts.artim_seconds"]);
    refused("[dicom.timeouts]\nartim = 1", &["dicom.timeouts.artim", "no known setting", "artim_seconds"]);
    refused("[readiness]\nquiet_seconds = 'long'", &["readiness.quiet_seconds", "long"]);
    refused("[spool]\nmin_free_bytes = '2 parsecs'", &["spool.min_free_bytes", "parsecs", "512MiB"]);
    refused("[spool]\nurl = 'ftp://x'", &["spool.url", "file:"]);
    refused("[database]\nurl = 'mysql://x'", &["database.url", "sqlite:", "postgres://"]);
    refused("[models]\ndevice = 'abacus'", &["models.device", "abacus", "cpu"]);
    refused("[limits]\nrequests_per_minute = 0", &["limits.requests_per_minute"]);
    refused("roles = ['scp', 'cook']", &["roles", "cook", "worker"]);
    refused("roles = []", &["roles", "empty"]);
    refused("[http]\ntrusted_proxies = ['proxy']", &["http.trusted_proxies", "proxy", "10.1.2.0/24"]);
    refused("[dicom]\nallow = [{ address = '10.0.0.0/40' }]", &["dicom.allow.address", "10.0.0.0/40"]);
    refused("[dicom]\nallow = [{}]", &["dicom.allow", "neither"]);
    refused("[dicom]\nsame_uid = 'guess'", &["dicom.same_uid", "guess", "keep-first", "replace"]);
    refused("[dicom]\nalso_called = [{ ae_title = 'A\\B' }]", &["dicom.also_called.ae_title", "backslash"]);
    refused(
        "[dicom]\ncommitment = [{ ae_title = 'CT1', address = 'ct1' }]",
        &["dicom.commitment.address", "HOST:PORT"],
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    refused("[dicom.tls]\nclient_optional = true", &["dicom.tls.client_ca", "client_optional"]);
    refused("[http]\nlisten = '0.0.0.0:80'", &["http.listen", "tls_cert", "insecure"]);
    refused("[http]\ntls_cert = 'a.pem'", &["http.tls_key", "missing"]);
    refused("[http]\ntls_key = 'a.pem'", &["http.tls_cert", "missing"]);
    refused("[dicom]\nlisten = '0.0.0.0:104'", &["dicom.listen", "dicom.allow", "allow_any"]);
    refused("[dicom]\nallow_any = true\nallow = [{ ae_title = 'CT' }]", &["dicom.allow_any"]);
    refused("[dicom.tls]\nlisten = '127.0.0.1:2762'", &["dicom.tls.cert", "missing"]);
    refused("[dicom.tls]\ncert = 'a.pem'", &["dicom.tls.listen", "missing"]);
    refused("roles = ['worker']", &["roles", "pipeline", "postgres"]);
}

#[test]
fn sources_and_destinations_have_what_their_kind_needs() {
    let destination = |keys: &str| format!("[[destination]]\nname = 'd'\n{keys}");
    refused(&destination("kind = 'folder'"), &["destination.0.path", "missing", "folder"]);
    refused(&destination("kind = 'cstore'\naddress = 'a:104'"), &["destination.0.ae_title", "missing"]);
    refused(
        &destination("kind = 'folder'\npath = 'p'\nurl = 'http://x'"),
        &["destination.0.url", "does not belong"],
    );
    refused(&destination("kind = 'orthanc'\nurl = 'x:8042'"), &["destination.0.url", "http://HOST"]);
    refused(
        &destination("kind = 'orthanc'\nurl = 'http://me:pw@x'"),
        &["destination.0.url", "username and password"],
    );
    refused(
        &destination("kind = 'cstore'\naddress = 'pacs'\nae_title = 'P'"),
        &["destination.0.address", "HOST:PORT"],
    );
    refused(
        &destination("kind = 'folder'\npath = 'p'\nproof = 'status'"),
        &["destination.0.proof", "does not belong"],
    );
    refused(
        &destination("kind = 'pigeon'"),
        &["destination.0.kind", "pigeon", "orthanc", "stow", "cstore", "folder"],
    );
    let folder =
        |form: &str| destination(&format!("kind = 'folder'\npath = 'p'\n[destination.form]\n{form}"));
    refused(&folder("seg = 'octree'"), &["octree", "binary", "labelmap", "fractional"]);
    refused(&folder("segg = 'binary'"), &["segg"]);
    refused(&folder("seg = 'binary'\nrle = true"), &["destination.0.form.rle", "labelmap"]);
    let twice = "[[destination]]\nname='d'\nkind='folder'\npath='p'\n".repeat(2);
    refused(&twice, &["destination.name", "stands twice"]);
    refused("[[source]]\nkind='orthanc'\nname='a b'\nurl='http://x'", &["source.name", "a b"]);
}

#[test]
fn who_is_to_be_told_has_what_its_kind_needs() {
    let secret = "secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'";
    let notify = |keys: &str| format!("[[notify]]\nname = 'n'\n{keys}");
    refused(&notify("kind = 'pigeon'"), &["notify.0.kind", "pigeon", "webhook", "fcm"]);
    refused(&notify(&format!("kind = 'webhook'\n{secret}")), &["notify.0.url", "missing"]);
    refused(&notify("kind = 'webhook'\nurl = 'https://x'"), &["notify.0.secret", "missing"]);
    refused(
        &notify("kind = 'webhook'\nurl = 'https://x'\nsecret = 'geheim'"),
        &["notify.0.secret", "whsec_", "openssl"],
    );
    refused(
        &notify(&format!("kind = 'webhook'\nurl = 'https://x'\n{secret}\ntopic = 't'")),
        &["notify.0.topic", "does not belong"],
    );
    refused(
        &notify(&format!("kind = 'webhook'\nurl = 'http://x'\n{secret}\nnames_patients = true")),
        &["notify.0.names_patients", "https"],
    );
    refused(
        &notify(&format!("kind = 'webhook'\nurl = 'https://x'\n{secret}\nevents = ['tea']")),
        &["notify.0.events", "tea", "diagnosis.ready"],
    );
    refused(&notify("kind = 'fcm'\ntopic = 't'"), &["notify.0.service_account", "missing"]);
    refused(&notify("kind = 'fcm'\nservice_account = 'a.json'"), &["notify.0.topic", "device"]);
    let registered = "kind = 'fcm'\nservice_account = 'a.json'\nregistered = true\n";
    refused(&notify(&format!("{registered}topic = 't'")), &["notify.0.registered", "one of the three"]);
    refused(&notify(&format!("{registered}names_patients = true")), &["notify.0.names_patients", "anybody"]);
    refused(
        &notify(&format!("kind = 'webhook'\nurl = 'https://x'\n{secret}\nregistered = true")),
        &["notify.0.registered", "does not belong"],
    );
    let twice = notify(&format!("kind = 'webhook'\nurl = 'https://x'\n{secret}\n")).repeat(2);
    refused(&twice, &["notify.name", "stands twice"]);
}

#[test]
fn what_fits_together_is_accepted() {
    for text in [
        "[dicom]\nlisten = '0.0.0.0:104'\nallow = [{ ae_title = 'CT1', address = '10.1.2.0/24' }, { address = '::1' }]",
        "[http]\nlisten = '0.0.0.0:80'\ninsecure = true",
        "[http]\nlisten = '0.0.0.0:80'\ntrusted_proxies = ['10.0.0.7']",
        "roles = ['scp']",
        "roles = ['worker']\n[database]\nurl = 'postgres://a:b@c/d'",
        "[[destination]]\nname = 'd'\nkind = 'orthanc'\nurl = 'http://x'\nusername = 'u'\npassword = 'p'",
    ] {
        assert_eq!(read(text), Ok(()), "{text}");
    }
}
