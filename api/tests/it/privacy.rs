//! What names a patient is seen by those who may see it, and by nobody else.

use ledger::Role;

use crate::{
    app::{TestApp, roomy},
    seed,
};

const PRIVATE: [&str; 3] = [seed::PATIENT_NAME, seed::PATIENT_ID, seed::ACCESSION];

#[tokio::test]
async fn clinicians_see_the_patient_and_administrators_do_not() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 1).await;
    seed::result(&app, &seeded, seed::Leaves::Kept).await;
    for path in ["/v1/studies", "/v1/studies/1.2.3.1"] {
        for role in [Role::Doctor, Role::Technician, Role::Service] {
            let text = app.get(path).bearer(&app.key(role).await).send().await.is(200).text();
            for private in PRIVATE {
                assert!(text.contains(private), "{role} does not see {private} at {path}: {text}");
            }
        }
        let text = app.get(path).bearer(&app.key(Role::Admin).await).send().await.is(200).text();
        assert!(text.contains("1.2.3.1"), "{text}");
        for private in PRIVATE {
            assert!(!text.contains(private), "an administrator sees {private} at {path}: {text}");
        }
    }
}

#[tokio::test]
async fn who_sees_no_patients_cannot_look_for_one() {
    let app = TestApp::start().await;
    let admin = app.key(Role::Admin).await;
    for query in ["patient_id=PID-4711", "accession_number=ACC-4711"] {
        let answer = app.get(&format!("/v1/studies?{query}")).bearer(&admin).send().await;
        answer.is_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn jobs_results_deliveries_routing_and_the_trail_name_nobody() {
    let app = TestApp::start().await;
    let seeded = seed::study(&app, 1).await;
    let (result, _) = seed::result(&app, &seeded, seed::Leaves::Released).await;
    let doctor = app.key(Role::Doctor).await;
    app.post("/v1/studies/1.2.3.1/analyse").bearer(&doctor).send().await.is(202);
    let result = format!("/v1/results/{result}");
    let paths = ["/v1/jobs", "/v1/results", &result, "/v1/deliveries", "/v1/studies/1.2.3.1/routing"];
    for path in paths {
        let text = app.get(path).bearer(&doctor).send().await.is(200).text();
        for private in PRIVATE {
            assert!(!text.contains(private), "{private} is at {path}: {text}");
        }
    }
    let events = format!("{:?}", app.ledger.events_after(ledger::EventSeq(0), 1000).await.unwrap());
    let trail = format!(
        "{:?}",
        app.ledger.audit(&ledger::AuditFilter::default(), &ledger::PageRequest::first(100)).await.unwrap()
    );
    for private in PRIVATE {
        assert!(!events.contains(private) && !trail.contains(private), "{private}");
    }
}

#[tokio::test]
async fn routing_shows_free_text_to_those_alone_who_see_patients() {
    let app = TestApp::with_models(roomy(), &["mr-brain-seg"]).await;
    let mut header = seed::header(1);
    header.facts.image_type = ["ORIGINAL", "PRIMARY"].map(str::to_owned).to_vec();
    header.facts.body_part = "HEAD".to_owned();
    header.facts.series_description = format!("t1 angio of {}", seed::PATIENT_NAME);
    seed::study_of(&app, header).await;
    for (role, sees) in [(Role::Doctor, true), (Role::Admin, false)] {
        let answer = app.get("/v1/studies/1.2.3.1/routing").bearer(&app.key(role).await).send().await;
        let text = answer.is(200).text();
        assert!(text.contains("series_description_not"), "{text}");
        assert_eq!(text.contains(seed::PATIENT_NAME), sees, "{role}: {text}");
        assert_eq!(text.contains("not shown to you"), !sees, "{role}: {text}");
    }
}
