//! Calls of Orthanc's script.

use serde_json::json;

use crate::app::{HOOK_SECRET, TestApp};

#[tokio::test]
async fn a_call_with_the_secret_is_taken_and_any_other_is_not() {
    let app = TestApp::start().await;
    let body = json!({ "event": "StableStudy", "orthancId": "0a49bedc-11223344-55667788-99aabbcc-ddeeff00" });
    let call = |source: &str| app.post(&format!("/hooks/orthanc/{source}")).json(&body);
    call("main").bearer(HOOK_SECRET).send().await.is(202);
    call("main").send().await.is_problem(401, "bad_credentials");
    call("main").bearer("another secret").send().await.is_problem(401, "bad_credentials");
    call("moon").bearer(HOOK_SECRET).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_body_that_the_script_never_sends_is_refused() {
    let app = TestApp::start().await;
    for body in ["", "[]", r#"{"event":"StableStudy","orthancId":"../../tools/shutdown"}"#] {
        let call = app.post("/hooks/orthanc/main").bearer(HOOK_SECRET).body("application/json", body);
        call.send().await.is_problem(400, "bad_request");
    }
}
