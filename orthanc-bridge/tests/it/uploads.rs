//! Uploads, and the proof that they arrived.

use imaging::Header;
use orthanc_bridge::{Connection, Orthanc as Client, RestError, Uploaded};
use peers::{Orthanc, OrthancOptions};
use serde_json::json;

use crate::world::series;

fn client(orthanc: &Orthanc) -> Client {
    Client::new(Connection::to(&orthanc.url()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_found_by_its_uid_and_a_repeat_is_the_same_instance() {
    for overwrite in [true, false] {
        let orthanc =
            Orthanc::start_with(OrthancOptions::default().set("OverwriteInstances", json!(overwrite)));
        let client = client(&orthanc);
        let uid = Header::read_file(&series()[0]).unwrap().sop_instance;
        let file = std::fs::read(&series()[0]).unwrap();
        assert!(client.find_instance(&uid).await.unwrap().is_empty());
        assert_eq!(client.upload(file.clone().into()).await.unwrap(), Uploaded::Stored);
        let again = client.upload(file.into()).await.unwrap();
        assert_eq!(again == Uploaded::AlreadyStored, !overwrite);
        assert_eq!(client.find_instance(&uid).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_orthanc_cannot_read_is_refused_for_good() {
    let orthanc = Orthanc::start();
    let error = client(&orthanc).upload(b"no DICOM file".as_slice().into()).await.unwrap_err();
    assert!(error.is_refusal(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_something_else_is_no_refusal() {
    let orthanc = Orthanc::start();
    let client = Client::new(Connection::to(&format!("{}/elsewhere", orthanc.url())).unwrap()).unwrap();
    let error = client.upload(b"x".as_slice().into()).await.unwrap_err();
    assert!(matches!(error, RestError::NotFound { .. }), "{error}");
}
