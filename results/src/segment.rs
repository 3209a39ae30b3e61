//! What a label of a model means, as a segment of a SEG describes it (PS3.3 §C.8.20.4).

use imaging::Code;

/// One label: its value in the label map and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The value of its voxels in the label map; 0 is the background.
    pub value: u16,
    /// What the viewer's list shows.
    pub label: String,
    pub description: Option<String>,
    /// Segmented Property Category Code, for example `(123037004, SCT, "Anatomical Structure")`.
    pub category: Code,
    /// Segmented Property Type Code, for example `(10200004, SCT, "Liver")`.
    pub property_type: Code,
    /// Laterality and the like of the type.
    pub type_modifier: Option<Code>,
    pub region: Option<Code>,
    pub region_modifier: Option<Code>,
    /// Red, green, blue; written as CIELab.
    pub color: Option<[u8; 3]>,
    pub algorithm_type: AlgorithmType,
    /// Segment Algorithm Name (0062,0009); the production's algorithm when there is none.
    pub algorithm_name: Option<String>,
    /// Tracking id and UID; derived from the job when there are none.
    pub tracking: Option<(String, imaging::Uid)>,
}

/// Segment Algorithm Type (0062,0008).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlgorithmType {
    Automatic,
    SemiAutomatic,
    Manual,
}

impl AlgorithmType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::SemiAutomatic => "SEMIAUTOMATIC",
            Self::Manual => "MANUAL",
        }
    }
}

impl Segment {
    /// A label of a model: automatic, no modifiers, colour and tracking left to the writer.
    pub fn new(value: u16, label: &str, category: Code, property_type: Code) -> Self {
        Self {
            value,
            label: label.into(),
            description: None,
            category,
            property_type,
            type_modifier: None,
            region: None,
            region_modifier: None,
            color: None,
            algorithm_type: AlgorithmType::Automatic,
            algorithm_name: None,
            tracking: None,
        }
    }
}
