//! Orthanc is asked for storage commitment and reports to our listener, on an association of its own.

use peers::{Orthanc, OrthancOptions};
use serde_json::json;

use crate::{
    delivery::{delivered_results, instances_of},
    orthanc::{Examination, bright},
    service::Site,
    study::dcmsend,
};

#[test]
fn orthanc_commits_itself_to_what_it_was_sent() {
    let site = Site::with_models(&bright(), "");
    let us = json!({ "overread": { "AET": "OVERREAD", "Host": "127.0.0.1", "Port": site.dicom_port() } });
    let orthanc = Orthanc::start_with(OrthancOptions::default().set("DicomModalities", us));
    site.also(&format!(
        "[[destination]]\nkind = 'cstore'\nname = 'pacs'\naddress = '127.0.0.1:{}'\nae_title = '{}'\nproof = 'commitment'\n",
        orthanc.dicom_port(),
        orthanc.ae_title()
    ));
    let service = site.serve();
    let examination = Examination::new(50);
    dcmsend(&examination.files, site.dicom_port());
    delivered_results(&service.api, &examination.uid());
    let held = ["SEG", "SR"].map(|modality| instances_of(&orthanc, &examination.uid(), modality).len());
    assert_eq!(held, [1, 1]);
}
