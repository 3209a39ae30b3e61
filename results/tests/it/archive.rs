//! Objects in a real Orthanc, over every way in that it has.

use std::path::PathBuf;

use peers::Orthanc;
use results::{Encoded, FollowUp, Observer, Production, Profile, RejectionReason, Review, SegmentationType};
use serde_json::{Value, json};
use time::macros::datetime;

use crate::{
    heatmap::hot,
    programs::send,
    report::{classification, findings, report, save},
    segmentation::{Written, production, written},
    sources,
};

/// One object of each kind, for a patient with a Korean name.
fn objects(written: &Written) -> Vec<(Encoded, PathBuf)> {
    let label_map =
        Profile { name: "label map".into(), segmentation: SegmentationType::LabelMap, ..Profile::default() };
    let other = crate::segmentation::written(
        &sources::named("mr-korean"),
        &Production { profile: label_map, ..production() },
    );
    let mut all = findings(written);
    all.push(classification());
    let first = report(&production(), written, &all);
    let review = Review {
        id: "1".into(),
        at: datetime!(2024-05-07 10:11:12 UTC),
        observer: Observer {
            name: "김^영희".into(), organization: "서울병원".into(), identification: None
        },
        comment: None,
    };
    let identity = production().identity;
    let follow_up =
        FollowUp { identity: &identity, profile: "default", report: &first.bytes, review: &review };
    let rejection =
        results::rejection(&follow_up, RejectionReason::Quality, std::slice::from_ref(&first.reference))
            .unwrap();
    [
        written.segmentation.encoded.clone(),
        other.segmentation.encoded,
        hot(written),
        results::verified_report(&follow_up).unwrap(),
        rejection.note,
        rejection.report,
        first,
    ]
    .into_iter()
    .enumerate()
    .map(|(index, encoded)| {
        let path = save(written, &format!("object-{index}.dcm"), &encoded);
        (encoded, path)
    })
    .collect()
}

/// What Orthanc has of an object, which must be there once and be readable.
#[track_caller]
fn kept(orthanc: &Orthanc, encoded: &Encoded) -> (Value, Vec<u8>) {
    let query = json!({
        "Level": "Instance",
        "Query": { "SOPInstanceUID": encoded.reference.sop_instance.as_str() },
    });
    let found = orthanc.post("/tools/find", &query);
    let [Value::String(id)] = found.as_array().map_or(&[][..], Vec::as_slice) else {
        panic!("{:?} is there as {found}", encoded.role);
    };
    let tags = orthanc.get(&format!("/instances/{id}/simplified-tags"));
    assert_eq!(tags["PatientName"], "Hong^Gildong=洪^吉洞=홍^길동", "{:?}", encoded.role);
    (tags, orthanc.get_bytes(&format!("/instances/{id}/file")))
}

#[test]
fn orthanc_keeps_every_kind_over_c_store_rest_and_stow() {
    let written = written(&sources::named("mr-korean"), &production());
    let objects = objects(&written);
    let paths: Vec<PathBuf> = objects.iter().map(|(_, path)| path.clone()).collect();
    let [rest, c_store, stow] = [Orthanc::start(), Orthanc::start(), Orthanc::start()];

    for path in &paths {
        rest.store(path);
    }
    send(&c_store, &paths);
    let content_type = "multipart/related; type=\"application/dicom\"; boundary=part";
    let answer = stow.http().post_bytes("/dicom-web/studies", content_type, multipart(&objects)).json();
    let failed = answer["00081198"]["Value"].as_array().map_or(0, Vec::len);
    assert_eq!(failed, 0, "STOW-RS: {answer}");

    for (encoded, _) in &objects {
        let (tags, bytes) = kept(&rest, encoded);
        assert!(bytes == encoded.bytes, "REST: {:?} has other bytes", encoded.role);
        assert!(kept(&stow, encoded).1 == encoded.bytes, "STOW-RS: {:?} has other bytes", encoded.role);
        // C-STORE carries the data set without the file's head, encoded anew by the sender
        assert_eq!(kept(&c_store, encoded).0, tags, "C-STORE: {:?}", encoded.role);
    }
}

fn multipart(objects: &[(Encoded, PathBuf)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (encoded, _) in objects {
        body.extend_from_slice(b"--part\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(&encoded.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--part--\r\n");
    body
}
