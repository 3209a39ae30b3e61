//! The conformance statement in `docs/` is what the code says.

use std::{fs, path::Path};

#[test]
fn the_committed_conformance_statement_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFORMANCE.md");
    let generated = scp::conformance_statement();
    if std::env::var_os("OVERREAD_UPDATE_DOCS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == generated,
        "run this test once with OVERREAD_UPDATE_DOCS=1 and commit docs/CONFORMANCE.md"
    );
}

#[test]
fn the_statement_lists_what_is_taken() {
    let statement = scp::conformance_statement();
    for expected in [
        "| MR Image Storage | 1.2.840.10008.5.1.4.1.1.4 |",
        "1.2.840.10008.5.1.4.1.1.66.7",
        "1.2.840.10008.1.2.4.90",
        "| A700H |",
    ] {
        assert!(statement.contains(expected), "{expected}");
    }
    assert!(!statement.contains('{'), "a placeholder is left");
}
