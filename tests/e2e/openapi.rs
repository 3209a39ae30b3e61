//! Every route of the running service, asked with what a generator makes of its OpenAPI document.

use std::{path::Path, time::Duration};

use peers::{Guarded, mortal};

use crate::{review, service::Site};

/// What is generated for one role, at most.
const SECONDS: &str = "25";
const LIMIT: Duration = Duration::from_secs(300);
/// With each of them in service no route may say that it cannot be served.
const MODELS: [&str; 4] = ["meso", "mg-expression", "mm-fusion", "ct-brain-class"];
/// Streams have no end, and a connection that is taken over is no answer.
const ENDLESS: &str = "^(/v1/events|/ws/events)$";

/// A key of `role`.
fn key_of(role: &'static str) -> impl Fn(&Site) -> String {
    move |site| site.key("generator", role)
}

/// A doctor at a screen, who alone may review.
fn doctor(site: &Site) -> String {
    review::add_doctor(site);
    review::sign_in_for_a_token(site)
}

/// Asks everything with what `authorise` gives; nothing may be a fault of ours, or outside of the document.
fn ask_everything_as(authorise: &(dyn Fn(&Site) -> String + Sync), left_out: &[&str]) {
    let site = Site::unlimited(&MODELS);
    let _service = site.serve();
    let key = authorise(&site);

    let mut command = mortal(peers::workspace().join(".venv/bin/schemathesis"));
    let base = format!("http://127.0.0.1:{}", site.http_port());
    command.arg("run").arg(format!("{base}/openapi.json")).args(["--url", &base]);
    command.args(["--header", &format!("Authorization: Bearer {key}")]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-time", SECONDS, "--max-examples", "10"]);
    command.args(["--generation-deterministic", "--no-shrink"]);
    command.args(["--checks", CHECKS, "--exclude-path-regex", ENDLESS, "--exclude-tag", "hooks"]);
    command.args(left_out);
    command.args([
        "--request-timeout",
        "30",
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
        "--no-color",
    ]);
    command.current_dir(site.path());
    let output = Guarded::output(command, LIMIT);
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{complaint}\n{}", tail(&site.log()));
    assert!(text.contains("No issues found"), "{text}");
    holds_no_fault(site.path(), &site.log());
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| line.contains("request failed")).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[track_caller]
fn holds_no_fault(site: &Path, log: &str) {
    let panicked = log.lines().find(|line| line.contains("panicked"));
    assert!(panicked.is_none(), "{}: {panicked:?}", site.display());
}

#[test]
fn nothing_that_can_be_asked_is_a_fault_or_outside_the_document() {
    // Whoever signs out gets no further.
    let but_signing_out: &[&str] = &["--exclude-tag", "auth"];
    std::thread::scope(|scope| {
        scope.spawn(|| ask_everything_as(&key_of("admin"), &[]));
        scope.spawn(|| ask_everything_as(&key_of("technician"), &[]));
        scope.spawn(|| ask_everything_as(&doctor, but_signing_out));
    });
}
