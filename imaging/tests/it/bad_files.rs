//! Damaged and odd files: what is usable is used, what is not is named.

use imaging::{HeadError, Header, HeaderError, load_image};

use crate::data;

fn header(name: &str) -> Result<Header, HeaderError> {
    Header::read_file(&data::folder("bad").join(name))
}

#[track_caller]
fn has_header(name: &str, modality: &str) {
    match header(name) {
        Ok(header) => assert_eq!(header.modality, modality, "{name}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

#[track_caller]
fn is_missing(name: &str, expected: &str) {
    match header(name) {
        Err(HeaderError::Missing { name: missing, .. }) => assert_eq!(missing, expected, "{name}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn image_error(name: &str, frame: u32) -> String {
    load_image(&data::folder("bad").join(name), frame).unwrap_err().to_string()
}

#[test]
fn damage_behind_the_head_leaves_the_header_readable() {
    has_header("MR_truncated.dcm", "MR");
    has_header("MR_small_padded.dcm", "MR");
    has_header("badVR.dcm", "RTDOSE");
    has_header("J2K_pixelrep_mismatch.dcm", "CT");
    has_header("invalid-vr-length-test.dcm", "MR");
}

#[test]
fn a_head_that_breaks_off_behind_its_uids_has_a_header() {
    has_header("rtplan_truncated.dcm", "RTPLAN");
}

#[test]
fn files_without_meta_are_read_by_their_first_element() {
    for name in ["ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm"] {
        let header = header(name).unwrap();
        assert_eq!(header.sop_class.as_str(), "1.2.840.10008.5.1.4.1.1.481.8", "{name}");
    }
    has_header("CTImageStorage_bad_meta.dcm", "CT");
}

#[test]
fn elements_written_as_unknown_are_read_by_the_dictionary() {
    let header = header("explicit_VR-UN.dcm").unwrap();
    assert_eq!((header.rows, header.columns), (Some(512), Some(512)));
    assert_eq!(header.modality, "CT");
    assert!(header.position.is_some() && header.pixel_spacing.is_some());
    assert!(load_image(&data::folder("bad").join("explicit_VR-UN.dcm"), 1).is_ok());
}

#[test]
fn what_is_no_dicom_is_said_to_be_none() {
    let error = header("no_meta.dcm").unwrap_err();
    assert!(matches!(error, HeaderError::Head(HeadError::NotDicom)), "{error:?}");
    let error = Header::read_file(&data::folder("README.md")).unwrap_err();
    assert!(matches!(error, HeaderError::Head(HeadError::NotDicom)), "{error:?}");
    let error = Header::read_file(&data::folder("no such file")).unwrap_err();
    assert!(matches!(error, HeaderError::Head(HeadError::Read(_))), "{error:?}");
}

#[test]
fn missing_uids_are_named() {
    is_missing("UN_sequence.dcm", "SOP Class UID");
    is_missing("empty_charset_LEI.dcm", "SOP Class UID");
}

#[test]
fn a_uid_that_is_none_is_named_without_its_text() {
    let error = header("bad_sequence.dcm").unwrap_err();
    assert_eq!(error.to_string(), "SOP Instance UID (0008,0018) is no UID");
}

#[test]
fn pixels_that_end_early_are_named() {
    assert_eq!(
        image_error("MR_truncated.dcm", 1),
        "frame 1 cannot be decoded: the pixel data ends inside the frame: 8130 of 8192 bytes are there"
    );
    let error = image_error("rtplan_truncated.dcm", 1);
    assert!(
        error.starts_with("frame 1 cannot be decoded: the data set breaks off before its pixels"),
        "{error}"
    );
}

#[test]
fn padding_behind_the_pixels_is_no_error() {
    let plain = load_image(&data::folder("syntaxes").join("MR_small.dcm"), 1).unwrap();
    let padded = load_image(&data::folder("bad").join("MR_small_padded.dcm"), 1).unwrap();
    assert!(plain == padded);
}

#[test]
fn no_bad_file_panics() {
    for path in data::files("bad") {
        // Either answer is fine here; the tests above say which one.
        let outcome =
            std::panic::catch_unwind(|| (Header::read_file(&path).is_ok(), load_image(&path, 1).is_ok()));
        assert!(outcome.is_ok(), "{}", path.display());
    }
}
