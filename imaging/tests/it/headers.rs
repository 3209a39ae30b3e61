//! Headers: from files, from the front of a stream, and through a ledger row.

use imaging::{Header, HeaderError};

use crate::data;

fn head_of(name: &str) -> (Header, Vec<u8>) {
    let path = data::folder(name);
    let bytes = std::fs::read(&path).unwrap();
    // Preamble and prefix, then the group length element with the length of the rest.
    let length = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    (Header::read_file(&path).unwrap(), bytes[144 + length..].to_vec())
}

#[test]
fn a_classic_ct_has_its_facts() {
    let (header, _) = head_of("syntaxes/CT_small.dcm");
    assert_eq!(header.modality, "CT");
    assert_eq!((header.rows, header.columns, header.number_of_frames), (Some(128), Some(128), 1));
    assert_eq!(header.image_type, ["ORIGINAL", "PRIMARY", "AXIAL"]);
    assert_eq!(header.pixel_spacing, Some([0.661468, 0.661468]));
    assert_eq!(header.position, Some([-158.135803, -179.035797, -75.699997]));
    assert_eq!(header.orientation, Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
    assert_eq!(header.slice_thickness, Some(5.0));
    assert_eq!(header.kvp, Some(120.0));
    assert_eq!(header.instance_number, Some(1));
    assert_eq!(header.patient.sex, "O");
    assert_eq!(header.patient.age_years, Some(0.0));
    assert_eq!(header.transfer_syntax.as_str(), "1.2.840.10008.1.2.1");
}

#[test]
fn an_enhanced_mr_has_the_facts_of_its_first_frame() {
    let (header, _) = head_of("mr-enhanced/siemens-xa30-t1w-enhanced.dcm");
    assert_eq!(header.number_of_frames, 96);
    assert_eq!(header.pixel_spacing, Some([2.0, 2.0]));
    assert_eq!(header.orientation, Some([0.0, 1.0, 0.0, 0.0, 0.0, -1.0]));
    assert!(header.position.is_some() && header.slice_thickness.is_some() && header.echo_time.is_some());
    assert_eq!(header.image_type.first().map(String::as_str), Some("ORIGINAL"));
}

#[test]
fn the_front_of_a_stream_gives_the_same_header_as_the_file() {
    for name in [
        "syntaxes/CT_small.dcm",
        "syntaxes/MR_small_implicit.dcm",
        "syntaxes/MR_small_bigendian.dcm",
        "syntaxes/image_dfl.dcm",
        "charsets/chrI2.dcm",
    ] {
        let (header, bytes) = head_of(name);
        let syntax = header.transfer_syntax.as_str();
        assert!(Header::from_front(&bytes, syntax).unwrap() == header, "{name}");
    }
}

#[test]
fn a_front_cut_anywhere_gives_a_header_as_soon_as_the_uids_are_there() {
    let (header, bytes) = head_of("syntaxes/CT_small.dcm");
    let mut first_whole = None;
    for length in 0..bytes.len().min(6000) {
        match Header::from_front(&bytes[..length], header.transfer_syntax.as_str()) {
            Ok(front) => {
                assert_eq!(front.sop_instance, header.sop_instance);
                first_whole.get_or_insert(length);
            }
            Err(error) => {
                assert!(matches!(error, HeaderError::Missing { .. }), "{length}: {error:?}");
                assert!(first_whole.is_none(), "a longer front lost the header at {length}");
            }
        }
    }
    assert!(first_whole.is_some());
}

#[test]
fn a_header_survives_a_ledger_row() {
    for name in ["syntaxes/CT_small.dcm", "charsets/chrH32.dcm", "mr-enhanced/siemens-xa30-t1w-enhanced.dcm"]
    {
        let (header, _) = head_of(name);
        let row = serde_json::to_string(&header).unwrap();
        let says_nothing =
            ["null", "\"\"", "[]"].into_iter().find(|empty| row.contains(&format!(":{empty}")));
        assert_eq!(says_nothing, None, "{name}: a row holds what the instance states");
        assert!(serde_json::from_str::<Header>(&row).unwrap() == header, "{name}");
    }
}

#[test]
fn a_row_of_an_older_version_may_lack_facts() {
    let row = r#"{"sop_class":"1.1","sop_instance":"1.2","study":"1.3","series":"1.4","transfer_syntax":"1.5","modality":"CT"}"#;
    let header: Header = serde_json::from_str(row).unwrap();
    assert_eq!((header.modality.as_str(), header.rows), ("CT", None));
}

#[test]
fn debug_shows_no_text_of_the_patient() {
    let (header, _) = head_of("charsets/chrFren.dcm");
    assert!(!header.patient.name.is_empty());
    let shown = format!("{header:?}");
    assert!(!shown.contains("Buc") && !shown.contains(&header.patient.id), "{shown}");
}

#[test]
fn a_segmentation_has_a_header_too() {
    let (header, _) = head_of("syntaxes/liver_1frame.dcm");
    assert_eq!(header.modality, "SEG");
    assert!(header.is_image());
}
