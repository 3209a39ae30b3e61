//! Probabilities, read back by others: as a FRACTIONAL segmentation and as parametric maps.

use std::path::{Path, PathBuf};

use ndarray::{Array3, ArrayView3};
use results::{
    EmptyFrames, EncodeError, Encoded, ParametricMapInput, Production, Profile, SegmentationInput,
    SegmentationType, Source, parametric_map,
};

use crate::{
    programs,
    segmentation::{production, segments},
    sources::{self, COLUMNS, ROWS, SLICES},
};

/// One volume for each of the segments; the third is nowhere.
fn probabilities() -> Vec<Array3<f32>> {
    let volume = |phase: f32| {
        Array3::from_shape_fn((SLICES, ROWS, COLUMNS), |(slice, row, column)| {
            let at = (slice * ROWS + row) as f32 / 7.0 + column as f32 / 5.0;
            if slice < 3 { 0.0 } else { (0.5 + 0.5 * (at + phase).sin()).clamp(0.0, 1.0) }
        })
    };
    vec![volume(0.0), volume(1.0), Array3::zeros((SLICES, ROWS, COLUMNS)), volume(2.0)]
}

fn save(volumes: &[Array3<f32>], folder: &Path) -> PathBuf {
    let bytes: Vec<u8> = volumes.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let path = folder.join("probabilities.f32");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn fractional() -> Production {
    let profile = Profile { segmentation: SegmentationType::Fractional, ..Profile::default() };
    Production { profile, ..production() }
}

fn fractions(
    production: &Production,
    source: &Source,
    volumes: &[Array3<f32>],
) -> Result<Encoded, EncodeError> {
    let views: Vec<ArrayView3<'_, f32>> = volumes.iter().map(|volume| volume.view()).collect();
    let segments = segments();
    let input = SegmentationInput { production, source, segments: &segments, probabilities: Some(&views) };
    let mut made = results::segmentation(&input, sources::labels().view())?;
    assert_eq!(made.len(), 1);
    Ok(made.remove(0).encoded)
}

fn maps(production: &Production, source: &Source, volumes: &[Array3<f32>]) -> Vec<Encoded> {
    let map = |(segment, volume): (&results::Segment, &Array3<f32>)| {
        let input = ParametricMapInput { production, source, segment, probabilities: volume.view() };
        parametric_map(&input).expect("the map is written")
    };
    segments().iter().zip(volumes).map(map).collect()
}

#[test]
fn others_read_the_probabilities_that_were_written() {
    let orthanc = peers::Orthanc::start();
    let volumes = probabilities();
    for name in ["mr-oblique", "ct-uneven", "mr-enhanced"] {
        let spec = sources::named(name);
        let folder = tempfile::tempdir().unwrap();
        let dicom = folder.path().join("dicom");
        std::fs::create_dir(&dicom).unwrap();
        let source = spec.read(&dicom);
        let raw = save(&volumes, folder.path());
        let mut paths = Vec::new();
        let fractional = fractions(&fractional(), &source, &volumes).expect("the fractions are written");
        for (index, object) in
            std::iter::once(fractional).chain(maps(&production(), &source, &volumes)).enumerate()
        {
            let path = folder.path().join(format!("object-{index}.dcm"));
            std::fs::write(&path, &object.bytes).unwrap();
            programs::dciodvfy(&path);
            orthanc.store(&path);
            paths.push(path);
        }
        let mut arguments = vec![dicom.as_path(), raw.as_path()];
        arguments.extend(paths.iter().map(PathBuf::as_path));
        programs::python("probabilities.py", &arguments);
        programs::send(&orthanc, &paths);
    }
}

#[test]
fn what_is_nowhere_probable_has_no_frames_unless_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources::named("mr-axial").read(folder.path());
    let mut production = fractional();
    let frames = |encoded: &Encoded| {
        let path = folder.path().join("fractions.dcm");
        std::fs::write(&path, &encoded.bytes).unwrap();
        programs::python("frame_count.py", &[&path]).trim().parse::<usize>().unwrap()
    };
    assert_eq!(frames(&fractions(&production, &source, &probabilities()).unwrap()), 3 * (SLICES - 3));
    production.profile.empty_frames = EmptyFrames::Keep;
    assert_eq!(frames(&fractions(&production, &source, &probabilities()).unwrap()), 3 * SLICES);
}

#[test]
fn two_runs_write_the_same_bytes_and_each_map_is_a_series_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources::named("mr-oblique").read(folder.path());
    let volumes = probabilities();
    let first = maps(&production(), &source, &volumes);
    assert!(first == maps(&production(), &source, &volumes));
    let mut series: Vec<_> = first.iter().map(|map| map.reference.series.clone()).collect();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), first.len());
}

#[test]
fn what_is_no_probability_of_these_segments_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources::named("mr-axial").read(folder.path());
    let mut volumes = probabilities();
    let fractional = fractional();
    let refused = |volumes: &[Array3<f32>]| fractions(&fractional, &source, volumes).unwrap_err().to_string();
    assert_eq!(refused(&volumes[..2]), "2 probability maps are given for 4 segments");
    volumes[1][[5, 5, 5]] = f32::NAN;
    assert_eq!(refused(&volumes), "a probability is not a finite number");
    volumes[1] = Array3::zeros((SLICES, COLUMNS, ROWS));
    assert!(refused(&volumes).contains("slices of 36 x 40"));
}
