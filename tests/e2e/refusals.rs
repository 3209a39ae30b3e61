//! What cannot work is said in one sentence, with what to do, and a non-zero exit code.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use peers::{Guarded, Postgres, mortal, wait_until};

use crate::service::{COMMAND_LIMIT, Site, refusal};

/// Ends by itself, with `code`, and one line that holds every one of `words`.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let (found, said) = refusal(output);
    assert_eq!(found, code, "{said}");
    // Log lines may come before; the last line is the sentence.
    let sentence = said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("overread: "), "{said}");
    for word in words {
        assert!(sentence.contains(word), "without {word:?}: {sentence}");
    }
    for noise in ["stack backtrace", "panicked", "RUST_BACKTRACE", "Error {"] {
        assert!(!said.contains(noise), "{noise}: {said}");
    }
}

/// `overread serve` that must end by itself, and soon.
#[track_caller]
fn serve_until_it_ends(site: &Site) -> Output {
    let mut process = site.spawn();
    let status = wait_until("the refused service to end", Duration::from_secs(60), || {
        process.0.try_wait().ok().flatten()
    });
    Output { status, stdout: Vec::new(), stderr: site.log().into_bytes() }
}

#[test]
fn an_unknown_setting_is_refused_with_what_is_allowed() {
    let site = Site::new("");
    site.configure("[dicom]\nlisten_on = '127.0.0.1:104'\n");
    refused(&site.run(&["serve"]), 64, &["dicom.listen_on", "no known setting", "overread.toml", "ae_title"]);
}

#[test]
fn a_bad_value_from_the_environment_is_named_with_its_place() {
    let site = Site::new("");
    let mut command = mortal(env!("CARGO_BIN_EXE_overread"));
    command.arg("config").env("OVERREAD__READINESS__QUIET_SECONDS", "soon").current_dir(site.path());
    let output = Guarded::output(command, COMMAND_LIMIT);
    refused(&output, 64, &["readiness.quiet_seconds", "soon", "environment"]);
}

#[test]
fn a_configuration_file_that_is_not_there_is_named() {
    refused(&Site::new("").run(&["config", "--config", "nowhere.toml"]), 64, &["nowhere.toml"]);
}

#[test]
fn a_busy_http_port_is_named_with_its_setting() {
    let site = Site::new("");
    let _taken = TcpListener::bind(("127.0.0.1", site.http_port())).unwrap();
    let address = format!("127.0.0.1:{}", site.http_port());
    refused(&serve_until_it_ends(&site), 1, &[&address, "http.listen"]);
}

#[test]
fn a_busy_dicom_port_is_named_with_its_setting() {
    let site = Site::new("");
    let _taken = TcpListener::bind(("127.0.0.1", site.dicom_port())).unwrap();
    let address = format!("127.0.0.1:{}", site.dicom_port());
    refused(&serve_until_it_ends(&site), 1, &[&address, "dicom.listen"]);
}

#[test]
fn a_database_that_is_down_is_named_without_its_password() {
    let port = peers::free_port();
    let site =
        Site::new(&format!("[database]\nurl = 'postgres://me:secret-word@127.0.0.1:{port}/overread'\n"));
    let output = serve_until_it_ends(&site);
    refused(&output, 1, &["PostgreSQL", &port.to_string(), "start it"]);
    assert!(!refusal(&output).1.contains("secret-word"));
}

#[test]
fn a_database_that_does_not_exist_is_named() {
    let postgres = Postgres::start();
    let url = postgres.database().replace("test_0", "not_made");
    let site = Site::new(&format!("[database]\nurl = '{url}'\n"));
    refused(&serve_until_it_ends(&site), 1, &["no such database", "createdb"]);
}

#[test]
fn a_model_without_weights_is_refused_with_the_file_that_is_missing() {
    let site = Site::new("");
    let package = site.path().join("mr-brain-seg");
    copy(&peers::workspace().join("models/mr-brain-seg"), &package);
    std::fs::remove_file(package.join("model.onnx")).unwrap();
    refused(&site.run(&["model", "check", "mr-brain-seg"]), 1, &["model.onnx"]);
}

#[test]
fn a_model_that_does_not_exist_is_refused_with_those_that_do() {
    let site = Site::new("");
    std::fs::create_dir(site.path().join("in")).unwrap();
    let output = site.run(&["run", "--model", "mr-brane", "--in", "in", "--out", "out"]);
    refused(&output, 1, &["mr-brane", "mr-brain-seg"]);
}

#[test]
fn a_missing_onnx_runtime_is_refused_with_how_to_get_it() {
    let site = Site::new("");
    refused(&serve_with_runtime(&site, ""), 1, &["ONNX Runtime", "make runtime"]);
}

#[test]
fn an_onnx_runtime_of_the_wrong_version_is_refused_with_the_one_that_is_needed() {
    let old = peers::workspace().join(".venv/old-onnxruntime/onnxruntime/capi/libonnxruntime.so.1.22.1");
    assert!(old.is_file(), "{} is missing: run `make peers`", old.display());
    let site = Site::new("");
    refused(&serve_with_runtime(&site, &old.to_string_lossy()), 1, &["1.22", "1.24"]);
}

#[test]
fn a_file_that_is_no_onnx_runtime_is_refused() {
    let site = Site::new("");
    std::fs::write(site.path().join("libonnxruntime.so"), "not a library").unwrap();
    refused(&serve_with_runtime(&site, "libonnxruntime.so"), 1, &["libonnxruntime.so"]);
}

#[test]
fn a_second_service_on_the_same_data_is_refused() {
    let site = Site::new("");
    let service = site.serve();
    let output =
        site.run(&["serve", "--set", "http.listen=127.0.0.1:0", "--set", "dicom.listen=127.0.0.1:0"]);
    refused(&output, 1, &["already serves", "data"]);
    drop(service);
}

/// `overread serve` as installed elsewhere: beside the built binary lies the workspace's own
/// ONNX Runtime, which would be found.
fn serve_with_runtime(site: &Site, library: &str) -> Output {
    let installed = site.path().join("overread");
    copy(Path::new(env!("CARGO_BIN_EXE_overread")), &installed);
    let mut command = mortal(installed);
    command
        .args(["serve", "--set", &format!("runtime.onnxruntime={library}")])
        .current_dir(site.path())
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("VIRTUAL_ENV")
        .env_remove("OVERREAD__RUNTIME__ONNXRUNTIME");
    Guarded::output(command, COMMAND_LIMIT)
}

/// By a process of its own: a file that this one had open for writing could not be executed while
/// another test is starting a child.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy {}", from.display());
}
