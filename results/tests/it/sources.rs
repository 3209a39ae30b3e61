//! Source series for the tests: small, synthetic, one for each geometry that results must survive.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{InMemDicomObject, meta::FileMetaTableBuilder};
use ndarray::Array3;
use results::Source;

pub(crate) const ROWS: usize = 40;
pub(crate) const COLUMNS: usize = 36;
pub(crate) const SLICES: usize = 12;

/// What a series looks like from outside.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) modality: &'static str,
    pub(crate) body_part: Option<&'static str>,
    pub(crate) orientation: &'static str,
    /// Distance of slice `k` from the first along the normal.
    pub(crate) step: fn(usize) -> f64,
    pub(crate) patient: Patient,
    pub(crate) multiframe: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patient {
    Plain,
    /// Korean name in ISO 2022 IR 149, as Korean devices write it.
    Korean,
}

fn even(slice: usize) -> f64 {
    2.5 * slice as f64
}

fn uneven(slice: usize) -> f64 {
    4.22 * slice as f64 - if slice > 5 { 3.08 } else { 0.0 }
}

pub(crate) fn all() -> Vec<Spec> {
    let mr = Spec {
        name: "mr-axial",
        body_part: None,
        modality: "MR",
        orientation: "1\\0\\0\\0\\1\\0",
        step: even,
        patient: Patient::Plain,
        multiframe: false,
    };
    vec![
        mr.clone(),
        Spec {
            name: "mr-sagittal",
            body_part: Some("BRAIN"),
            orientation: "0\\1\\0\\0\\0\\-1",
            ..mr.clone()
        },
        Spec {
            name: "mr-oblique",
            orientation: "0.939692620786\\0.342020143326\\0\\-0.1710100716628\\0.4698463103930\\-0.8660254037844",
            ..mr.clone()
        },
        Spec { name: "ct-uneven", modality: "CT", step: uneven, ..mr.clone() },
        Spec { name: "mr-enhanced", multiframe: true, ..mr.clone() },
        Spec { name: "mr-korean", patient: Patient::Korean, ..mr },
    ]
}

pub(crate) fn named(name: &str) -> Spec {
    all().into_iter().find(|spec| spec.name == name).expect("a known source")
}

/// Three blobs, on different slices, one of them on the border; voxels of 7 are one segment of label 7.
pub(crate) fn labels() -> Array3<u8> {
    Array3::from_shape_fn((SLICES, ROWS, COLUMNS), |(slice, row, column)| {
        let inside = |center: [f64; 3], radius: [f64; 3]| {
            [slice, row, column]
                .iter()
                .zip(center.iter().zip(radius))
                .map(|(&at, (center, radius))| ((at as f64 - center) / radius).powi(2))
                .sum::<f64>()
                <= 1.0
        };
        if inside([4.0, 14.0, 12.0], [3.0, 7.0, 5.0]) {
            1
        } else if inside([8.0, 26.0, 25.0], [2.0, 6.0, 8.0]) {
            2
        } else if slice == 11 && row >= 38 && column >= 20 {
            7
        } else {
            0
        }
    })
}

impl Spec {
    pub(crate) fn read(&self, folder: &Path) -> Source {
        Source::read(&self.write(folder)).expect("the source is readable")
    }

    /// Writes the files in an order that is not the order of the slices.
    pub(crate) fn write(&self, folder: &Path) -> Vec<PathBuf> {
        let datasets = if self.multiframe { vec![self.enhanced()] } else { self.classic() };
        let mut paths = Vec::new();
        for (index, dataset) in datasets.into_iter().enumerate() {
            let path = folder.join(format!("IM{:03}", (index * 7) % SLICES));
            dataset
                .with_meta(FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN))
                .expect("the meta group is complete")
                .write_to_file(&path)
                .expect("the file is writable");
            paths.push(path);
        }
        paths.sort();
        paths
    }

    pub(crate) fn position_text(&self, slice: usize) -> String {
        let o: Vec<f64> = self.orientation.split('\\').map(|part| part.parse().unwrap()).collect();
        let normal = [o[1] * o[5] - o[2] * o[4], o[2] * o[3] - o[0] * o[5], o[0] * o[4] - o[1] * o[3]];
        let start = [-70.123, -60.5, 33.25];
        let at = (self.step)(slice);
        let parts: Vec<String> =
            start.iter().zip(normal).map(|(start, normal)| format!("{:.6}", start + at * normal)).collect();
        parts.join("\\")
    }

    fn classic(&self) -> Vec<InMemDicomObject> {
        (0..SLICES)
            .map(|slice| {
                let mut dataset = self.common();
                put(
                    &mut dataset,
                    tags::SOP_INSTANCE_UID,
                    VR::UI,
                    &format!("1.2.826.0.1.3680043.10.1.{}", slice + 1),
                );
                put(&mut dataset, tags::INSTANCE_NUMBER, VR::IS, &(slice + 1).to_string());
                put(&mut dataset, tags::IMAGE_POSITION_PATIENT, VR::DS, &self.position_text(slice));
                put(&mut dataset, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, self.orientation);
                put(&mut dataset, tags::PIXEL_SPACING, VR::DS, "1.25\\0.8750");
                put(&mut dataset, tags::SLICE_THICKNESS, VR::DS, "2.40");
                if self.modality == "CT" {
                    put(&mut dataset, tags::RESCALE_INTERCEPT, VR::DS, "-1024");
                    put(&mut dataset, tags::RESCALE_SLOPE, VR::DS, "1");
                    put(&mut dataset, tags::KVP, VR::DS, "120");
                    put(&mut dataset, tags::ACQUISITION_NUMBER, VR::IS, "1");
                } else {
                    put(&mut dataset, tags::SCANNING_SEQUENCE, VR::CS, "GR");
                    put(&mut dataset, tags::SEQUENCE_VARIANT, VR::CS, "NONE");
                    put(&mut dataset, tags::SCAN_OPTIONS, VR::CS, "");
                    put(&mut dataset, tags::MR_ACQUISITION_TYPE, VR::CS, "2D");
                    put(&mut dataset, tags::ECHO_TIME, VR::DS, "2.46");
                    put(&mut dataset, tags::REPETITION_TIME, VR::DS, "500");
                    put(&mut dataset, tags::ECHO_TRAIN_LENGTH, VR::IS, "1");
                }
                pixels(&mut dataset, 1);
                dataset
            })
            .collect()
    }

    fn enhanced(&self) -> InMemDicomObject {
        let mut dataset = self.common();
        put(&mut dataset, tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_MR_IMAGE_STORAGE);
        put(&mut dataset, tags::SOP_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.2.1");
        put(&mut dataset, tags::INSTANCE_NUMBER, VR::IS, "1");
        put(&mut dataset, tags::NUMBER_OF_FRAMES, VR::IS, &SLICES.to_string());
        let mut measures = InMemDicomObject::new_empty();
        put(&mut measures, tags::PIXEL_SPACING, VR::DS, "1.25\\0.8750");
        put(&mut measures, tags::SLICE_THICKNESS, VR::DS, "2.40");
        let mut orientation = InMemDicomObject::new_empty();
        put(&mut orientation, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, self.orientation);
        let mut shared = InMemDicomObject::new_empty();
        items(&mut shared, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
        items(&mut shared, tags::PLANE_ORIENTATION_SEQUENCE, vec![orientation]);
        items(&mut dataset, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        let frames = (0..SLICES)
            .map(|slice| {
                let mut position = InMemDicomObject::new_empty();
                put(&mut position, tags::IMAGE_POSITION_PATIENT, VR::DS, &self.position_text(slice));
                let mut content = InMemDicomObject::new_empty();
                put(&mut content, tags::STACK_ID, VR::SH, "1");
                let mut frame = InMemDicomObject::new_empty();
                items(&mut frame, tags::PLANE_POSITION_SEQUENCE, vec![position]);
                items(&mut frame, tags::FRAME_CONTENT_SEQUENCE, vec![content]);
                frame
            })
            .collect();
        items(&mut dataset, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames);
        pixels(&mut dataset, SLICES);
        dataset
    }

    fn common(&self) -> InMemDicomObject {
        let mut dataset = InMemDicomObject::new_empty();
        let sop_class = if self.modality == "CT" { uids::CT_IMAGE_STORAGE } else { uids::MR_IMAGE_STORAGE };
        for (tag, vr, text) in [
            (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
            (tags::SOP_CLASS_UID, VR::UI, sop_class),
            (tags::STUDY_DATE, VR::DA, "20240506"),
            (tags::STUDY_TIME, VR::TM, "070809"),
            (tags::CONTENT_DATE, VR::DA, "20240506"),
            (tags::CONTENT_TIME, VR::TM, "071000"),
            (tags::ACCESSION_NUMBER, VR::SH, "ACC1"),
            (tags::MODALITY, VR::CS, self.modality),
            (tags::MANUFACTURER, VR::LO, "Probe"),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
            (tags::STUDY_DESCRIPTION, VR::LO, "Synthetic brain"),
            (tags::SERIES_DESCRIPTION, VR::LO, self.name),
            (tags::PATIENT_ID, VR::LO, "PID1"),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19700102"),
            (tags::PATIENT_SEX, VR::CS, "O"),
            (tags::PATIENT_AGE, VR::AS, "054Y"),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.7"),
            (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.8"),
            (tags::STUDY_ID, VR::SH, "1"),
            (tags::SERIES_NUMBER, VR::IS, "3"),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.826.0.1.3680043.10.9"),
            (tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
            (tags::PATIENT_POSITION, VR::CS, "HFS"),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        ] {
            put(&mut dataset, tag, vr, text);
        }
        if let Some(part) = self.body_part {
            put(&mut dataset, tags::BODY_PART_EXAMINED, VR::CS, part);
        }
        for (tag, number) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, ROWS as u16),
            (tags::COLUMNS, COLUMNS as u16),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 11),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            dataset.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
        }
        self.patient_name(&mut dataset);
        dataset
    }

    fn patient_name(&self, dataset: &mut InMemDicomObject) {
        match self.patient {
            Patient::Plain => put(dataset, tags::PATIENT_NAME, VR::PN, "Probe^Anna"),
            Patient::Korean => {
                put(dataset, tags::SPECIFIC_CHARACTER_SET, VR::CS, "\\ISO 2022 IR 149");
                // bytes of PS3.5 Annex I.2, letter by letter as the writer's default repertoire takes them
                let name = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
                let name: String = name.iter().map(|&byte| char::from(byte)).collect();
                put(dataset, tags::PATIENT_NAME, VR::PN, &name);
            }
        }
    }
}

fn put(dataset: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    let value = match text {
        "" => PrimitiveValue::Empty,
        _ if text.contains('\\') => PrimitiveValue::Strs(text.split('\\').map(str::to_owned).collect()),
        _ => PrimitiveValue::from(text),
    };
    dataset.put(DataElement::new(tag, vr, value));
}

fn items(dataset: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    dataset.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// A ramp, so that viewers have something to show.
fn pixels(dataset: &mut InMemDicomObject, frames: usize) {
    let values: Vec<u16> = (0..frames * ROWS * COLUMNS).map(|index| (index % 1000) as u16).collect();
    dataset.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
}
