//! Input without identity: the only images that models are given.
//!
//! What stays is what a model or its declared limits need: voxels, geometry, modality,
//! age in years. Names, ids, dates, descriptions and every UID are gone; the frame of
//! reference is replaced by a one-way digest, so that two series can still be told to
//! share one.

use imaging::{Facts, Header, Patient, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid, Volume};
use sha2::{Digest as _, Sha256};

/// Proof that `T` went through [`deidentify`].
#[derive(Debug, Clone)]
pub struct Deidentified<T>(T);

impl<T> Deidentified<T> {
    pub fn get(&self) -> &T {
        &self.0
    }

    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

/// The UID that stands where one was taken out: the root of PS3.5 §B.2 with the number 0.
const NO_UID: &str = "2.25.0";

/// Takes everything out of `volume` that says whose it is. Keep `volume.frames` before: results refer to them.
pub fn deidentify(volume: Volume) -> Deidentified<Volume> {
    let header = deidentified_header(&volume.header);
    Deidentified(Volume { frames: Vec::new(), split: None, left_out: Vec::new(), header, ..volume })
}

fn deidentified_header(header: &Header) -> Header {
    let blank = Uid::parse(NO_UID).expect("the constant is a UID");
    let facts = &header.facts;
    Header {
        sop_class: header.sop_class.clone(),
        facts: Facts {
            patient: Patient { age_years: facts.patient.age_years, ..Patient::default() },
            modality: facts.modality.clone(),
            frame_of_reference: facts.frame_of_reference.as_ref().map(one_way),
            rows: facts.rows,
            columns: facts.columns,
            number_of_frames: facts.number_of_frames,
            position: facts.position,
            orientation: facts.orientation,
            pixel_spacing: facts.pixel_spacing,
            slice_thickness: facts.slice_thickness,
            spacing_between_slices: facts.spacing_between_slices,
            gantry_tilt: facts.gantry_tilt,
            photometric_interpretation: facts.photometric_interpretation.clone(),
            samples_per_pixel: facts.samples_per_pixel,
            ..Facts::default()
        },
        ..Header::new(
            SopClassUid::from(blank.clone()),
            SopInstanceUid::from(blank.clone()),
            StudyUid::from(blank.clone()),
            SeriesUid::from(blank.clone()),
            blank,
        )
    }
}

/// A UID under 2.25 (PS3.5 §B.2) that equal UIDs share and that does not lead back.
fn one_way(uid: &Uid) -> Uid {
    let digest = Sha256::digest(uid.as_str().as_bytes());
    let number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    Uid::parse(&format!("2.25.{number}")).expect("2.25. and at most 39 digits are a UID")
}

#[cfg(test)]
mod tests {
    use imaging::{FrameRef, Grid};
    use ndarray::Array3;

    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn volume() -> Volume {
        let mut header = Header::new(
            SopClassUid::from(uid("1.2.840.10008.5.1.4.1.1.4")),
            SopInstanceUid::from(uid("1.2.3.10")),
            StudyUid::from(uid("1.2.3.11")),
            SeriesUid::from(uid("1.2.3.12")),
            uid("1.2.840.10008.1.2.1"),
        );
        header.facts = Facts {
            patient: Patient {
                id: "SECRET".into(),
                name: "SECRET".into(),
                birth_date: "SECRET".into(),
                age_years: Some(61.0),
                ..Patient::default()
            },
            accession: "SECRET".into(),
            study_description: "SECRET".into(),
            series_description: "SECRET".into(),
            institution: "SECRET".into(),
            station_name: "SECRET".into(),
            study_date: "SECRET".into(),
            modality: "MR".into(),
            frame_of_reference: Some(uid("1.2.3.13")),
            ..Facts::default()
        };
        let frame = FrameRef {
            sop_class: header.sop_class.clone(),
            sop_instance: header.sop_instance.clone(),
            frame_number: None,
        };
        let identity =
            [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        Volume {
            grid: Grid::from_affine([1, 1, 1], identity),
            voxels: Array3::zeros((1, 1, 1)),
            frames: vec![frame],
            header,
            split: None,
            holes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn nothing_that_identifies_is_left() {
        let kept = deidentify(volume());
        let text = serde_json::to_string(&kept.get().header).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("1.2.3."), "{text}");
        assert!(kept.get().frames.is_empty());
        assert_eq!(kept.get().header.facts.modality, "MR");
        assert_eq!(kept.get().header.facts.patient.age_years, Some(61.0));
    }

    #[test]
    fn series_of_one_frame_of_reference_still_share_one() {
        let frame = |volume: Volume| deidentify(volume).get().header.facts.frame_of_reference.clone();
        let mut other = volume();
        other.header.facts.frame_of_reference = Some(uid("1.2.3.14"));
        assert_eq!(frame(volume()), frame(volume()));
        assert_ne!(frame(volume()), frame(other));
    }
}
