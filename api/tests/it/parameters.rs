//! What stands behind `?` and is not known.

use ledger::Role;

use crate::app::TestApp;

#[tokio::test]
async fn a_filter_that_is_spelt_wrong_is_no_filter_but_a_mistake() {
    let app = TestApp::start().await;
    let key = app.key(Role::Technician).await;
    for (path, name) in [
        ("/v1/studies?modalty=MR", "modalty"),
        ("/v1/studies?modality=MR&page=2", "page"),
        ("/v1/results?Study=1.2", "Study"),
        ("/v1/jobs?states", "states"),
        ("/v1/models?x=1", "x"),
    ] {
        let refused = app.get(path).bearer(&key).send().await;
        let detail = refused.is_problem(400, "invalid_parameter").json()["detail"].to_string();
        assert!(detail.contains(&format!("no parameter {name};")), "{detail}");
    }
    let allowed = app.get("/v1/jobs?sate=dead").bearer(&key).send().await.json()["detail"].to_string();
    assert!(allowed.contains("study, model, state, limit, cursor"), "{allowed}");
    for path in ["/v1/studies?modality=MR&limit=1", "/v1/jobs?state=dead", "/v1/studies?", "/v1/models"] {
        app.get(path).bearer(&key).send().await.is(200);
    }
    // Who may not ask is not told what he could.
    app.get("/v1/studies?modalty=MR").send().await.is_problem(401, "unauthenticated");
}
