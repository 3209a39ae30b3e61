//! Who may call what: every route, every role, and nobody.

use std::collections::BTreeSet;

use api::{Access, RULES};
use axum::http::{Method, StatusCode};
use ledger::Role;

use crate::{
    app::{Answer, TestApp, roomy},
    forge::{Bad, Forge},
};

const TRY_IT_ROUTES: &[&str] = &["/openapi.json", "/docs", "/docs/", "/docs/{*rest}"];

/// An address of the route.
fn address(route: &str) -> String {
    route
        .replace("{uid}", "1.2.3")
        .replace("{artifact_id}", "018bcfe5-6800-7000-8000-000000000001")
        .replace("/deliveries/{id}", "/deliveries/7")
        .replace("/models/{id}", "/models/none")
        .replace("/predictions/{id}", "/predictions/7")
        .replace("{id}", "018bcfe5-6800-7000-8000-000000000000")
        .replace("{name}", "nobody")
        .replace("{source}", "main")
        .replace("{*rest}", "index.html")
        .replace("{series_id}", "1.2.3")
        .replace("{request_id}", "7")
        .replace("{*path}", "tools/find")
}

pub(crate) async fn call(app: &TestApp, method: &Method, route: &str, token: Option<&str>) -> Answer {
    // What of Orthanc is for administrators, too, is read.
    let is_system = method == Method::GET && route == "/api/orthanc/{*path}";
    let address = if is_system { "/api/orthanc/system".to_owned() } else { address(route) };
    let call = app.call(method.clone(), &address);
    match token {
        Some(token) => call.bearer(token).send().await,
        None => call.send().await,
    }
}

/// Past the gate; what the handler then made of an empty request does not matter here.
fn got_in(answer: &Answer) -> bool {
    let nothing_there = answer.text().contains("nothing is at this address");
    !nothing_there
        && !matches!(
            answer.status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::INTERNAL_SERVER_ERROR
        )
}

/// Refused, in the words of the route's contract. The old model server knows no 401.
#[track_caller]
pub(crate) fn is_refused(route: &str, answer: &Answer, status: u16, code: &str) {
    let gateway = route.starts_with("/api/ml/") || route.starts_with("/ml/v1/");
    let model_server = ["/schema", "/predict", "/reload"].contains(&route) || route.starts_with("/api/v1/");
    let imaging = ["/task/{id}", "/feedback"].contains(&route)
        || route.ends_with("/ct_classification")
        || route.ends_with("/async")
        || route == "/api/v1/m1/inference";
    if route.starts_with("/api/mri/") {
        answer.is(status);
        assert_eq!(answer.json()["success"], false, "{route}: {}", answer.text());
        return;
    }
    if imaging {
        answer.is(status);
        assert!(answer.json()["error"]["code"].is_string(), "{route}: {}", answer.text());
        return;
    }
    if !gateway && !model_server {
        answer.is_problem(status, code);
        return;
    }
    answer.is(if gateway { status } else { 403 });
    assert!(answer.json()["detail"].is_string(), "{route}: {}", answer.text());
}

/// Who may pass: roles, and whether a key stands for a person there.
pub(crate) fn admitted(access: Access) -> Option<(&'static [Role], bool)> {
    match access {
        Access::Roles(roles) => Some((roles, true)),
        Access::People(roles) => Some((roles, false)),
        Access::Open | Access::SignIn | Access::SourceSecret | Access::PollingWorker => None,
    }
}

#[track_caller]
pub(crate) fn check(route: &str, answer: &Answer, may_pass: bool, who: &str) {
    if may_pass {
        assert!(got_in(answer), "{who} is kept out: {} {}", answer.status, answer.text());
    } else {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{who} gets in");
        is_refused(route, answer, 403, "forbidden");
    }
}

/// The whole table: every route, every role, by a sign-in, by a key, and by everything that
/// looks like a sign-in and is none.
#[tokio::test]
async fn every_route_lets_in_the_roles_of_the_table_and_no_others() {
    let app = TestApp::with_models(roomy(), &["meso", "ct-brain-class"]).await;
    let mut tried = 0;
    for rule in RULES {
        let Some((roles, takes_keys)) = admitted(rule.access) else { continue };
        let nobody = call(&app, &rule.method, rule.route, None).await;
        is_refused(rule.route, &nobody, 401, "unauthenticated");
        for role in Role::ALL {
            let name = format!("{} {} as {role}", rule.method, rule.route);
            let forge = Forge::new(&app, *role, tried).await;
            for bad in Bad::ALL {
                let answer = call(&app, &rule.method, rule.route, Some(&forge.bad(&app, *bad).await)).await;
                assert!(!got_in(&answer), "{name}: {bad:?} gets in");
                is_refused(rule.route, &answer, 401, bad.code());
                tried += 1;
            }
            let signed_in = call(&app, &rule.method, rule.route, Some(&forge.good(&app).await)).await;
            check(rule.route, &signed_in, roles.contains(role), &format!("{name}, signed in"));
            let keyed = call(&app, &rule.method, rule.route, Some(&app.key(*role).await)).await;
            check(rule.route, &keyed, takes_keys && roles.contains(role), &format!("{name}, by key"));
        }
    }
    assert!(tried > 1000, "only {tried} bad credentials were tried");
}

#[tokio::test]
async fn routes_for_nobody_in_particular_ask_for_no_sign_in() {
    let app = TestApp::start().await;
    for rule in RULES.iter().filter(|rule| matches!(rule.access, Access::Open)) {
        let answer = call(&app, &rule.method, rule.route, None).await;
        assert!(got_in(&answer), "{} {}: {} {}", rule.method, rule.route, answer.status, answer.text());
    }
    for rule in RULES.iter().filter(|rule| matches!(rule.access, Access::SignIn)) {
        call(&app, &rule.method, rule.route, None).await.is_problem(415, "unsupported_media_type");
    }
}

#[tokio::test]
async fn a_call_of_orthanc_needs_the_secret_of_its_source() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    for rule in RULES.iter().filter(|rule| matches!(rule.access, Access::SourceSecret)) {
        call(&app, &rule.method, rule.route, None).await.is_problem(401, "bad_credentials");
        call(&app, &rule.method, rule.route, Some(&admin)).await.is_problem(401, "bad_credentials");
    }
}

#[test]
fn every_documented_route_is_in_the_table_and_the_other_way_round() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert((method.to_uppercase(), route.clone()));
        }
    }
    let listed: BTreeSet<_> = RULES
        .iter()
        .filter(|rule| !TRY_IT_ROUTES.contains(&rule.route))
        .map(|rule| (rule.method.to_string(), rule.route.to_owned()))
        .collect();
    assert_eq!(documented, listed);
    assert_eq!(listed.len() + TRY_IT_ROUTES.len(), RULES.len(), "a rule is there twice");
}

#[tokio::test]
async fn a_method_that_is_not_in_the_table_is_refused() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    let answer = app.call(Method::DELETE, "/v1/studies").bearer(&admin).send().await;
    answer.is_problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
}
