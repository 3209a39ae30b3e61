//! Forms that a destination may ask for.

use results::{
    Background, Compression, EmptyFrames, LabelPlane, LabelPlanes, Packing, Production, Profile, Segment,
    SegmentationInput, SegmentationType, Source,
};

use crate::{
    programs,
    segmentation::{production, save_labels, segment, written},
    sources,
};

fn with(profile: Profile) -> Production {
    Production { profile, ..production() }
}

/// The one thing that `dciodvfy` may say of a label map, which is newer than it.
const NEWER_THAN_DCIODVFY: &str = "Error - Information Object Not found";

#[test]
fn label_maps_are_only_too_new_for_dciodvfy() {
    let production = with(Profile { segmentation: SegmentationType::LabelMap, ..Profile::default() });
    for spec in sources::all() {
        let written = written(&spec, &production);
        assert_eq!(programs::dciodvfy_lines(&written.seg), [NEWER_THAN_DCIODVFY], "{}", spec.name);
    }
}

#[test]
fn a_described_background_is_the_last_segment() {
    let production = with(Profile {
        segmentation: SegmentationType::LabelMap,
        background: Background::Described,
        ..Profile::default()
    });
    let written = written(&sources::named("mr-axial"), &production);
    let dataset = dicom_object::open_file(&written.seg).unwrap();
    let segments = dataset.element_by_name("SegmentSequence").unwrap().items().unwrap();
    let numbers: Vec<u16> = segments
        .iter()
        .map(|item| item.element_by_name("SegmentNumber").unwrap().to_int().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 0]);
    let labels = save_labels(&sources::labels(), written.folder.path());
    let dicom = written.sources[0].parent().unwrap();
    programs::python("seg_voxels.py", &[&written.seg, dicom, &labels]);
}

#[test]
fn fractional_segmentations_have_no_dciodvfy_error() {
    let production = with(Profile { segmentation: SegmentationType::Fractional, ..Profile::default() });
    for spec in sources::all() {
        programs::dciodvfy(&written(&spec, &production).seg);
    }
}

#[test]
fn highdicom_reads_the_same_voxels_from_every_kind() {
    for (segmentation, compression) in [
        (SegmentationType::LabelMap, Compression::None),
        (SegmentationType::LabelMap, Compression::Rle),
        (SegmentationType::Fractional, Compression::None),
    ] {
        let production = with(Profile { segmentation, compression, ..Profile::default() });
        for name in ["mr-oblique", "mr-enhanced"] {
            let written = written(&sources::named(name), &production);
            let labels = save_labels(&sources::labels(), written.folder.path());
            let dicom = written.sources[0].parent().unwrap();
            programs::python("seg_voxels.py", &[&written.seg, dicom, &labels]);
        }
    }
}

#[test]
fn a_compressed_label_map_is_smaller_and_says_how_it_is_compressed() {
    let spec = sources::named("mr-axial");
    let label_map = Profile { segmentation: SegmentationType::LabelMap, ..Profile::default() };
    let plain = written(&spec, &with(label_map.clone()));
    let small = written(&spec, &with(Profile { compression: Compression::Rle, ..label_map }));
    let size = |written: &crate::segmentation::Written| written.segmentation.encoded.bytes.len();
    assert!(size(&small) < size(&plain), "{} {}", size(&small), size(&plain));
    let meta = dicom_object::open_file(&small.seg).unwrap().meta().clone();
    assert_eq!(meta.transfer_syntax(), "1.2.840.10008.1.2.5");
    let orthanc = peers::Orthanc::start();
    programs::send(&orthanc, std::slice::from_ref(&small.seg));
    assert_eq!(orthanc.get("/instances").as_array().map(Vec::len), Some(1));
}

#[test]
fn a_file_for_each_segment_is_a_series_for_each_segment() {
    let production = with(Profile { packing: Packing::FilePerSegment, ..Profile::default() });
    let folder = tempfile::tempdir().unwrap();
    let source = sources::named("mr-axial").read(folder.path());
    let files = segment(&production, &source, &sources::labels());
    let numbers: Vec<_> = files.iter().map(|file| file.numbers.clone()).collect();
    assert_eq!(
        numbers,
        [[Some(1), None, None, None], [None, Some(1), None, None], [None, None, None, Some(1)]]
    );
    let mut series: Vec<_> = files.iter().map(|file| file.encoded.reference.series.clone()).collect();
    series.dedup();
    assert_eq!(series.len(), 3);
    for file in &files {
        let path = folder.path().join("seg.dcm");
        std::fs::write(&path, &file.encoded.bytes).unwrap();
        programs::dciodvfy(&path);
    }
}

#[test]
fn empty_frames_are_kept_when_asked_for() {
    let production = with(Profile { empty_frames: EmptyFrames::Keep, ..Profile::default() });
    let written = written(&sources::named("mr-axial"), &production);
    programs::dciodvfy(&written.seg);
    let frames = programs::python("frame_count.py", &[&written.seg]);
    assert_eq!(frames.trim(), (3 * sources::SLICES).to_string());
}

#[test]
fn profiles_of_one_job_have_uids_of_their_own() {
    let spec = sources::named("mr-axial");
    let first = written(&spec, &production());
    let second = written(&spec, &with(Profile { name: "other".into(), ..Profile::default() }));
    assert_ne!(
        first.segmentation.encoded.reference.sop_instance,
        second.segmentation.encoded.reference.sop_instance
    );
}

#[test]
fn nothing_labelled_is_no_object() {
    let folder = tempfile::tempdir().unwrap();
    let source: Source = sources::named("mr-axial").read(folder.path());
    let empty = ndarray::Array3::zeros((sources::SLICES, sources::ROWS, sources::COLUMNS));
    assert!(segment(&production(), &source, &empty).is_empty());
}

/// A slice-by-slice reader of labels above 255.
struct Words(ndarray::Array3<u16>);

impl LabelPlanes for Words {
    fn shape(&self) -> [usize; 3] {
        self.0.dim().into()
    }

    fn plane(&mut self, slice: usize) -> std::io::Result<LabelPlane<'_>> {
        let [_, rows, columns] = self.shape();
        let all = self.0.as_slice().unwrap();
        Ok(LabelPlane::Words(&all[slice * rows * columns..(slice + 1) * rows * columns]))
    }
}

#[test]
fn three_hundred_segments_come_back_from_every_kind() {
    let labels = ndarray::Array3::from_shape_fn(
        (sources::SLICES, sources::ROWS, sources::COLUMNS),
        |(slice, row, column)| match (slice * sources::ROWS + row) * sources::COLUMNS + column {
            voxel if voxel % 50 < 7 => 0,
            voxel => 1000 + (voxel / 50 % 300) as u16,
        },
    );
    let code = imaging::Code::new("123037004", "SCT", "Anatomical Structure");
    let segments: Vec<Segment> = (1000..1300)
        .map(|value| Segment::new(value, &format!("Part {value}"), code.clone(), code.clone()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let dicom = folder.path().join("dicom");
    std::fs::create_dir(&dicom).unwrap();
    let source = sources::named("mr-axial").read(&dicom);
    let raw: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let expected = folder.path().join("labels.u16");
    std::fs::write(&expected, raw).unwrap();
    let orthanc = peers::Orthanc::start();
    let mut planes = Words(labels);
    for (segmentation, compression) in [
        (SegmentationType::LabelMap, Compression::None),
        (SegmentationType::LabelMap, Compression::Rle),
        (SegmentationType::Binary, Compression::None),
    ] {
        let profile =
            Profile { segmentation, compression, name: format!("{compression:?}"), ..Profile::default() };
        let production = with(profile);
        let input = SegmentationInput {
            production: &production,
            source: &source,
            segments: &segments,
            probabilities: None,
        };
        let made = results::segmentation_of_planes(&input, &mut planes).unwrap();
        let path = folder.path().join("seg.dcm");
        std::fs::write(&path, &made[0].encoded.bytes).unwrap();
        let errors: Vec<String> = programs::dciodvfy_lines(&path)
            .into_iter()
            .filter(|line| line.starts_with("Error") && line != NEWER_THAN_DCIODVFY)
            .collect();
        assert!(errors.is_empty(), "{segmentation:?}: {errors:#?}");
        programs::python("seg_voxels.py", &[&path, &dicom, &expected]);
        orthanc.store(&path);
    }
}
