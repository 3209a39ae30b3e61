//! Who made a result, when, for which use, and in which form a destination wants it.

use time::OffsetDateTime;

use crate::Identity;

/// What a demonstration model's objects say in their descriptions, labels and text.
pub const DEMONSTRATION_NOTICE: &str = "DEMONSTRATION, NOT FOR CLINICAL USE";

/// What a job gives to every object that it writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Production {
    pub identity: Identity,
    pub algorithm: Algorithm,
    /// The job's time, with the offset in which dates are written. Never the time of encoding.
    pub written_at: OffsetDateTime,
    pub intended_use: IntendedUse,
    pub profile: Profile,
}

/// The model, as Contributing Equipment and TID 4019 name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithm {
    /// Id of the model package, for example `mr-brain-seg`.
    pub id: String,
    /// A name for people, for example `Brain structures on T1`.
    pub name: String,
    pub version: String,
    pub manufacturer: String,
    /// Digest of the package; a retrained model has another one.
    pub digest: String,
    /// Effective parameters, for example `overlap=0.5`.
    pub parameters: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntendedUse {
    /// As the model card says.
    Stated,
    /// Everything that is written says that it is a demonstration.
    Demonstration,
}

/// In which form one destination wants the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Part of each UID: two profiles of one job are two sets of objects.
    pub name: String,
    pub segmentation: SegmentationType,
    /// Of label maps; other segmentations are never compressed.
    pub compression: Compression,
    pub packing: Packing,
    pub empty_frames: EmptyFrames,
    /// Of label maps; other segmentations have none.
    pub background: Background,
}

impl Default for Profile {
    /// What every viewer that was tried shows: one BINARY SEG without empty frames.
    fn default() -> Self {
        Self {
            name: "default".into(),
            segmentation: SegmentationType::Binary,
            compression: Compression::None,
            packing: Packing::OneFile,
            empty_frames: EmptyFrames::LeaveOut,
            background: Background::Implied,
        }
    }
}

/// Segmentation Type (0062,0001).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentationType {
    /// One bit for each voxel and segment: the widest support.
    Binary,
    /// One number for each voxel (Supplement 243).
    LabelMap,
    /// The label map as 0 and the largest value: for readers of FRACTIONAL only.
    Fractional,
}

/// How the pixels of a label map are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Explicit VR Little Endian, which everybody reads.
    None,
    /// RLE Lossless: a label map of a whole body in a few percent of the bytes.
    Rle,
}

/// Whether segments share a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    OneFile,
    FilePerSegment,
}

/// What becomes of frames without a voxel of their segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFrames {
    LeaveOut,
    Keep,
}

/// How a label map says that the pixels with value 0 belong to no segment.
///
/// PS3.3 §C.8.20.2.3.3 wants an item for every pixel value that occurs, 0 as well. Readers were
/// built before that: they count from one, and list "Background" among the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// By Pixel Padding Value (0028,0120) alone: segments are numbered from one without a gap, as in
    /// every other segmentation.
    Implied,
    /// By an item with number 0 as well, to the letter of the standard. It stands last, because
    /// viewers colour segments by their position.
    Described,
}
