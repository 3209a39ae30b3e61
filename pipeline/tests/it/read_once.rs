//! One model on one folder, without ledger and spool.

use std::path::PathBuf;

use inference::Control;
use pipeline::{ReadOnce, ReadOnceError, read_once, route_headers};
use time::macros::datetime;
use uuid::Uuid;

use crate::{phantom::Phantom, world::registry};

fn order() -> ReadOnce {
    ReadOnce { installation: Uuid::from_u128(7), written_at: datetime!(2026-01-02 03:04:05 UTC) }
}

fn write(folder: &std::path::Path, phantom: &Phantom) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for (idx, bytes) in phantom.files().iter().enumerate() {
        files.push(folder.join(format!("{idx}.dcm")));
        std::fs::write(&files[idx], bytes).unwrap();
    }
    files.push(folder.join("notes.txt"));
    std::fs::write(files.last().unwrap(), "no DICOM").unwrap();
    files
}

#[test]
fn a_folder_is_read_the_same_way_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &Phantom::new(1));
    let model = registry().get("bright").unwrap();
    let one = read_once(&model, &files, &order(), &Control::unattended()).unwrap();
    let other = read_once(&model, &files, &order(), &Control::unattended()).unwrap();
    let roles: Vec<&str> = one.objects.iter().map(|object| object.role).collect();
    assert_eq!(roles, ["seg", "sr"]);
    assert_eq!(one.labels.unwrap().labels.iter().filter(|value| **value == 1).count(), 12 * 12 * 4);
    for (one, other) in one.objects.iter().zip(&other.objects) {
        assert_eq!(one.encoded.bytes, other.encoded.bytes, "{}", one.role);
    }
}

#[test]
fn a_folder_without_a_series_for_the_model_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let phantom = Phantom { slices: 3, ..Phantom::new(1) };
    let files = write(folder.path(), &phantom);
    let model = registry().get("bright").unwrap();
    let error = read_once(&model, &files, &order(), &Control::unattended()).unwrap_err();
    assert!(matches!(error, ReadOnceError::NoSeries(_)));
    assert!(error.to_string().contains("slices is 3, expected at least 4"), "{error}");

    let headers: Vec<_> = files.iter().filter_map(|file| imaging::Header::read_file(file).ok()).collect();
    let routes = route_headers(&headers, [model.package()], &[]);
    assert_eq!(routes[0].not_chosen[0].because.condition, "slices");
}

#[test]
fn a_folder_without_images_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "no DICOM").unwrap();
    let model = registry().get("bright").unwrap();
    let error = read_once(&model, &[file], &order(), &Control::unattended()).unwrap_err();
    assert!(matches!(error, ReadOnceError::NoInstance(1)), "{error}");
}
