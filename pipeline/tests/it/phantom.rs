//! Small MR series: dark slices with a bright cube in the middle.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use imaging::{StudyUid, Uid};

/// A series of one study; each phantom has UIDs of its own.
#[derive(Debug, Clone)]
pub(crate) struct Phantom {
    pub(crate) number: u32,
    pub(crate) patient_id: String,
    pub(crate) slices: u32,
    /// Rows and columns.
    pub(crate) side: u16,
    /// Images in Acquisition, where the sender states it.
    pub(crate) stated: Option<u32>,
}

impl Phantom {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, patient_id: "P1".to_owned(), slices: 12, side: 32, stated: None }
    }

    pub(crate) fn study(&self) -> StudyUid {
        Uid::parse(&self.uid("1")).unwrap().into()
    }

    pub(crate) fn sop_instance(&self, slice: u32) -> String {
        self.uid(&format!("2.{slice}"))
    }

    fn uid(&self, rest: &str) -> String {
        format!("1.2.826.0.1.3680043.8.498.77.{}.{rest}", self.number)
    }

    pub(crate) fn files(&self) -> Vec<Vec<u8>> {
        (1..=self.slices).map(|slice| self.file(slice)).collect()
    }

    /// Writes the files into a folder; gives their paths in the order of the slices.
    pub(crate) fn write_to(&self, folder: &Path) -> Vec<PathBuf> {
        let write = |(slice, bytes): (usize, Vec<u8>)| {
            let file = folder.join(format!("{slice:04}.dcm"));
            std::fs::write(&file, bytes).unwrap();
            file
        };
        self.files().into_iter().enumerate().map(write).collect()
    }

    /// Slice `number` (from 1) as a whole Part 10 file.
    pub(crate) fn file(&self, number: u32) -> Vec<u8> {
        self.file_called(number, &self.sop_instance(number))
    }

    /// The same under another SOP Instance UID.
    pub(crate) fn file_called(&self, number: u32, sop_instance: &str) -> Vec<u8> {
        let mut object = InMemDicomObject::new_empty();
        let mut put = |tag, vr, value: PrimitiveValue| object.put(DataElement::new(tag, vr, value));
        let text = |text: &str| PrimitiveValue::from(text);
        put(tags::SPECIFIC_CHARACTER_SET, VR::CS, text("ISO_IR 192"));
        put(tags::IMAGE_TYPE, VR::CS, PrimitiveValue::Strs(["ORIGINAL".into(), "PRIMARY".into()].into()));
        put(tags::SOP_CLASS_UID, VR::UI, text(uids::MR_IMAGE_STORAGE));
        put(tags::SOP_INSTANCE_UID, VR::UI, text(sop_instance));
        put(tags::STUDY_DATE, VR::DA, text("20260102"));
        put(tags::STUDY_TIME, VR::TM, text("030405"));
        put(tags::ACCESSION_NUMBER, VR::SH, text("A1"));
        put(tags::MODALITY, VR::CS, text("MR"));
        put(tags::MANUFACTURER, VR::LO, text("Phantom"));
        put(tags::REFERRING_PHYSICIAN_NAME, VR::PN, text(""));
        put(tags::SERIES_DESCRIPTION, VR::LO, text("T1"));
        put(tags::PATIENT_NAME, VR::PN, text("Test^Phantom"));
        put(tags::PATIENT_ID, VR::LO, text(&self.patient_id));
        put(tags::PATIENT_BIRTH_DATE, VR::DA, text("19700101"));
        put(tags::PATIENT_SEX, VR::CS, text("O"));
        put(tags::SLICE_THICKNESS, VR::DS, text("2"));
        put(tags::STUDY_INSTANCE_UID, VR::UI, text(self.study().as_str()));
        put(tags::SERIES_INSTANCE_UID, VR::UI, text(&self.uid("3")));
        put(tags::STUDY_ID, VR::SH, text("1"));
        put(tags::SERIES_NUMBER, VR::IS, text("1"));
        put(tags::ACQUISITION_NUMBER, VR::IS, text("1"));
        put(tags::INSTANCE_NUMBER, VR::IS, text(&number.to_string()));
        let position = ["0", "0", &format!("{}", 2 * number)].map(str::to_owned);
        put(tags::IMAGE_POSITION_PATIENT, VR::DS, PrimitiveValue::Strs(position.to_vec().into()));
        let orientation = ["1", "0", "0", "0", "1", "0"].map(str::to_owned);
        put(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, PrimitiveValue::Strs(orientation.to_vec().into()));
        put(tags::FRAME_OF_REFERENCE_UID, VR::UI, text(&self.uid("4")));
        if let Some(stated) = self.stated {
            put(tags::IMAGES_IN_ACQUISITION, VR::IS, text(&stated.to_string()));
        }
        put(tags::SAMPLES_PER_PIXEL, VR::US, 1_u16.into());
        put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, text("MONOCHROME2"));
        put(tags::ROWS, VR::US, self.side.into());
        put(tags::COLUMNS, VR::US, self.side.into());
        let spacing = ["1", "1"].map(str::to_owned);
        put(tags::PIXEL_SPACING, VR::DS, PrimitiveValue::Strs(spacing.to_vec().into()));
        put(tags::BITS_ALLOCATED, VR::US, 16_u16.into());
        put(tags::BITS_STORED, VR::US, 16_u16.into());
        put(tags::HIGH_BIT, VR::US, 15_u16.into());
        put(tags::PIXEL_REPRESENTATION, VR::US, 0_u16.into());
        put(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(self.pixels(number).into()));
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::MR_IMAGE_STORAGE)
            .media_storage_sop_instance_uid(sop_instance)
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let mut bytes = Vec::new();
        object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
        bytes
    }

    fn pixels(&self, number: u32) -> Vec<u16> {
        let middle = |value: u32, size: u32| value > size / 3 && value <= size - size / 3;
        let side = u32::from(self.side);
        (0..side * side)
            .map(|pixel| {
                let inside =
                    middle(pixel % side, side) && middle(pixel / side, side) && middle(number, self.slices);
                if inside { 1000 } else { 100 }
            })
            .collect()
    }
}
