//! Bodies that nobody should send: each gets the right status, a code and a sentence, and
//! the service goes on as if nothing had been.

use ledger::{PageRequest, PredictionFilter, Role};
use serde_json::json;

use crate::{
    app::{TestApp, data},
    compat_imaging::{BOUNDARY, app, ct_files, form, zip_of},
    predict::example,
};

struct Bad {
    name: String,
    path: &'static str,
    kind: String,
    body: Vec<u8>,
    status: u16,
    /// What the answer must say.
    says: &'static str,
}

struct Table(Vec<Bad>);

impl Table {
    fn add(
        &mut self,
        name: &str,
        path: &'static str,
        kind: &str,
        body: impl Into<Vec<u8>>,
        status: u16,
        says: &'static str,
    ) {
        let (name, kind) = (name.to_owned(), kind.to_owned());
        self.0.push(Bad { name, path, kind, body: body.into(), status, says });
    }

    fn rows(&mut self, name: &str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) {
        self.add(name, "/v1/models/meso/predict", "application/json", body, status, says);
    }

    fn csv(&mut self, name: &str, body: impl Into<Vec<u8>>, status: u16, says: &'static str) {
        self.add(name, "/v1/models/meso/predict", "text/csv", body, status, says);
    }

    fn image(&mut self, name: &str, image: &[u8], says: &'static str) {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let body = form(Some(image), &[("patient_id", "12")]);
        self.add(name, "/predict/ct_classification", &kind, body, 400, says);
    }

    fn upload(&mut self, name: &str, file: impl Into<Vec<u8>>, says: &'static str) {
        self.add(name, "/v1/studies", "application/dicom", file, 400, says);
    }

    fn raw_form(
        &mut self,
        name: &str,
        kind: &str,
        body: impl Into<Vec<u8>>,
        status: u16,
        says: &'static str,
    ) {
        self.add(name, "/predict/ct_classification", kind, body, status, says);
    }
}

fn json_bodies(table: &mut Table) {
    for (name, body) in [
        ("nothing", ""),
        ("an open brace", "{"),
        ("an open list", "{\"data\": [{\"age\": 1}"),
        ("an open text", "{\"data\": [{\"age"),
        ("single quotes", "{'data': []}"),
        ("a trailing comma", "{\"data\": [{\"age\": 1},]}"),
        ("NaN", "{\"data\": [{\"age\": NaN}]}"),
        ("Infinity", "{\"data\": [{\"age\": Infinity}]}"),
        ("a number beyond all numbers", "{\"data\": [{\"age\": 1e999}]}"),
        ("a hexadecimal number", "{\"data\": [{\"age\": 0x41}]}"),
        ("a leading zero", "{\"data\": [{\"age\": 065}]}"),
        ("two documents", "{\"data\": [{}]} {\"data\": [{}]}"),
        ("a half surrogate", "{\"patient_id\": \"\\ud800\", \"data\": [{}]}"),
        ("a raw control character", "{\"patient_id\": \"a\nb\", \"data\": [{}]}"),
        ("a comment", "{\"data\": [{}]} // rows"),
    ] {
        table.rows(name, body, 400, "invalid_json");
    }
    table.rows(
        "bytes that are no UTF-8",
        b"{\"patient_id\": \"\xff\xfe\", \"data\": [{}]}".as_slice(),
        400,
        "invalid_json",
    );
    table.rows("a byte order mark of UTF-16", b"\xff\xfe{\0}\0".as_slice(), 400, "invalid_json");
    table.rows("lists in lists without end", "[".repeat(200_000), 400, "invalid_json");
    table.rows("objects in objects without end", "{\"data\":".repeat(100_000), 400, "");
    table.rows(
        "a deep value",
        format!("{{\"data\": [{{\"age\": {}", "[".repeat(100_000)),
        400,
        "invalid_json",
    );
    for (name, body) in [
        ("no data", "{}"),
        ("a list", "[]"),
        ("a number", "7"),
        ("null", "null"),
        ("no rows", "{\"data\": []}"),
        ("data that is an object", "{\"data\": {\"age\": 65}}"),
        ("data that is a text", "{\"data\": \"[{}]\"}"),
        ("data that is null", "{\"data\": null}"),
    ] {
        table.rows(name, body, 400, "data list required");
    }
    table.rows("a row that is a list", "{\"data\": [[65, 30]]}", 400, "row 1 is not an object");
    table.rows("a row that is null", "{\"data\": [{}, null]}", 400, "row 2 is not an object");
    for (name, value) in [
        ("a text", "\"65\""),
        ("a truth", "true"),
        ("a list", "[65]"),
        ("an object", "{\"years\": 65}"),
        ("a huge text", &format!("\"{}\"", "9".repeat(1_000_000))),
    ] {
        let body = format!("{{\"data\": [{{}}, {{\"age\": {value}}}]}}");
        table.rows(&format!("an age that is {name}"), body, 422, "row 2: age is not a number");
    }
    for (name, value) in [
        ("a list", "[12]"),
        ("a fraction", "1.5"),
        ("empty", "\"\""),
        ("a truth", "false"),
        ("a line break", "\"a\\nb\""),
        ("a huge text", &format!("\"{}\"", "x".repeat(1_000_000))),
    ] {
        let body = format!("{{\"data\": [{{}}], \"patient_id\": {value}}}");
        table.rows(&format!("a patient that is {name}"), body, 400, "patient_id is a text");
    }
    table.rows(
        "a model name of a megabyte",
        format!("{{\"data\": [{{}}], \"model_name\": \"{}\"}}", "m".repeat(1_000_000)),
        400,
        "model_name",
    );
    table.rows("endless rows", format!("{{\"data\": [{}{{}}]}}", "{},".repeat(100_000)), 413, "100000 rows");
    let names: String = (0..20_001).map(|number| format!("\"n{number}\": 1,")).collect();
    table.rows(
        "endless names",
        format!("{{\"data\": [{{{names}\"age\": 1}}]}}"),
        413,
        "20000 different names",
    );
    table.add(
        "few bytes for millions of values",
        "/v1/models/mg-expression/predict",
        "application/json",
        format!("{{\"data\": [{}{{}}]}}", "{},".repeat(16_000)),
        413,
        "5000000 values",
    );
    table.rows("a body over the limit", vec![b' '; 3_000_001], 413, "body_too_large");
    table.add(
        "another media type",
        "/v1/models/meso/predict",
        "application/x-python-pickle",
        "x",
        415,
        "application/json",
    );
    table.add("no media type", "/v1/models/meso/predict", "", "{\"data\": [{}]}", 415, "application/json");
}

fn csv_bodies(table: &mut Table) {
    table.csv("an empty file", "", 400, "the file is empty");
    table.csv("a header alone", "age,albumin\n", 400, "no rows");
    table.csv("an open quote", "age\n\"65\n", 400, "line 2");
    table.csv("more fields than names", "age\n65,30\n", 400, "line 2");
    table.csv("text for a number", "age\n65\nsixty\n", 422, "row 2: age is not a number");
    table.csv("infinity", "age\ninf\n", 422, "row 1: age is not a number");
    table.csv("bytes that are no UTF-8", b"age\n\xff\xfe\n".as_slice(), 400, "not UTF-8");
    table.csv("a line without end", format!("age\n{}", "6".repeat(1_200_000)), 413, "a line is longer");
}

fn images(table: &mut Table) {
    const INVALID: &str = "INVALID_IMAGE_FORMAT";
    let slice = std::fs::read(&ct_files()[0]).unwrap();
    table.image("an empty file", b"", INVALID);
    table.image("a JPEG called .dcm", b"\xff\xd8\xff\xe0\0\x10JFIF\0", INVALID);
    table.image("a text", &b"hello ".repeat(1000), INVALID);
    table.image("a preamble and no more", &[0; 128], INVALID);
    table.image("DICM and no more", &[vec![0; 128], b"DICM".to_vec()].concat(), INVALID);
    table.image("a cut header", &slice[..300], INVALID);
    table.image("another modality", &std::fs::read(data("syntaxes/MR_small.dcm")).unwrap(), INVALID);
    table.image(
        "a structure without pixels",
        &std::fs::read(data("bad/rtplan_truncated.dcm")).unwrap(),
        INVALID,
    );
    table.image("an archive of nothing", &zip_of(&[]), INVALID);
    table.image("an archive of a text", &zip_of(&[("a.txt", b"hello")]), INVALID);
    table.image("a name that leads out", &zip_of(&[("../../etc/cron.d/x", &slice)]), "leads out");
    table.image("an absolute name", &zip_of(&[("/etc/passwd", &slice)]), "leads out");
    let whole = zip_of(&[("a.dcm", &slice)]);
    table.image("a cut archive", &whole[..whole.len() / 2], INVALID);
    let mut spoilt = whole.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle..middle + 64].fill(0x55);
    table.image("a spoilt archive", &spoilt, INVALID);
    table.image("a bomb", &zip_of(&[("a.dcm", &vec![0; 64 << 20])]), "grows");
    table.image("an archive of archives", &zip_of(&[("a.zip", &whole)]), INVALID);

    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    table.raw_form("no file", &kind, form(None, &[("patient_id", "12")]), 400, "holds no file");
    table.raw_form("no patient", &kind, form(Some(&slice), &[]), 400, "patient_id");
    table.raw_form(
        "a field without end",
        &kind,
        form(None, &[("patient_id", &"1".repeat(5000))]),
        413,
        "too long",
    );
    table.raw_form("no boundary", "multipart/form-data", form(Some(&slice), &[]), 400, "boundary");
    table.raw_form(
        "another boundary",
        "multipart/form-data; boundary=x",
        form(Some(&slice), &[]),
        400,
        "error",
    );
    table.raw_form("a form that ends early", &kind, form(Some(&slice), &[])[..2000].to_vec(), 400, "error");
    table.raw_form("no form at all", "application/json", "{}", 400, "multipart");
}

fn uploads(table: &mut Table) {
    table.upload("an empty upload", "", "invalid_dicom");
    table.upload("a JPEG", b"\xff\xd8\xff\xe0 not DICOM".repeat(20), "invalid_dicom");
    table.upload(
        "an upload without a group length",
        std::fs::read(data("bad/no_meta.dcm")).unwrap(),
        "invalid_dicom",
    );
    table.add("an upload of JSON", "/v1/studies", "application/json", "{}", 415, "unsupported_media_type");
    table.add("feedback without a prediction", "/feedback", "application/json", "{}", 400, "INVALID_JSON");
    table.add(
        "feedback of a text",
        "/feedback",
        "application/json",
        "{\"prediction_id\": \"x\", \"correct\": 1}",
        400,
        "INVALID_JSON",
    );
    table.add(
        "a study that is none",
        "/predict/mri_segmentation/async",
        "application/json",
        "{\"study_uid\": \"../1\"}",
        400,
        "INVALID_JSON",
    );
}

#[tokio::test]
async fn a_bad_body_gets_the_right_answer_and_leaves_nothing_behind() {
    let mut http = crate::app::roomy();
    http.limits.predict_bytes = 3_000_000;
    let app = TestApp::with_models(http, &["meso", "ct-brain-class", "mg-expression"]).await;
    let key = app.key(Role::Technician).await;
    let mut table = Table(Vec::new());
    json_bodies(&mut table);
    csv_bodies(&mut table);
    images(&mut table);
    uploads(&mut table);
    assert!(table.0.len() >= 60, "{}", table.0.len());
    let mut wrong = Vec::new();
    for bad in table.0 {
        let call = app.post(bad.path).bearer(&key);
        let call = if bad.kind.is_empty() { call.bytes(bad.body) } else { call.body(&bad.kind, bad.body) };
        let answer = call.send().await;
        let text = answer.text();
        if answer.status.as_u16() != bad.status || !text.contains(bad.says) || text.len() > 2000 {
            wrong.push(format!("{}: {} {}", bad.name, answer.status, &text[..text.len().min(500)]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let kept = app.ledger.predictions(&PredictionFilter::default(), &PageRequest::first(1)).await.unwrap();
    assert!(kept.rows.is_empty());
    let good = app.post("/predict").bearer(&key).json(&json!({ "data": [example()] })).send().await;
    good.is(200);
}

#[tokio::test]
async fn a_long_body_is_read_as_it_comes() {
    let app = app().await;
    let key = app.key(Role::Technician).await;
    let filler = format!("\"filler\": \"{}\"", "x".repeat(2_000_000));
    let body = format!("{{{filler}, \"data\": [{}]}}", example());
    // Without a stated length, and in pieces that end anywhere.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(999).map(|piece| Ok(piece.to_vec())).collect();
    let stream = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    let answer =
        app.post("/v1/models/meso/predict").bearer(&key).body("application/json", stream).send().await;
    assert_eq!(
        answer.is(200).json()["rows"][0]["probability"].as_f64().unwrap(),
        crate::predict::reference()
    );
}
