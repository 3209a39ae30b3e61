//! Listener, upload and Orthanc treat one study alike: two patients in it hold it until a person has
//! decided, and what comes through two doors at once is one study with one result.

use std::{path::PathBuf, time::Duration};

use peers::{Http, Orthanc, OrthancOptions, wait_until};
use serde_json::{Value, json};

use crate::{
    delivery::{delivered_results, instances_of, items},
    orthanc::{bright, set_up},
    phantom::Phantom,
    review::{add_doctor, sign_in},
    service::{Service, Site},
    study::dcmsend,
};

/// Far longer than anything takes, even on a busy machine.
const LONG: Duration = Duration::from_secs(120);
const DOORS: [Door; 3] = [Door::Listener, Door::Upload, Door::Orthanc];

#[derive(Debug, Clone, Copy)]
enum Door {
    Listener,
    Upload,
    Orthanc,
}

struct House {
    site: Site,
    orthanc: Orthanc,
    service: Service,
    technician: Http,
    doctor: Http,
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let site = Site::with_models(&bright(), "");
        let orthanc = set_up(&site, "main", OrthancOptions::default());
        add_doctor(&site);
        let service = site.serve();
        let doctor = sign_in(&site);
        let api = Http::new(&format!("http://127.0.0.1:{}", site.http_port()));
        let technician = api.with_bearer(&site.key("doors", "technician"));
        let folder = tempfile::Builder::new().prefix("overread-doors").tempdir().expect("a temporary folder");
        Self { site, orthanc, service, technician, doctor, folder }
    }

    /// Writes slices of a phantom to files.
    fn files(&self, phantom: &Phantom, slices: impl IntoIterator<Item = u32>) -> Vec<PathBuf> {
        let write = |slice| {
            let name = format!("{}-{}-{slice}.dcm", phantom.number, phantom.patient_id);
            let path = self.folder.path().join(name);
            std::fs::write(&path, phantom.file(slice)).expect("a file in our folder");
            path
        };
        slices.into_iter().map(write).collect()
    }

    #[track_caller]
    fn bring(&self, door: Door, files: &[PathBuf]) {
        match door {
            Door::Listener => dcmsend(files, self.site.dicom_port()),
            Door::Orthanc => dcmsend(files, self.orthanc.dicom_port()),
            Door::Upload => {
                const KIND: &str = "multipart/form-data; boundary=between-two-files";
                let answer = self.technician.post_bytes("/v1/studies", KIND, form(files));
                // Nothing but a conflict may be in it.
                assert!(answer.is_success() || answer.status == 409, "{}", answer.text());
            }
        }
    }

    #[track_caller]
    fn study(&self, phantom: &Phantom) -> Value {
        self.service.api.get(&format!("/v1/studies/{}", phantom.study())).json()
    }

    #[track_caller]
    fn jobs(&self, phantom: &Phantom) -> Vec<Value> {
        items(&self.service.api, &format!("/v1/jobs?study={}", phantom.study()))
    }

    #[track_caller]
    fn wait_until_held(&self, phantom: &Phantom, reason: &str) {
        wait_until(&format!("a hold for {reason}"), LONG, || {
            let path = format!("/v1/studies/{}", phantom.study());
            let answer = self.service.api.get(&path);
            let holds = answer.is_success().then(|| answer.json())?["holds"].clone();
            holds.as_array()?.iter().any(|hold| hold["reason"] == reason).then_some(())
        });
    }

    /// Waits until the study was looked at as it is now.
    #[track_caller]
    fn wait_until_looked_at(&self, phantom: &Phantom) {
        wait_until("the study to be looked at", LONG, || {
            (self.study(phantom)["looked_at"] == true).then_some(())
        });
    }
}

fn form(files: &[PathBuf]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(b"--between-two-files\r\nContent-Type: application/dicom\r\n");
        body.extend_from_slice(b"Content-Disposition: form-data; name=\"files\"; filename=\"a.dcm\"\r\n\r\n");
        body.extend(std::fs::read(file).expect("a file in our folder"));
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--between-two-files--\r\n");
    body
}

fn of_another_patient(phantom: &Phantom) -> Phantom {
    Phantom { patient_id: "P2".to_owned(), ..phantom.clone() }
}

#[test]
fn a_study_of_two_patients_is_held_whichever_door_it_comes_through() {
    let house = House::new();
    for (door, number) in DOORS.into_iter().zip(60..) {
        let phantom = Phantom::new(number);
        let mut files = house.files(&phantom, 1..=6);
        files.extend(house.files(&of_another_patient(&phantom), 7..=12));
        house.bring(door, &files);
        house.wait_until_held(&phantom, "identity-conflict");
        house.wait_until_looked_at(&phantom);
        assert_eq!(house.jobs(&phantom), Vec::<Value>::new(), "{door:?}");
    }
}

#[test]
fn an_instance_of_another_patient_under_a_known_uid_holds_the_study_at_every_door() {
    let house = House::new();
    for (door, number) in DOORS.into_iter().zip(70..) {
        let phantom = Phantom::new(number);
        let missing_one = (1..=12).filter(|slice| *slice != 6);
        dcmsend(&house.files(&phantom, missing_one), house.site.dicom_port());
        house.bring(door, &house.files(&of_another_patient(&phantom), [4]));
        house.wait_until_held(&phantom, "identity-conflict");
        house.wait_until_held(&phantom, "quarantined-twin");

        // Whole now, and nothing happens before a person has decided.
        dcmsend(&house.files(&phantom, [6]), house.site.dicom_port());
        wait_until("the last slice", LONG, || (house.study(&phantom)["instance_count"] == 12).then_some(()));
        house.wait_until_looked_at(&phantom);
        assert_eq!(house.jobs(&phantom), Vec::<Value>::new(), "{door:?}");

        let release = format!("/v1/studies/{}/release", phantom.study());
        let released = house.doctor.post(&release, &json!({}));
        assert!(released.is_success(), "{}", released.text());
        let results = delivered_results(&house.service.api, phantom.study().as_str());
        assert_eq!(results.len(), 1, "{door:?}: {results:?}");
    }
}

#[test]
fn a_uid_of_another_study_holds_both_studies_at_every_door() {
    let house = House::new();
    for (door, number) in DOORS.into_iter().zip([80_u32, 82, 84]) {
        let (first, second) = (Phantom::new(number), Phantom::new(number + 1));
        dcmsend(&house.files(&first, 1..=5), house.site.dicom_port());
        house.bring(door, &house.files(&second, 1..=11));
        wait_until("the second study", LONG, || {
            let answer = house.service.api.get(&format!("/v1/studies/{}", second.study()));
            (answer.is_success() && answer.json()["instance_count"] == 11).then_some(())
        });
        // The last slice of the second study bears the UID of a slice of the first.
        let file = house.folder.path().join("misplaced.dcm");
        std::fs::write(&file, second.file_called(12, &first.sop_instance(3))).expect("a file in our folder");
        house.bring(door, &[file]);
        house.wait_until_held(&first, "quarantined-twin");
        house.wait_until_held(&second, "quarantined-twin");
    }
}

#[test]
fn a_study_that_comes_from_modality_and_orthanc_at_once_has_one_result() {
    let house = House::new();
    let phantoms: Vec<Phantom> = (90..94).map(Phantom::new).collect();
    std::thread::scope(|scope| {
        for phantom in &phantoms {
            let files = house.files(phantom, 1..=12);
            for port in [house.site.dicom_port(), house.orthanc.dicom_port()] {
                let files = files.clone();
                scope.spawn(move || dcmsend(&files, port));
            }
        }
    });
    for phantom in &phantoms {
        let study = phantom.study();
        delivered_results(&house.service.api, study.as_str());
        wait_until("Orthanc to call the study stable with the results in it", LONG, || {
            let query = json!({ "StudyInstanceUID": study.as_str() });
            let query = json!({ "Level": "Study", "Query": query, "Expand": true });
            let found = house.orthanc.post("/tools/find", &query)[0].clone();
            (found["IsStable"] == true && found["Series"].as_array()?.len() >= 3).then_some(())
        });
        house.wait_until_looked_at(phantom);
        assert_eq!(house.jobs(phantom).len(), 1, "one question");
        assert_eq!(house.study(phantom)["instance_count"], 12);
        let held =
            ["MR", "SEG", "SR"].map(|modality| instances_of(&house.orthanc, study.as_str(), modality).len());
        assert_eq!(held, [12, 1, 1]);
    }
}
