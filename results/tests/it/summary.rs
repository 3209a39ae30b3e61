//! Summary pages, read by others.

use results::{Encoded, Finding, IntendedUse, Production, SummaryInput, summary};

use crate::{
    programs,
    report::{classification, findings, save},
    segmentation::{Written, production, written},
    sources,
};

fn page(written: &Written, production: &Production, findings: &[Finding]) -> Encoded {
    summary(&SummaryInput { production, source: &written.source, findings }).expect("the page is written")
}

#[test]
fn summary_pages_have_no_dciodvfy_error_and_orthanc_takes_and_renders_them() {
    let orthanc = peers::Orthanc::start();
    for spec in sources::all() {
        let written = written(&spec, &production());
        let mut all = findings(&written);
        all.push(classification());
        all.push(Finding::NotAnalysed { reason: "the series has 3 slices, the model needs 20".into() });
        let path = save(&written, "summary.dcm", &page(&written, &production(), &all));
        programs::dciodvfy(&path);
        let stored = orthanc.store(&path);
        let picture = orthanc.get_bytes(&format!("/instances/{}/preview", stored["ID"].as_str().unwrap()));
        assert!(picture.starts_with(b"\x89PNG"), "{}", spec.name);
    }
}

#[test]
fn a_demonstration_has_a_red_band() {
    let written = written(&sources::named("mr-axial"), &production());
    let demonstration = Production { intended_use: IntendedUse::Demonstration, ..production() };
    let red = |encoded: &Encoded| {
        let pixels = &encoded.bytes[encoded.bytes.len() - 3 * 800 * 400..];
        pixels.chunks(3).filter(|pixel| *pixel == [200, 30, 30]).count()
    };
    let findings = [classification()];
    assert_eq!(red(&page(&written, &production(), &findings)), 0);
    assert!(red(&page(&written, &demonstration, &findings)) > 10_000);
}

#[test]
fn the_page_is_the_same_every_time_and_says_that_it_identifies_nobody() {
    let written = written(&sources::named("mr-axial"), &production());
    let first = page(&written, &production(), &[classification()]);
    assert_eq!(first, page(&written, &production(), &[classification()]));
    let dataset = dicom_object::from_reader(first.bytes.as_slice()).unwrap();
    let burned = dataset.element_by_name("BurnedInAnnotation").unwrap().to_str().unwrap().into_owned();
    assert_eq!(burned.trim(), "NO");
}
