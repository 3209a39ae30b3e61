//! The coded concepts that templates and modules of the standard ask for (PS3.16).

use imaging::Code;

/// A concept known at compile time: value, scheme, meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concept(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

impl Concept {
    pub(crate) fn code(self) -> Code {
        Code::new(self.0, self.1, self.2)
    }

    pub(crate) fn is(self, code: &Code) -> bool {
        code.value == self.0 && code.scheme == self.1
    }
}

/// Derivation of a segmentation (CID 7203).
pub(crate) const SEGMENTATION: Concept = Concept("113076", "DCM", "Segmentation");
/// Derivation of a map of what a model computed (CID 7203).
pub(crate) const UNSPECIFIED_CALCULATION: Concept =
    Concept("113097", "DCM", "Unspecified method of calculation");
/// Name of what a real world value is (CID 7180).
pub(crate) const QUANTITY: Concept = Concept("246205007", "SCT", "Quantity");
/// Purpose of a source image (CID 7202).
pub(crate) const SOURCE_IMAGE: Concept =
    Concept("121322", "DCM", "Source image for image processing operation");
/// Purpose of contributing equipment (CID 7005).
pub(crate) const PROCESSING_EQUIPMENT: Concept = Concept("109102", "DCM", "Processing Equipment");
/// Algorithm family (CID 7162).
pub(crate) const ARTIFICIAL_INTELLIGENCE: Concept = Concept("123110", "DCM", "Artificial Intelligence");
/// The pixels that belong to no segment of a label map (CID 7151).
pub(crate) const BACKGROUND: Concept = Concept("125040", "DCM", "Background");

// Structured reports: TID 1500, 1204, 1002, 1004, 1600, 1411, 1501, 4019, 300.
pub(crate) const IMAGING_MEASUREMENT_REPORT: Concept = Concept("126000", "DCM", "Imaging Measurement Report");
pub(crate) const LANGUAGE: Concept = Concept("121049", "DCM", "Language of Content Item and Descendants");
pub(crate) const ENGLISH: Concept = Concept("en", "RFC5646", "English");
pub(crate) const OBSERVER_TYPE: Concept = Concept("121005", "DCM", "Observer Type");
pub(crate) const DEVICE: Concept = Concept("121007", "DCM", "Device");
pub(crate) const PERSON: Concept = Concept("121006", "DCM", "Person");
pub(crate) const DEVICE_OBSERVER_UID: Concept = Concept("121012", "DCM", "Device Observer UID");
pub(crate) const DEVICE_OBSERVER_NAME: Concept = Concept("121013", "DCM", "Device Observer Name");
pub(crate) const DEVICE_OBSERVER_MANUFACTURER: Concept =
    Concept("121014", "DCM", "Device Observer Manufacturer");
pub(crate) const DEVICE_OBSERVER_MODEL: Concept = Concept("121015", "DCM", "Device Observer Model Name");
pub(crate) const DEVICE_OBSERVER_SERIAL: Concept = Concept("121016", "DCM", "Device Observer Serial Number");
pub(crate) const PERSON_OBSERVER_NAME: Concept = Concept("121008", "DCM", "Person Observer Name");
pub(crate) const PERSON_OBSERVER_ORGANIZATION: Concept =
    Concept("121009", "DCM", "Person Observer's Organization Name");
pub(crate) const PROCEDURE_REPORTED: Concept = Concept("121058", "DCM", "Procedure reported");
pub(crate) const IMAGING_PROCEDURE: Concept = Concept("363679005", "SCT", "Imaging procedure");
pub(crate) const COMPUTED_TOMOGRAPHY: Concept = Concept("77477000", "SCT", "Computed tomography");
pub(crate) const MAGNETIC_RESONANCE: Concept = Concept("113091000", "SCT", "Magnetic resonance imaging");
pub(crate) const IMAGE_LIBRARY: Concept = Concept("111028", "DCM", "Image Library");
pub(crate) const IMAGE_LIBRARY_GROUP: Concept = Concept("126200", "DCM", "Image Library Group");
pub(crate) const MODALITY: Concept = Concept("121139", "DCM", "Modality");
pub(crate) const STUDY_DATE: Concept = Concept("111060", "DCM", "Study Date");
pub(crate) const FRAME_OF_REFERENCE_UID: Concept = Concept("112227", "DCM", "Frame of Reference UID");
pub(crate) const PIXEL_DATA_ROWS: Concept = Concept("110910", "DCM", "Pixel Data Rows");
pub(crate) const PIXEL_DATA_COLUMNS: Concept = Concept("110911", "DCM", "Pixel Data Columns");
pub(crate) const HORIZONTAL_PIXEL_SPACING: Concept = Concept("111026", "DCM", "Horizontal Pixel Spacing");
pub(crate) const VERTICAL_PIXEL_SPACING: Concept = Concept("111066", "DCM", "Vertical Pixel Spacing");
pub(crate) const SPACING_BETWEEN_SLICES: Concept = Concept("112226", "DCM", "Spacing between slices");
pub(crate) const IMAGING_MEASUREMENTS: Concept = Concept("126010", "DCM", "Imaging Measurements");
pub(crate) const QUALITATIVE_EVALUATIONS: Concept = Concept("C0034375", "UMLS", "Qualitative Evaluations");
pub(crate) const MEASUREMENT_GROUP: Concept = Concept("125007", "DCM", "Measurement Group");
pub(crate) const TRACKING_IDENTIFIER: Concept = Concept("112039", "DCM", "Tracking Identifier");
pub(crate) const TRACKING_UID: Concept = Concept("112040", "DCM", "Tracking Unique Identifier");
pub(crate) const FINDING: Concept = Concept("121071", "DCM", "Finding");
pub(crate) const FINDING_CATEGORY: Concept = Concept("276214006", "SCT", "Finding category");
pub(crate) const FINDING_SITE: Concept = Concept("363698007", "SCT", "Finding Site");
pub(crate) const LATERALITY: Concept = Concept("272741003", "SCT", "Laterality");
pub(crate) const TOPOGRAPHICAL_MODIFIER: Concept = Concept("106233006", "SCT", "Topographical modifier");
pub(crate) const REFERENCED_SEGMENT: Concept = Concept("121191", "DCM", "Referenced Segment");
pub(crate) const SOURCE_SERIES: Concept = Concept("121232", "DCM", "Source series for segmentation");
pub(crate) const SOURCE: Concept = Concept("260753009", "SCT", "Source");
pub(crate) const SOURCE_OF_MEASUREMENT: Concept = Concept("121112", "DCM", "Source of Measurement");
pub(crate) const ILLUSTRATION: Concept = Concept("121200", "DCM", "Illustration of ROI");
pub(crate) const ALGORITHM_FAMILY: Concept = Concept("111000", "DCM", "Algorithm Family");
pub(crate) const ALGORITHM_NAME: Concept = Concept("111001", "DCM", "Algorithm Name");
pub(crate) const ALGORITHM_PARAMETERS: Concept = Concept("111002", "DCM", "Algorithm Parameters");
pub(crate) const ALGORITHM_VERSION: Concept = Concept("111003", "DCM", "Algorithm Version");
pub(crate) const ALGORITHM_MANUFACTURER: Concept = Concept("122405", "DCM", "Algorithm Manufacturer");
pub(crate) const COMMENT: Concept = Concept("121106", "DCM", "Comment");
/// CID 240.
pub(crate) const ABSENT: Concept = Concept("272519000", "SCT", "Absent");
pub(crate) const PROCESSING_SUMMARY: Concept =
    Concept("111017", "DCM", "CAD Processing and Findings Summary");
pub(crate) const NONE_SUCCEEDED: Concept =
    Concept("111245", "DCM", "No algorithms succeeded; without findings");

// Measurements.
pub(crate) const VOLUME: Concept = Concept("118565006", "SCT", "Volume");
pub(crate) const LONG_AXIS: Concept = Concept("103339001", "SCT", "Long Axis");
pub(crate) const SHORT_AXIS: Concept = Concept("103340004", "SCT", "Short Axis");
pub(crate) const MEAN: Concept = Concept("373098007", "SCT", "Mean");
pub(crate) const STANDARD_DEVIATION: Concept = Concept("386136009", "SCT", "Standard Deviation");
pub(crate) const MINIMUM: Concept = Concept("255605001", "SCT", "Minimum");
pub(crate) const MAXIMUM: Concept = Concept("56851009", "SCT", "Maximum");
pub(crate) const MEAN_ATTENUATION: Concept = Concept("112181", "DCM", "Mean Attenuation Coefficient");
pub(crate) const STANDARD_DEVIATION_ATTENUATION: Concept =
    Concept("112183", "DCM", "Standard Deviation of Attenuation Coefficient");
pub(crate) const MINIMUM_ATTENUATION: Concept = Concept("112179", "DCM", "Minimum Attenuation Coefficient");
pub(crate) const MAXIMUM_ATTENUATION: Concept = Concept("112180", "DCM", "Maximum Attenuation Coefficient");
pub(crate) const PROBABILITY: Concept = Concept("122157", "DCM", "Probability");

// Units.
pub(crate) const MILLILITER: Concept = Concept("ml", "UCUM", "ml");
pub(crate) const MILLIMETER: Concept = Concept("mm", "UCUM", "mm");
pub(crate) const PERCENT: Concept = Concept("%", "UCUM", "Percent");
pub(crate) const NO_UNITS: Concept = Concept("1", "UCUM", "no units");
pub(crate) const PIXELS: Concept = Concept("{pixels}", "UCUM", "pixels");
pub(crate) const HOUNSFIELD: Concept = Concept("[hnsf'U]", "UCUM", "Hounsfield unit");
pub(crate) const ARBITRARY: Concept = Concept("[arb'U]", "UCUM", "arbitrary unit");

// After a review.
pub(crate) const REJECTED_FOR_QUALITY: Concept = Concept("113001", "DCM", "Rejected for Quality Reasons");
pub(crate) const REJECTED_FOR_SAFETY: Concept =
    Concept("113037", "DCM", "Rejected for Patient Safety Reasons");
pub(crate) const KEY_OBJECT_DESCRIPTION: Concept = Concept("113012", "DCM", "Key Object Description");
