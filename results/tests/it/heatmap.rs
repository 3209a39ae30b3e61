//! Heatmaps, read by others.

use ndarray::Array3;
use results::{Encoded, Finding, HeatmapInput, IntendedUse, Production, heatmap};

use crate::{
    programs,
    report::{classification, report, save},
    segmentation::{Written, production, written},
    sources,
};

/// Three slices from slice 4 on.
pub(crate) fn hot(written: &Written) -> Encoded {
    hot_of(written, &production())
}

fn hot_of(written: &Written, production: &Production) -> Encoded {
    let shape = (3, sources::ROWS, sources::COLUMNS);
    let heat = Array3::from_shape_fn(shape, |(_, row, _)| row as f32 / sources::ROWS as f32);
    let underlay = Array3::from_shape_fn(shape, |(_, _, column)| column as f32);
    let input = HeatmapInput {
        production,
        source: &written.source,
        id: "tumour",
        title: "Meningioma",
        first_frame: 4,
        heat: heat.view(),
        underlay: Some(underlay.view()),
    };
    heatmap(&input).expect("the heatmap is written")
}

#[test]
fn heatmaps_have_no_dciodvfy_error_and_keep_their_place() {
    for spec in sources::all() {
        let written = written(&spec, &production());
        let path = save(&written, "heatmap.dcm", &hot(&written));
        programs::dciodvfy(&path);
        let place = programs::python("frame_place.py", &[&path]);
        assert_eq!(place.trim(), spec.position_text(4), "{}", spec.name);
    }
}

#[test]
fn a_report_names_the_heatmap_of_its_class() {
    let written = written(&sources::named("mr-axial"), &production());
    let heatmap = hot(&written);
    let Finding::Classification(mut class) = classification() else { panic!("a class") };
    class.heatmap = Some(heatmap.reference);
    let path = save(&written, "sr.dcm", &report(&production(), &written, &[Finding::Classification(class)]));
    programs::dciodvfy(&path);
    let tree = programs::dsrdump(&path);
    assert!(tree.contains("\"Illustration of ROI\")"), "{tree}");
}

#[test]
fn a_demonstration_says_so_in_every_frame() {
    let written = written(&sources::named("mr-axial"), &production());
    let demonstration = Production { intended_use: IntendedUse::Demonstration, ..production() };
    let (plain, announced) = (hot(&written), hot_of(&written, &demonstration));
    let frame = 3 * sources::ROWS * sources::COLUMNS;
    let frames = |encoded: &Encoded| encoded.bytes[encoded.bytes.len() - 3 * frame..].to_vec();
    for (plain, announced) in frames(&plain).chunks(frame).zip(frames(&announced).chunks(frame)) {
        let (top, bottom) = announced.split_at(frame / 8);
        assert_eq!(top, &plain[..frame / 8], "the upper part of the picture stays");
        assert!(bottom.ends_with(&[0; 3]) && bottom.chunks(3).any(|pixel| pixel == [255; 3]));
    }
}
