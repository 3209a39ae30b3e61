//! Subscribers are told what happens, each thing once, whatever they and we do meanwhile.

use std::{collections::BTreeSet, process::Command, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use ledger::{
    CallId, DeliveryFilter, DeliveryState, DicomPatient, JobState::Done, ModelRef, NewPrediction,
    NewPredictions, PageRequest, PredictionId, PredictionReview, PushToken,
};
use orthanc_bridge::Connection;
use pipeline::{
    NoticeKind, PushConfig, PushTo, ReviewDecision, ReviewOrder, ServiceAccount, SubscriberConfig,
    SubscriberKind,
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_partial_json, header, method, path},
};

use crate::{
    phantom::Phantom,
    review::{doctor, key},
    world::{Running, World, eventually},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn subscriber(kind: SubscriberKind) -> SubscriberConfig {
    SubscriberConfig { name: "ris".to_owned(), kind, notices: NoticeKind::ALL.into(), names_patients: false }
}

fn webhook(server: &MockServer) -> SubscriberConfig {
    let (url, secret) = (format!("{}/told?by=overread", server.uri()), SECRET.parse().unwrap());
    subscriber(SubscriberKind::Webhook { url, ca_file: None, secret })
}

/// Starts, and waits until the subscriber has its place in the event log.
async fn start(world: &mut World) -> Running {
    let running = world.start();
    eventually("the subscriber listens", async || {
        world.ledger.cursor("notify/ris/events").await.unwrap().is_some()
    })
    .await;
    running
}

/// Until so many messages have arrived; pauses between tries pass quickly.
async fn wait_until_told(world: &World, count: usize) {
    eventually(&format!("{count} messages have arrived"), async || {
        world.config.clock.advance(Duration::from_secs(20));
        world.delivered("notify/ris", DeliveryState::Proved).await == count
    })
    .await;
}

async fn posts(server: &MockServer, to: &str) -> Vec<Request> {
    let all = server.received_requests().await.unwrap();
    all.into_iter().filter(|one| one.method.as_str() == "POST" && one.url.path() == to).collect()
}

fn id(request: &Request) -> &str {
    request.headers["webhook-id"].to_str().unwrap()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_was_down_is_told_of_each_result_once() {
    let server = MockServer::start().await;
    let to_us = || Mock::given(method("POST")).and(path("/told"));
    to_us().respond_with(ResponseTemplate::new(503)).up_to_n_times(2).mount(&server).await;
    to_us().respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let mut world = World::new().await;
    world.config.subscribers.push(webhook(&server));
    let running = start(&mut world).await;
    let (first, second) = (Phantom::new(1), Phantom::new(2));

    world.send(&first.files()).await;
    wait_until_told(&world, 1).await;
    let tries = posts(&server, "/told").await;
    assert_eq!(tries.len(), 3, "two were refused");
    for one in &tries {
        assert_eq!((id(one), &one.body), (id(&tries[0]), &tries[0].body));
        assert_eq!(one.url.query(), Some("by=overread"));
        assert!(one.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    }
    let said = body(&tries[0]);
    assert_eq!(said["type"], "diagnosis.ready");
    assert_eq!(said["data"]["study_uid"], first.study().as_str());
    assert_eq!((&said["data"]["model"], &said["data"]["outcome"]), (&json!("bright"), &json!("findings")));
    let text = said.to_string();
    assert!(!text.contains("Phantom") && !text.contains("P1") && !text.contains("19700101"), "{text}");

    // A restart forgets nothing and repeats nothing.
    running.stop().await;
    world.send(&second.files()).await;
    let running = start(&mut world).await;
    wait_until_told(&world, 2).await;
    running.stop().await;
    let tries = posts(&server, "/told").await;
    let ids: BTreeSet<&str> = tries.iter().map(id).collect();
    assert_eq!((tries.len(), ids.len()), (4, 2));
    assert_eq!(body(&tries[3])["data"]["study_uid"], second.study().as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_down_and_a_study_that_is_held_are_told_to_whoever_wants_to_know() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let nobody = format!("http://127.0.0.1:{}", peers::free_port());
    let mut world = World::new().await.and_orthanc("pacs", &nobody);
    let notices = [NoticeKind::DestinationDown, NoticeKind::StudyHeld].into();
    world.config.subscribers.push(SubscriberConfig { notices, names_patients: true, ..webhook(&server) });
    let running = start(&mut world).await;

    world.send(&Phantom::new(1).files()).await;
    wait_until_told(&world, 1).await;
    let one = Phantom::new(2);
    let other = Phantom { patient_id: "P2".to_owned(), ..one.clone() };
    world.send(&[one.file(1), other.file(2)]).await;
    wait_until_told(&world, 2).await;

    let told: Vec<Value> = posts(&server, "/told").await.iter().map(body).collect();
    assert_eq!(
        (&told[0]["type"], &told[0]["data"]["destination"]),
        (&json!("destination.down"), &json!("pacs"))
    );
    assert!(told[0]["data"]["reason"].as_str().unwrap().contains("cannot reach"), "{}", told[0]);
    assert_eq!(
        (&told[1]["type"], &told[1]["data"]["reason"]),
        (&json!("study.held"), &json!("identity-conflict"))
    );
    // This subscriber may know; the ledger's copy of the message does not say it.
    assert_eq!(told[1]["data"]["patient"]["id"], "P1");
    let filter = ledger::DeliveryFilter::default();
    let rows = world.ledger.deliveries(&filter, &ledger::PageRequest::first(100)).await.unwrap().rows;
    assert!(!format!("{rows:?}").contains("\"P1\""), "{rows:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_subscriber_refuses_is_parked_and_results_go_on() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(400)).mount(&server).await;
    let mut world = World::new().await.and_folder("disk");
    world.config.subscribers.push(webhook(&server));
    let running = start(&mut world).await;
    world.send(&Phantom::new(1).files()).await;
    world.wait_for_proof("disk", 2).await;
    eventually("the message is parked", async || {
        world.delivered("notify/ris", DeliveryState::Parked).await == 1
    })
    .await;
    running.stop().await;
}

/// A key pair of the tests, in PEM.
fn key_pair() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem");
    openssl("pkey -in key.pem -pubout -out public.pem");
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    (read("key.pem"), read("public.pem"))
}

/// Answers as the push service does; what goes to the app `gone` is told that it is gone.
async fn push_service() -> MockServer {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "a token", "expires_in": 3600, "token_type": "Bearer" });
    Mock::given(method("POST"))
        .and(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .mount(&server)
        .await;
    let send = || {
        Mock::given(method("POST"))
            .and(path("/v1/projects/ward-7/messages:send"))
            .and(header("authorization", "Bearer a token"))
    };
    let unregistered = json!({ "error": { "status": "NOT_FOUND" } });
    send()
        .and(body_partial_json(json!({ "message": { "token": "gone" } })))
        .respond_with(ResponseTemplate::new(404).set_body_json(unregistered))
        .mount(&server)
        .await;
    send()
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({ "name": "projects/ward-7/messages/1" })),
        )
        .mount(&server)
        .await;
    server
}

/// Of the service account whose private key that is.
fn push(world: &World, server: &MockServer, private: &str, to: PushTo) -> SubscriberConfig {
    let account = json!({
        "type": "service_account", "project_id": "ward-7", "private_key_id": "k1", "private_key": private,
        "client_email": "overread@ward-7.example", "token_uri": format!("{}/token", server.uri()),
    });
    let file = world.folder.join("firebase.json");
    std::fs::write(&file, account.to_string()).unwrap();
    subscriber(SubscriberKind::Push(Box::new(PushConfig {
        connection: Connection::to(&server.uri()).unwrap(),
        account: ServiceAccount::read(&file).unwrap(),
        to,
    })))
}

async fn pushed(server: &MockServer) -> Vec<Value> {
    let sent = posts(server, "/v1/projects/ward-7/messages:send").await;
    sent.iter().map(|one| body(one)["message"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctors_hear_of_a_diagnosis_and_the_patients_app_that_it_is_confirmed() {
    let server = push_service().await;
    let mut world = World::new().await.and_folder("disk");
    world.config.subscribers.push(push(&world, &server, &key_pair().0, PushTo::Registered));
    let tokens = |names: &[&str]| names.iter().map(|name| PushToken::new(*name)).collect::<Vec<_>>();
    let kim = doctor(&world, "kim").await;
    let now = world.config.clock.now();
    world.ledger.set_devices(kim.account, &tokens(&["kim's telephone", "gone"]), now).await.unwrap();
    let running = start(&mut world).await;

    let phantom = Phantom::new(1);
    world.send(&phantom.files()).await;
    wait_until_told(&world, 2).await;
    let ready = pushed(&server).await;
    assert!(ready.iter().all(|one| one["notification"]["title"] == "Diagnosis ready"), "{ready:?}");
    let row = world.ledger.study(&phantom.study()).await.unwrap().unwrap();
    let same = DicomPatient { id: row.patient.id, issuer: row.patient.issuer };
    world.ledger.set_patient_recipients("12", &tokens(&["the app"]), &[same], "key:app", now).await.unwrap();
    let job = &world.jobs(&phantom.study()).await[0];
    let order = ReviewOrder {
        result: world.ledger.result_of_job(job.id).await.unwrap().unwrap().id,
        after: 0,
        decision: ReviewDecision::Accept,
        comment: None,
        reviewer: kim,
        request_id: Some("REQ_20251128_001".to_owned()),
    };
    running.handle.review(&world.spool, &key(), &order).await.unwrap();
    wait_until_told(&world, 3).await;
    running.stop().await;

    let messages = pushed(&server).await;
    let told: Vec<_> = messages.iter().map(|one| one["token"].as_str().unwrap()).collect();
    assert_eq!(told.iter().filter(|token| **token == "gone").count(), 1, "{told:?}");
    assert_eq!(messages[2]["token"], "the app");
    assert_eq!(messages[2]["notification"]["title"], "Diagnosis confirmed");
    assert_eq!(messages[2]["data"]["request_id"], "REQ_20251128_001");
    // Whoever is gone is forgotten, and the ledger's copies of the messages hold no token.
    assert_eq!(world.ledger.devices_of_doctors(None).await.unwrap().len(), 1);
    let rows =
        world.ledger.deliveries(&DeliveryFilter::default(), &PageRequest::first(100)).await.unwrap().rows;
    assert!(
        !format!("{rows:?}").contains("telephone") && !format!("{rows:?}").contains("the app"),
        "{rows:?}"
    );
}

/// A kept answer of a model, asked for by a doctor.
async fn predicted(world: &World, model: &str, doctor: &str) -> PredictionId {
    let kept = NewPredictions {
        call: CallId::generate(),
        at: world.config.clock.now(),
        model: ModelRef { id: model.to_owned(), version: "1.0.0".to_owned(), digest: "d".to_owned() },
        model_name: model.to_owned(),
        patient_id: "12".to_owned(),
        doctor: Some(doctor.to_owned()),
        actor: format!("account:{doctor}"),
        request_id: None,
        rows: vec![NewPrediction { number: 1, input: json!({}), label: None, answer: json!({}) }],
    };
    world.ledger.record_call(&key(), None, Some(kept)).await.unwrap()[0]
}

async fn confirm(world: &World, prediction: PredictionId, doctor: Option<&str>) {
    let review = PredictionReview {
        at: world.config.clock.now(),
        actor: "account:somebody".to_owned(),
        doctor: doctor.map(str::to_owned),
        request_id: None,
        correct: true,
        actual_class: None,
        feedback: None,
    };
    assert!(world.ledger.review_prediction(prediction, &review).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_classified_image_hears_the_doctor_who_asked_and_the_patient_once_a_doctor_agrees() {
    let server = push_service().await;
    let mut world = World::new().await;
    world.config.subscribers.push(push(&world, &server, &key_pair().0, PushTo::Registered));
    let token = |name: &str| [PushToken::new(name)];
    let now = world.config.clock.now();
    for name in ["kim", "lee"] {
        let account = doctor(&world, name).await.account;
        world.ledger.set_devices(account, &token(name), now).await.unwrap();
    }
    world.ledger.set_patient_recipients("12", &token("the app"), &[], "key:app", now).await.unwrap();
    let running = start(&mut world).await;
    // Rows of numbers are no diagnosis of an image.
    predicted(&world, "joined", "lee").await;
    let image = predicted(&world, "tint", "kim").await;
    wait_until_told(&world, 1).await;
    // What a technician says confirms nothing.
    confirm(&world, image, None).await;
    world.config.clock.advance(Duration::from_secs(1));
    confirm(&world, image, Some("kim")).await;
    wait_until_told(&world, 2).await;
    running.stop().await;
    let told: Vec<_> =
        pushed(&server).await.iter().map(|one| (one["token"].clone(), one["data"]["type"].clone())).collect();
    let expected = [("kim", "diagnosis.ready"), ("the app", "diagnosis.confirmed")];
    assert_eq!(told, expected.map(|(token, kind)| (json!(token), json!(kind))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_message_goes_out_with_a_token_for_our_service_account() {
    let server = push_service().await;
    let (private, public) = key_pair();
    let token_uri = format!("{}/token", server.uri());
    let mut world = World::new().await;
    world.config.subscribers.push(push(&world, &server, &private, PushTo::Topic("overread".to_owned())));
    let running = start(&mut world).await;
    assert_eq!(running.handle.check_subscribers().await.unwrap()["ris"], Ok(()));
    for number in 1..=2 {
        world.send(&Phantom::new(number).files()).await;
        world.wait_for_jobs(&Phantom::new(number).study(), &[Done]).await;
    }
    wait_until_told(&world, 2).await;
    running.stop().await;

    // One token for the check, one for both messages.
    let asked = posts(&server, "/token").await;
    assert_eq!(asked.len(), 2);
    let form = String::from_utf8(asked[1].body.clone()).unwrap();
    let assertion =
        form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[&token_uri]);
    validation.set_issuer(&["overread@ward-7.example"]);
    let key = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
    let claims = jsonwebtoken::decode::<Value>(assertion.unwrap(), &key, &validation).unwrap();
    assert_eq!(claims.header.kid.as_deref(), Some("k1"));
    assert_eq!(claims.claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");

    let sent = posts(&server, "/v1/projects/ward-7/messages:send").await;
    assert_eq!(sent.len(), 2);
    let message = &body(&sent[0])["message"];
    assert_eq!(message["topic"], "overread");
    assert_eq!(message["notification"], json!({ "title": "Diagnosis ready", "body": "bright" }));
    let data = message["data"].as_object().unwrap();
    assert_eq!(data["type"], "diagnosis.ready");
    assert!(data.values().all(Value::is_string), "{message}");
    assert_ne!(data["event_id"], body(&sent[1])["message"]["data"]["event_id"]);
}
