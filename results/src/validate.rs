//! Rules that every object must keep before anything is sent.
//!
//! The rules read the finished bytes, not what they were made from, so that a fault of the
//! writer is found as well as one of its input. An object that breaks one is never sent. The rules
//! are those that archives and viewers were seen to depend on; conformance to the whole of PS3.3
//! is what the tests ask `dciodvfy` about.

mod attributes;
mod report;
mod segmentation;
mod walk;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::OpenFileOptions;

use crate::{Source, dataset::DataSet, dataset::text};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the bytes are no DICOM file that can be read back")]
    Unreadable,
    #[error("SOP class {0} is none that is written here")]
    SopClass(String),
    #[error("{tag} of {within} is missing or empty")]
    Missing { within: &'static str, tag: Tag },
    #[error("{tag} of {within} is missing; it may be empty")]
    Absent { within: &'static str, tag: Tag },
    #[error("{tag} is not that of the source")]
    NotOfSource { tag: Tag },
    #[error("{0} is no UID")]
    Uid(Tag),
    #[error("code {value} is of the retired scheme {scheme}")]
    RetiredScheme { value: String, scheme: String },
    #[error("Number of Frames is {stated}, {described} frames are described")]
    FrameCount { stated: u32, described: usize },
    #[error("segment {found} is at position {expected} of the Segment Sequence")]
    SegmentNumber { expected: u16, found: u16 },
    #[error("frame {frame} belongs to segment {segment}, which is not described")]
    NoSuchSegment { frame: usize, segment: u16 },
    #[error("frame {frame} does not name its source image")]
    NoSourceImage { frame: usize },
    #[error("frame {frame} was derived from {sop_instance}, which has no such frame or is not of the source")]
    NoSuchSource { frame: usize, sop_instance: String },
    #[error("{0} is referred to and not listed")]
    NotListed(String),
    #[error("frame {frame} does not lie where its source image lies")]
    Misplaced { frame: usize },
    #[error("frames {first} and {second} are the same segment on the same source image")]
    RepeatedFrame { first: usize, second: usize },
    #[error("frame {frame} has {found} dimension indices, {expected} dimensions are declared")]
    Dimensions { frame: usize, found: usize, expected: usize },
    #[error("Pixel Data has not the {expected} bytes that the frames need")]
    PixelLength { expected: u64 },
    #[error("Pixel Data has {found} fragments, {expected} frames are described")]
    Fragments { expected: usize, found: usize },
    #[error("a content item has no {0}")]
    ContentItem(&'static str),
    #[error("a measurement group has no tracking identifiers")]
    Untracked,
    #[error("no measurement of a group has a point on an image: viewers stop there")]
    Unplaced,
    #[error("a point refers to frame {frame} of {sop_instance}, which the source does not have")]
    PointOnNoFrame { sop_instance: String, frame: u32 },
    #[error("Verification Flag is {flag}, and verifying observers are {observers}")]
    Verification { flag: String, observers: usize },
}

/// Checks one finished object; `source` is the series that it was made from.
///
/// # Errors
/// The rules that are broken.
pub fn validate(bytes: &[u8], source: Option<&Source>) -> Result<(), Vec<Violation>> {
    let head = read_head(bytes).ok_or_else(|| vec![Violation::Unreadable])?;
    let mut found = Vec::new();
    attributes::check(&head, source, &mut found);
    match text(&head, tags::SOP_CLASS_UID).unwrap_or_default().as_str() {
        uids::SEGMENTATION_STORAGE | uids::LABEL_MAP_SEGMENTATION_STORAGE => {
            segmentation::check(&head, bytes, source, &mut found);
        }
        uids::PARAMETRIC_MAP_STORAGE => segmentation::check_map(&head, bytes, source, &mut found),
        uids::COMPREHENSIVE3_DSR_STORAGE => report::check(&head, source, &mut found),
        uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE => report::check_note(&head, &mut found),
        uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE
        | uids::SECONDARY_CAPTURE_IMAGE_STORAGE => {}
        other => found.push(Violation::SopClass(other.to_owned())),
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Everything before the per-frame groups, which are walked over without being built.
fn read_head(bytes: &[u8]) -> Option<DataSet> {
    OpenFileOptions::new()
        .read_until(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .from_reader(bytes)
        .ok()
        .map(dicom_object::FileDicomObject::into_inner)
}
