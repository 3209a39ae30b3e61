//! What one instance says about itself, short of its pixels.
//!
//! A [`Header`] is small enough to keep in a ledger row and holds what routing, readiness,
//! fitness and recognition of own results ask for. Of a multi-frame instance it holds the
//! facts of the first frame and the number of frames. Only the five UIDs are required;
//! everything else may be missing. It is not enough to write an object: results copy from
//! the full data set.

use std::{fmt, path::Path};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::{
    attribute,
    charset::Charset,
    frames,
    head::{self, Head, HeadError},
    patient::Patient,
    sparse::sparse,
    uid::{BadUid, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, Uid},
};

/// Why an instance has no usable header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the head of the instance cannot be read")]
    Head(#[from] HeadError),
    #[error("{name} {tag} is missing")]
    Missing { name: &'static str, tag: Tag },
    #[error("{name} {tag} is no UID")]
    BadUid {
        name: &'static str,
        tag: Tag,
        #[source]
        source: BadUid,
    },
}

/// The facts of one instance. `Debug` shows UIDs and geometry, never text about the patient.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub sop_class: SopClassUid,
    pub sop_instance: SopInstanceUid,
    pub study: StudyUid,
    pub series: SeriesUid,
    pub transfer_syntax: Uid,
    #[serde(flatten)]
    pub facts: Facts,
}

sparse! {
/// Everything of a header that may be missing: empty text, no number.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub patient: Patient,

    pub accession: String,
    pub study_id: String,
    pub study_date: String,
    pub study_time: String,
    pub study_description: String,
    pub referring_physician: String,

    pub modality: String,
    pub series_description: String,
    pub series_number: Option<i32>,
    pub series_date: String,
    pub series_time: String,
    pub body_part: String,
    pub laterality: String,
    pub protocol_name: String,
    pub sequence_name: String,
    pub manufacturer: String,
    pub manufacturer_model: String,
    pub software_versions: String,
    /// Manufacturers in the Contributing Equipment Sequence (0018,A001).
    pub contributing_manufacturers: Vec<String>,
    pub station_name: String,
    pub institution: String,
    /// Image Type (0008,0008); of an enhanced instance, Frame Type of the first frame.
    pub image_type: Vec<String>,
    pub contrast_agent: String,

    pub instance_number: Option<i32>,
    pub acquisition_number: Option<i32>,
    pub acquisition_time: String,
    pub content_time: String,
    pub echo_time: Option<f64>,
    pub echo_number: Option<i32>,
    pub repetition_time: Option<f64>,
    pub inversion_time: Option<f64>,
    pub flip_angle: Option<f64>,
    pub magnetic_field_strength: Option<f64>,
    pub diffusion_b_value: Option<f64>,
    pub temporal_position: Option<i32>,
    pub trigger_time: Option<f64>,
    pub kvp: Option<f64>,
    pub convolution_kernel: String,

    pub frame_of_reference: Option<Uid>,
    pub rows: Option<u32>,
    pub columns: Option<u32>,
    /// 1 for a classic image, 0 for what is no image.
    pub number_of_frames: u32,
    /// Image Position (Patient) (0020,0032), mm, LPS.
    pub position: Option<[f64; 3]>,
    /// Image Orientation (Patient) (0020,0037): direction of a row, then of a column.
    pub orientation: Option<[f64; 6]>,
    /// Pixel Spacing (0028,0030), or else Imager Pixel Spacing (0018,1164): between rows, then between
    /// columns, mm.
    pub pixel_spacing: Option<[f64; 2]>,
    pub slice_thickness: Option<f64>,
    pub spacing_between_slices: Option<f64>,
    /// Gantry/Detector Tilt (0018,1120), degrees.
    pub gantry_tilt: Option<f64>,

    pub photometric_interpretation: String,
    pub samples_per_pixel: Option<u16>,
    pub bits_allocated: Option<u16>,
    pub bits_stored: Option<u16>,

    /// Number of Series Related Instances (0020,1209), where a sender states it.
    pub images_in_series: Option<u32>,
    /// Images in Acquisition (0020,1002).
    pub images_in_acquisition: Option<u32>,
}
}

impl Header {
    /// A header of which only the UIDs are known; the facts may be filled in.
    pub fn new(
        sop_class: SopClassUid,
        sop_instance: SopInstanceUid,
        study: StudyUid,
        series: SeriesUid,
        transfer_syntax: Uid,
    ) -> Self {
        Self { sop_class, sop_instance, study, series, transfer_syntax, facts: Facts::default() }
    }

    /// The header of a parsed data set, which may end before the pixels.
    ///
    /// # Errors
    /// When one of the UIDs is missing or malformed.
    pub fn from_dataset(ds: &InMemDicomObject, transfer_syntax: &str) -> Result<Self, HeaderError> {
        let transfer_syntax = Uid::parse(transfer_syntax).map_err(|source| HeaderError::BadUid {
            name: "Transfer Syntax UID",
            tag: tags::TRANSFER_SYNTAX_UID,
            source,
        })?;
        Ok(Self {
            sop_class: uid(ds, tags::SOP_CLASS_UID, "SOP Class UID")?.into(),
            sop_instance: uid(ds, tags::SOP_INSTANCE_UID, "SOP Instance UID")?.into(),
            study: uid(ds, tags::STUDY_INSTANCE_UID, "Study Instance UID")?.into(),
            series: uid(ds, tags::SERIES_INSTANCE_UID, "Series Instance UID")?.into(),
            transfer_syntax,
            facts: Facts::from_dataset(ds),
        })
    }

    /// The header of the first bytes of a data set, cut off anywhere: what is whole counts.
    ///
    /// # Errors
    /// When what is there cannot be parsed, or a UID is not (yet) among it.
    pub fn from_front(bytes: &[u8], transfer_syntax: &str) -> Result<Self, HeaderError> {
        let syntax = Uid::parse(transfer_syntax).map_err(|_| HeadError::BadTransferSyntax)?;
        let ds = head::parse_front(bytes, &syntax)?;
        Self::from_dataset(&ds, transfer_syntax)
    }

    /// The header of a file; the pixels are not read.
    ///
    /// # Errors
    /// When it is no DICOM file, or its head is damaged before the UIDs.
    pub fn read_file(path: &Path) -> Result<Self, HeaderError> {
        let head = Head::open(path)?;
        Self::from_dataset(&head.dataset, head.transfer_syntax.as_str())
    }

    /// Whether it has rows and columns.
    pub fn is_image(&self) -> bool {
        self.facts.rows.is_some() && self.facts.columns.is_some()
    }

    /// Whether it does not say where in the patient it lies.
    pub fn is_unplaced(&self) -> bool {
        self.facts.position.is_none() || self.facts.orientation.is_none()
    }
}

impl std::ops::Deref for Header {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl std::ops::DerefMut for Header {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Header")
            .field("sop_class", &self.sop_class)
            .field("sop_instance", &self.sop_instance)
            .field("study", &self.study)
            .field("series", &self.series)
            .field("facts", &self.facts)
            .finish()
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Facts")
            .field("modality", &self.modality)
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .field("number_of_frames", &self.number_of_frames)
            .field("position", &self.position)
            .field("orientation", &self.orientation)
            .finish_non_exhaustive()
    }
}

impl Facts {
    fn from_dataset(ds: &InMemDicomObject) -> Self {
        let charset = Charset::of(ds);
        let mut facts = Self::default();
        facts.read_study(ds, &charset);
        facts.read_series(ds, &charset);
        facts.read_acquisition(ds);
        facts.read_image(ds);
        facts.read_first_frame(ds);
        facts
    }

    fn read_study(&mut self, ds: &InMemDicomObject, charset: &Charset) {
        let text = |tag| charset.text(ds, tag).unwrap_or_default();
        self.patient = Patient::from_dataset(ds, charset);
        self.accession = text(tags::ACCESSION_NUMBER);
        self.study_id = text(tags::STUDY_ID);
        self.study_date = attribute::string(ds, tags::STUDY_DATE);
        self.study_time = attribute::string(ds, tags::STUDY_TIME);
        self.study_description = text(tags::STUDY_DESCRIPTION);
        self.referring_physician = text(tags::REFERRING_PHYSICIAN_NAME);
    }

    fn read_series(&mut self, ds: &InMemDicomObject, charset: &Charset) {
        let text = |tag| charset.text(ds, tag).unwrap_or_default();
        self.modality = attribute::string(ds, tags::MODALITY);
        self.series_description = text(tags::SERIES_DESCRIPTION);
        self.series_number = attribute::integer(ds, tags::SERIES_NUMBER);
        self.series_date = attribute::string(ds, tags::SERIES_DATE);
        self.series_time = attribute::string(ds, tags::SERIES_TIME);
        self.body_part = attribute::string(ds, tags::BODY_PART_EXAMINED);
        self.laterality = [tags::IMAGE_LATERALITY, tags::LATERALITY]
            .into_iter()
            .map(|tag| attribute::string(ds, tag))
            .find(|side| !side.is_empty())
            .unwrap_or_default();
        self.protocol_name = text(tags::PROTOCOL_NAME);
        self.sequence_name = text(tags::SEQUENCE_NAME);
        self.manufacturer = text(tags::MANUFACTURER);
        self.manufacturer_model = text(tags::MANUFACTURER_MODEL_NAME);
        self.software_versions = text(tags::SOFTWARE_VERSIONS);
        self.contributing_manufacturers = attribute::items(ds, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE)
            .iter()
            .filter_map(|item| charset.of_item(item).text(item, tags::MANUFACTURER))
            .collect();
        self.station_name = text(tags::STATION_NAME);
        self.institution = text(tags::INSTITUTION_NAME);
        self.contrast_agent = text(tags::CONTRAST_BOLUS_AGENT);
        self.images_in_series = attribute::integer(ds, tags::NUMBER_OF_SERIES_RELATED_INSTANCES);
        self.images_in_acquisition = attribute::integer(ds, tags::IMAGES_IN_ACQUISITION);
    }

    fn read_acquisition(&mut self, ds: &InMemDicomObject) {
        self.image_type = attribute::strings(ds, tags::IMAGE_TYPE);
        self.instance_number = attribute::integer(ds, tags::INSTANCE_NUMBER);
        self.acquisition_number = attribute::integer(ds, tags::ACQUISITION_NUMBER);
        self.acquisition_time = attribute::string(ds, tags::ACQUISITION_TIME);
        self.content_time = attribute::string(ds, tags::CONTENT_TIME);
        self.echo_time = attribute::float(ds, tags::ECHO_TIME);
        self.echo_number = attribute::integer(ds, tags::ECHO_NUMBERS);
        self.repetition_time = attribute::float(ds, tags::REPETITION_TIME);
        self.inversion_time = attribute::float(ds, tags::INVERSION_TIME);
        self.flip_angle = attribute::float(ds, tags::FLIP_ANGLE);
        self.magnetic_field_strength = attribute::float(ds, tags::MAGNETIC_FIELD_STRENGTH);
        self.diffusion_b_value = attribute::float(ds, tags::DIFFUSION_B_VALUE);
        self.temporal_position = attribute::integer(ds, tags::TEMPORAL_POSITION_IDENTIFIER);
        self.trigger_time = attribute::float(ds, tags::TRIGGER_TIME);
        self.kvp = attribute::float(ds, tags::KVP);
        self.convolution_kernel = attribute::strings(ds, tags::CONVOLUTION_KERNEL).join("\\");
    }

    fn read_image(&mut self, ds: &InMemDicomObject) {
        self.frame_of_reference = Uid::parse(&attribute::string(ds, tags::FRAME_OF_REFERENCE_UID)).ok();
        self.rows = attribute::integer(ds, tags::ROWS).filter(|rows| *rows > 0);
        self.columns = attribute::integer(ds, tags::COLUMNS).filter(|columns| *columns > 0);
        let frames = attribute::integer(ds, tags::NUMBER_OF_FRAMES).filter(|frames| *frames > 0);
        self.number_of_frames = if self.rows.is_some() { frames.unwrap_or(1) } else { 0 };
        self.position = attribute::float_array(ds, tags::IMAGE_POSITION_PATIENT);
        self.orientation = attribute::float_array(ds, tags::IMAGE_ORIENTATION_PATIENT);
        self.pixel_spacing = attribute::float_array(ds, tags::PIXEL_SPACING)
            .or_else(|| attribute::float_array(ds, tags::IMAGER_PIXEL_SPACING));
        self.slice_thickness = attribute::float(ds, tags::SLICE_THICKNESS);
        self.spacing_between_slices = attribute::float(ds, tags::SPACING_BETWEEN_SLICES);
        self.gantry_tilt = attribute::float(ds, tags::GANTRY_DETECTOR_TILT);
        self.photometric_interpretation = attribute::string(ds, tags::PHOTOMETRIC_INTERPRETATION);
        self.samples_per_pixel = attribute::integer(ds, tags::SAMPLES_PER_PIXEL);
        self.bits_allocated = attribute::integer(ds, tags::BITS_ALLOCATED);
        self.bits_stored = attribute::integer(ds, tags::BITS_STORED);
    }

    /// Enhanced instances say per frame what classic ones say at the top.
    fn read_first_frame(&mut self, ds: &InMemDicomObject) {
        let Some(frame) = frames::first(ds) else { return };
        self.position = frame.position.or(self.position);
        self.orientation = frame.orientation.or(self.orientation);
        self.pixel_spacing = frame.pixel_spacing.or(self.pixel_spacing);
        self.slice_thickness = frame.slice_thickness.or(self.slice_thickness);
        self.spacing_between_slices = frame.spacing_between_slices.or(self.spacing_between_slices);
        self.echo_time = frame.echo_time.or(self.echo_time);
        self.diffusion_b_value = frame.diffusion_b_value.or(self.diffusion_b_value);
        self.temporal_position = frame.temporal_position.or(self.temporal_position);
        if self.body_part.is_empty() {
            self.body_part = frame.body_part;
        }
        if !frame.frame_type.is_empty() {
            self.image_type = frame.frame_type;
        }
    }
}

fn uid(ds: &InMemDicomObject, tag: Tag, name: &'static str) -> Result<Uid, HeaderError> {
    match attribute::string(ds, tag) {
        text if text.is_empty() => Err(HeaderError::Missing { name, tag }),
        text => Uid::parse(&text).map_err(|source| HeaderError::BadUid { name, tag, source }),
    }
}
