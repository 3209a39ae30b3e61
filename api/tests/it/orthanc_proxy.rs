//! A real Orthanc, asked through us by somebody who knows no password of it.

use axum::http::Method;
use ledger::{AuditFilter, PageRequest, Role};
use peers::{Orthanc, OrthancOptions};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, data, roomy};

const USER: (&str, &str) = ("overread", "a password of Orthanc");

/// An Orthanc with one real image of the patient `4MR1`, and the API in front of it.
async fn world() -> (Orthanc, TestApp) {
    let options = OrthancOptions {
        credentials: Some((USER.0.to_owned(), USER.1.to_owned())),
        ..OrthancOptions::default()
            .set("AuthenticationEnabled", json!(true))
            .set("RegisteredUsers", json!({ USER.0: USER.1 }))
    };
    let orthanc = tokio::task::spawn_blocking(|| {
        let orthanc = Orthanc::start_with(options);
        orthanc.store(&data("syntaxes/MR_small.dcm"));
        orthanc
    });
    let orthanc = orthanc.await.unwrap();
    let app = TestApp::before(roomy(), &orthanc.url(), Some(USER)).await;
    (orthanc, app)
}

async fn get(app: &TestApp, key: &str, path: &str) -> Answer {
    app.get(&format!("/api/orthanc/{path}")).bearer(key).send().await
}

#[tokio::test]
async fn a_viewer_reads_and_stores_without_a_password_of_orthanc() {
    let (_orthanc, app) = world().await;
    let key = app.key(Role::Technician).await;
    assert_eq!(get(&app, &key, "system").await.is(200).json()["Name"], "test");
    let studies = get(&app, &key, "dicom-web/studies").await.is(200).json();
    let study = studies[0]["0020000D"]["Value"][0].as_str().unwrap().to_owned();
    // What Orthanc says of its own addresses leads back to us.
    let call = app.get("/api/orthanc/dicom-web/studies").bearer(&key).header("host", "reader.example:8443");
    let studies = call.send().await.is(200).json();
    let retrieve = studies[0]["00081190"]["Value"][0].as_str().unwrap();
    assert_eq!(retrieve, format!("http://reader.example:8443/api/orthanc/dicom-web/studies/{study}"));
    let metadata = get(&app, &key, &format!("dicom-web/studies/{study}/metadata")).await;
    assert!(metadata.is(200).header("content-type").starts_with("application/dicom+json"));
    let file = std::fs::read(data("syntaxes/MR_small.dcm")).unwrap();
    let instance = get(&app, &key, "instances").await.is(200).json()[0].as_str().unwrap().to_owned();
    assert_eq!(get(&app, &key, &format!("instances/{instance}/file")).await.is(200).bytes, file);

    let other = std::fs::read(data("syntaxes/CT_small.dcm")).unwrap();
    let stored =
        app.post("/api/orthanc/instances").bearer(&key).body("application/dicom", other).send().await;
    assert_eq!(stored.is(200).json()["Status"], "Success");
    let found = app.post("/api/orthanc/tools/find").bearer(&key);
    let found = found.json(&json!({ "Level": "Study", "Query": {} })).send().await;
    assert_eq!(found.is(200).json().as_array().map(Vec::len), Some(2));
    // Orthanc's own refusals are its answers.
    get(&app, &key, "studies/0a49bedc-11223344-55667788-99aabbcc-ddeeff00").await.is(404);
}

#[tokio::test]
async fn a_search_finds_what_orthancs_plugin_would_not_have_decoded() {
    let (_orthanc, app) = world().await;
    let key = app.key(Role::Doctor).await;
    let all = get(&app, &key, "dicom-web/studies?includefield=all").await.is(200).json();
    let name = all[0]["00100010"]["Value"][0]["Alphabetic"].as_str().unwrap().to_owned();
    let encoded = name.replace('^', "%5E").replace(' ', "%20");
    assert_ne!(name, encoded, "the example needs a character that is encoded");
    for query in [format!("PatientName={encoded}"), "PatientName=CompressedSamples%5E%2A".to_owned()] {
        let found = get(&app, &key, &format!("dicom-web/studies?{query}")).await.is(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{query}");
    }
    let none = get(&app, &key, "dicom-web/studies?PatientName=Nobody%5EA").await;
    assert!(none.status == 204 || none.json() == json!([]), "{}", none.text());
}

#[tokio::test]
async fn only_what_is_listed_passes_and_for_the_roles_that_are_listed() {
    let (orthanc, app) = world().await;
    let (technician, admin) = (app.key(Role::Technician).await, app.key(Role::Admin).await);
    get(&app, &admin, "statistics").await.is(200);
    get(&app, &admin, "studies").await.is_problem(403, "forbidden");
    app.get("/api/orthanc/system").send().await.is_problem(401, "unauthenticated");
    for path in [
        "modalities",
        "peers",
        "app/explorer.html",
        "studies/..%2ftools",
        "studies/%2e%2e/system",
        "/studies",
    ] {
        get(&app, &technician, path).await.is_problem(404, "not_found");
    }
    let post =
        |path: &str| app.post(&format!("/api/orthanc/{path}")).bearer(&technician).bytes("return 1").send();
    for path in ["tools/execute-script", "tools/shutdown", "modalities/PACS/store", "studies/1/anonymize"] {
        post(path).await.is_problem(404, "not_found");
    }
    let study = get(&app, &technician, "studies").await.json()[0].as_str().unwrap().to_owned();
    for method in [Method::DELETE, Method::PUT] {
        let call = app.call(method, &format!("/api/orthanc/studies/{study}")).bearer(&technician);
        call.send().await.is_problem(405, "method_not_allowed");
    }
    let orthanc = std::sync::Arc::new(orthanc);
    let asked = std::sync::Arc::clone(&orthanc);
    let studies = tokio::task::spawn_blocking(move || asked.get("/studies")).await.unwrap();
    assert_eq!(studies, json!([study]));
    let scoped = app.scoped_key(Role::Technician, &["jobs:read"]).await;
    get(&app, &scoped, "studies").await.is_problem(403, "forbidden");
    let reading = app.scoped_key(Role::Technician, &["studies:read"]).await;
    get(&app, &reading, "studies").await.is(200);
    app.post("/api/orthanc/instances").bearer(&reading).send().await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn no_credential_of_either_side_passes() {
    let requests = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let url = spy(std::sync::Arc::clone(&requests)).await;
    let app = TestApp::before(roomy(), &url, Some(USER)).await;
    let key = app.key(Role::Technician).await;
    let call = app.get("/api/orthanc/system?x=1").header("x-api-key", &key).header("cookie", "session=1");
    let answer = call.header("x-forwarded-user", "root").header("accept", "application/json").send().await;
    assert_eq!((answer.is(200).header("set-cookie"), answer.header("server")), ("", ""));
    let seen = requests.lock().unwrap().join("").to_ascii_lowercase();
    assert!(seen.contains("authorization: basic "), "{seen}");
    assert!(seen.contains("accept: application/json") && seen.contains("get /system?x=1 "), "{seen}");
    for secret in [key.to_ascii_lowercase().as_str(), "cookie", "x-forwarded-user"] {
        assert!(!seen.contains(secret), "{secret} went over: {seen}");
    }
}

/// Something in Orthanc's place that takes down what it is sent.
async fn spy(requests: std::sync::Arc<std::sync::Mutex<Vec<String>>>) -> String {
    use axum::{Router, http::HeaderMap, http::Uri, http::header};
    let answer = move |method: Method, uri: Uri, headers: HeaderMap| async move {
        let mut seen = format!("{method} {uri} \n");
        for (name, value) in &headers {
            seen += &format!("{name}: {}\n", value.to_str().unwrap_or_default());
        }
        requests.lock().unwrap().push(seen);
        ([(header::SET_COOKIE, "orthanc=1"), (header::SERVER, "Orthanc")], "{}")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    format!("http://{address}")
}

#[tokio::test]
async fn an_orthanc_that_is_down_or_lets_us_not_in_is_a_bad_gateway() {
    let app = TestApp::before(roomy(), "http://127.0.0.1:9", None).await;
    let key = app.key(Role::Technician).await;
    get(&app, &key, "system").await.is_problem(502, "bad_gateway");
    let (orthanc, _app) = world().await;
    let app = TestApp::before(roomy(), &orthanc.url(), Some((USER.0, "another password"))).await;
    let key = app.key(Role::Technician).await;
    let refused = get(&app, &key, "studies").await;
    assert_eq!(refused.is_problem(502, "bad_gateway").header("www-authenticate"), "");
}

#[tokio::test]
async fn a_look_at_a_study_is_in_the_audit_trail_once_and_names_no_patient() {
    let (_orthanc, app) = world().await;
    let key = app.key(Role::Doctor).await;
    let study = get(&app, &key, "dicom-web/studies?PatientID=4MR1").await.is(200).json();
    let study = study[0]["0020000D"]["Value"][0].as_str().unwrap().to_owned();
    for _ in 0..3 {
        get(&app, &key, &format!("dicom-web/studies/{study}/metadata")).await.is(200);
    }
    let filter = AuditFilter { action: Some("orthanc.".to_owned()), ..AuditFilter::default() };
    let rows = app.ledger.audit(&filter, &PageRequest::first(10)).await.unwrap().rows;
    let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.subject.as_str())).collect();
    let subject = format!("dicom-web/studies/{study}");
    assert_eq!(told, [("orthanc.read", subject.as_str()), ("orthanc.search", "dicom-web/studies")]);
    assert!(rows.iter().all(|row| row.detail == Value::Object(serde_json::Map::new())));
}

#[tokio::test]
async fn each_search_and_each_study_by_wado_is_a_row_of_its_own() {
    let app = TestApp::before(roomy(), &spy(std::sync::Arc::default()).await, None).await;
    let key = app.key(Role::Doctor).await;
    let wado = "wado?requestType=WADO&studyUID=";
    for path in [
        "dicom-web/studies?PatientID=1",
        "dicom-web/studies?PatientID=2",
        &format!("{wado}1.2.3&objectUID=1.2.3.1"),
        &format!("{wado}1.2.3&objectUID=1.2.3.2"),
        &format!("{wado}1.2.4&objectUID=1.2.4.1"),
        &format!("{wado}Doe^Jane"),
    ] {
        get(&app, &key, path).await.is(200);
    }
    let filter = AuditFilter { action: Some("orthanc.".to_owned()), ..AuditFilter::default() };
    let rows = app.ledger.audit(&filter, &PageRequest::first(10)).await.unwrap().rows;
    let told: Vec<_> = rows.iter().rev().map(|row| (row.action.as_str(), row.subject.as_str())).collect();
    let expected = [
        ("orthanc.search", "dicom-web/studies"),
        ("orthanc.search", "dicom-web/studies"),
        ("orthanc.read", "wado/1.2.3"),
        ("orthanc.read", "wado/1.2.4"),
        ("orthanc.read", "wado"),
    ];
    assert_eq!(told, expected);
}
