//! Names in every character set that the samples hold, as pydicom reads them.

use dicom_dictionary_std::tags;
use imaging::{Charset, Header};

use crate::data;

/// Repeated here on purpose: these are the names that David Clunie's samples were made with.
const NAMES: [(&str, &str); 10] = [
    ("chrArab.dcm", "قباني^لنزار"),
    ("chrFren.dcm", "Buc^Jérôme"),
    ("chrGerm.dcm", "Äneas^Rüdiger"),
    ("chrGreek.dcm", "Διονυσιος"),
    ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("chrRuss.dcm", "Люкceмбypг"),
    ("chrX1.dcm", "Wang^XiaoDong=王^小東"),
    ("chrX2.dcm", "Wang^XiaoDong=王^小东"),
];

#[test]
fn every_sample_decodes_to_its_name() {
    for (file, expected) in NAMES {
        let header = Header::read_file(&data::folder("charsets").join(file)).unwrap();
        assert_eq!(header.patient.name, expected, "{file}");
    }
}

#[test]
fn pydicom_reads_the_same_names() {
    let reference = data::reference("names.json");
    assert_eq!(reference.as_object().unwrap().len(), NAMES.len());
    for (file, expected) in NAMES {
        assert_eq!(reference[file], expected, "{file}");
    }
}

#[test]
fn every_sample_has_a_name_in_the_list() {
    for path in data::files("charsets") {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // An item of a sequence, without a patient of its own.
        let is_listed = name == "chrSQEncoding.dcm" || NAMES.iter().any(|(file, _)| *file == name);
        assert!(is_listed, "{name}");
    }
}

#[test]
fn an_item_has_the_set_that_it_declares() {
    let ds = imaging::read_dataset(&data::folder("charsets").join("chrSQEncoding.dcm")).unwrap();
    let item = &ds.get(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE).unwrap().items().unwrap()[0];
    let charset = Charset::of(&ds).of_item(item);
    assert_eq!(charset.text(item, tags::PATIENT_NAME).as_deref(), Some("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"));
    assert_eq!(imaging::text(&ds, tags::REQUESTING_PHYSICIAN).as_deref(), Some("Doctor^Who^^MD"));
}
