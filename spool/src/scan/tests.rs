//! The walk over good, cut, hostile and random data sets.

use proptest::prelude::*;

use super::*;

fn explicit(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&tag.1.to_le_bytes());
    out.extend_from_slice(vr);
    if matches!(vr, b"OB" | b"OW" | b"SQ" | b"UN") {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
    }
    out.extend_from_slice(value);
    out
}

fn undefined(tag: Tag, vr: &[u8; 2], inside: &[u8]) -> Vec<u8> {
    let mut out = explicit(tag, vr, &[]);
    let at = out.len() - 4;
    out[at..].copy_from_slice(&UNDEFINED.to_le_bytes());
    out.extend_from_slice(inside);
    out.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    out
}

fn item(value: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFE, 0xFF, 0x00, 0xE0];
    out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend_from_slice(value);
    out
}

fn sample() -> Vec<u8> {
    [
        explicit(SOP_CLASS_UID, b"UI", b"1.2.3\0"),
        explicit(SOP_INSTANCE_UID, b"UI", b"1.2.3.45"),
        undefined((0x0008, 0x1140), b"SQ", &item(&explicit((0x0008, 0x1155), b"UI", b"1.9\0"))),
        explicit(STUDY_INSTANCE_UID, b"UI", b"1.22"),
        explicit(SERIES_INSTANCE_UID, b"UI", b"1.33"),
        undefined((0x7FE0, 0x0010), b"OB", &[item(&[]), item(&[1; 40])].concat()),
    ]
    .concat()
}

fn scan(bytes: &[u8], chunk: usize) -> Result<Scanner, Malformed> {
    let mut scanner = Scanner::new(Encoding::ExplicitLittle);
    for part in bytes.chunks(chunk) {
        scanner.push(part)?;
    }
    scanner.finish()?;
    Ok(scanner)
}

#[test]
fn the_head_is_the_same_whatever_the_chunks() {
    let bytes = sample();
    let whole = scan(&bytes, bytes.len()).unwrap();
    assert_eq!(whole.sop_instance(), Some("1.2.3.45"));
    assert_eq!(whole.study(), Some("1.22"));
    assert!(whole.head_is_whole() && bytes.starts_with(whole.head()));
    for chunk in 1..bytes.len() {
        assert_eq!(scan(&bytes, chunk).unwrap().head(), whole.head(), "chunks of {chunk}");
    }
}

#[test]
fn a_data_set_that_is_cut_is_truncated_unless_cut_between_elements() {
    let bytes = sample();
    let whole_until: Vec<usize> = {
        let pixel_data =
            bytes.len() - undefined((0x7FE0, 0x0010), b"OB", &[item(&[]), item(&[1; 40])].concat()).len();
        (0..pixel_data).filter(|&end| scan(&bytes[..end], 7).is_ok()).collect()
    };
    assert_eq!(whole_until.len(), 5, "only at the ends of top-level elements: {whole_until:?}");
    for end in bytes.len() - 60..bytes.len() {
        assert_eq!(scan(&bytes[..end], 7).unwrap_err(), Malformed::Truncated, "cut at {end}");
    }
}

#[test]
fn long_private_values_are_left_out_and_the_rest_is_kept() {
    let long = explicit((0x0019, 0x1001), b"OB", &vec![7; VALUE_BYTES_MAX + 2]);
    let bytes =
        [explicit(SOP_CLASS_UID, b"UI", b"1.2\0"), long, explicit(STUDY_INSTANCE_UID, b"UI", b"1.22")]
            .concat();
    let scanner = scan(&bytes, 4096).unwrap();
    assert_eq!(scanner.study(), Some("1.22"));
    assert!(scanner.head().len() < 64);
}

#[test]
fn a_sequence_beyond_the_head_is_left_out_whole() {
    let items = item(&explicit((0x0008, 0x1155), b"OB", &vec![1; 200 << 10])).repeat(8);
    let bytes = [
        explicit(SOP_CLASS_UID, b"UI", b"1.2\0"),
        undefined((0x0008, 0x1140), b"SQ", &items),
        explicit(STUDY_INSTANCE_UID, b"UI", b"1.22"),
    ]
    .concat();
    let scanner = scan(&bytes, 5000).unwrap();
    assert_eq!(scanner.study(), Some("1.22"));
    assert_eq!(scanner.head().len(), explicit(SOP_CLASS_UID, b"UI", b"1.2\0").len() * 2);
}

#[test]
fn endless_nesting_is_refused() {
    let mut bytes = Vec::new();
    for _ in 0..200 {
        bytes.extend_from_slice(&[0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    assert_eq!(scan(&bytes, 100).unwrap_err(), Malformed::Depth);
}

#[test]
fn an_unknown_sequence_is_walked_as_implicit() {
    // (0008,1155) without value representation, inside UN of undefined length
    let inside = [0x08, 0, 0x55, 0x11, 4, 0, 0, 0, b'1', b'.', b'9', 0];
    let bytes =
        [undefined((0x0009, 0x1001), b"UN", &item(&inside)), explicit(STUDY_INSTANCE_UID, b"UI", b"1.22")];
    assert_eq!(scan(&bytes.concat(), 3).unwrap().study(), Some("1.22"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2048), chunk in 1_usize..300) {
        for encoding in [Encoding::ImplicitLittle, Encoding::ExplicitLittle, Encoding::ExplicitBig] {
            let mut scanner = Scanner::new(encoding);
            let walked = bytes.chunks(chunk).try_for_each(|part| scanner.push(part));
            prop_assert!(scanner.head().len() <= bytes.len());
            prop_assert!(scanner.carry.len() < HEADER_BYTES_MAX || walked.is_err());
        }
    }

    #[test]
    fn damage_to_a_good_data_set_never_makes_it_panic(at in 0_usize..150, byte in any::<u8>(), chunk in 1_usize..50) {
        let mut bytes = sample();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        if let Ok(scanner) = scan(&bytes, chunk) {
            prop_assert!(scanner.head().len() <= bytes.len());
        }
    }
}
