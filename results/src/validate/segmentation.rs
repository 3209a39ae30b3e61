//! Rules of segmentations: every frame is one segment on one source image, where that image lies.

use std::collections::{HashMap, HashSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{
    Violation,
    attributes::require,
    walk::{Elements, Items},
};
use crate::{
    Source, SourceFrame,
    dataset::{DataSet, first_item, integer, items, text},
};

const REQUIRED: [Tag; 21] = [
    tags::IMAGE_TYPE,
    tags::CONTENT_LABEL,
    tags::MANUFACTURER_MODEL_NAME,
    tags::DEVICE_SERIAL_NUMBER,
    tags::SOFTWARE_VERSIONS,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::SEGMENTATION_TYPE,
    tags::SEGMENT_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::DIMENSION_ORGANIZATION_SEQUENCE,
    tags::DIMENSION_INDEX_SEQUENCE,
    tags::REFERENCED_SERIES_SEQUENCE,
];

const REQUIRED_OF_SEGMENTS: [Tag; 5] = [
    tags::SEGMENT_NUMBER,
    tags::SEGMENT_LABEL,
    tags::SEGMENT_ALGORITHM_TYPE,
    tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE,
    tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE,
];

const REQUIRED_OF_MAPS: [Tag; 20] = [
    tags::IMAGE_TYPE,
    tags::CONTENT_LABEL,
    tags::CONTENT_QUALIFICATION,
    tags::MANUFACTURER_MODEL_NAME,
    tags::DEVICE_SERIAL_NUMBER,
    tags::SOFTWARE_VERSIONS,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PIXEL_PRESENTATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BURNED_IN_ANNOTATION,
    tags::RECOGNIZABLE_VISUAL_FEATURES,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::DIMENSION_ORGANIZATION_SEQUENCE,
    tags::DIMENSION_INDEX_SEQUENCE,
    tags::REFERENCED_SERIES_SEQUENCE,
];

pub(super) fn check(head: &DataSet, bytes: &[u8], source: Option<&Source>, found: &mut Vec<Violation>) {
    require(head, "the segmentation", &REQUIRED, found);
    if found.is_empty() {
        let segments = check_segments(head, found);
        check_frames((head, bytes), source, segments, tags::PIXEL_DATA, found);
    }
}

/// A parametric map has frames as a segmentation has, of no segment.
pub(super) fn check_map(head: &DataSet, bytes: &[u8], source: Option<&Source>, found: &mut Vec<Violation>) {
    require(head, "the parametric map", &REQUIRED_OF_MAPS, found);
    if found.is_empty() {
        check_frames((head, bytes), source, HashSet::new(), tags::FLOAT_PIXEL_DATA, found);
    }
}

fn check_frames(
    (head, bytes): (&DataSet, &[u8]),
    source: Option<&Source>,
    segments: HashSet<u16>,
    pixels: Tag,
    found: &mut Vec<Violation>,
) {
    if let Some(source) = source {
        check_source(head, source, found);
    }
    let stated: u32 = integer(head, tags::NUMBER_OF_FRAMES).unwrap_or(0);
    let Some((groups, rest)) = per_frame_groups(bytes) else {
        found.push(Violation::FrameCount { stated, described: 0 });
        return;
    };
    let frames: Vec<Elements<'_>> = Items(groups).collect();
    if frames.len() != stated as usize || frames.is_empty() {
        found.push(Violation::FrameCount { stated, described: frames.len() });
    }
    Frames { head, segments, source: source.map(Places::of) }.check(&frames, found);
    check_pixels(head, pixels, frames.len(), rest, found);
}

/// Numbers of the described segments; 1..N in order, but for a label map's background.
fn check_segments(head: &DataSet, found: &mut Vec<Violation>) -> HashSet<u16> {
    let is_label_map = text(head, tags::SEGMENTATION_TYPE).as_deref() == Some("LABELMAP");
    let mut numbers = HashSet::new();
    for (item, expected) in items(head, tags::SEGMENT_SEQUENCE).iter().zip(1..=u16::MAX) {
        require(item, "a segment", &REQUIRED_OF_SEGMENTS, found);
        let number = integer(item, tags::SEGMENT_NUMBER).unwrap_or(0);
        if number != expected && !(is_label_map && number == 0) {
            found.push(Violation::SegmentNumber { expected, found: number });
        }
        numbers.insert(number);
    }
    numbers
}

fn check_source(head: &DataSet, source: &Source, found: &mut Vec<Violation>) {
    let differs = [
        (tags::ROWS, integer(head, tags::ROWS) != Some(source.rows())),
        (tags::COLUMNS, integer(head, tags::COLUMNS) != Some(source.columns())),
        (
            tags::FRAME_OF_REFERENCE_UID,
            text(head, tags::FRAME_OF_REFERENCE_UID).as_deref()
                != source.frame_of_reference.as_ref().map(imaging::Uid::as_str),
        ),
    ];
    found.extend(
        differs.into_iter().filter(|(_, differs)| *differs).map(|(tag, _)| Violation::NotOfSource { tag }),
    );
    let listed = listed_instances(head);
    let unlisted = source.used_instances().into_iter().map(|instance| instance.sop_instance.as_str());
    found.extend(
        unlisted.filter(|uid| !listed.contains(*uid)).map(|uid| Violation::NotListed(uid.to_owned())),
    );
}

fn listed_instances(head: &DataSet) -> HashSet<String> {
    items(head, tags::REFERENCED_SERIES_SEQUENCE)
        .iter()
        .flat_map(|series| items(series, tags::REFERENCED_INSTANCE_SEQUENCE))
        .filter_map(|instance| text(instance, tags::REFERENCED_SOP_INSTANCE_UID))
        .collect()
}

/// The source's frames by instance and frame number.
struct Places<'a>(HashMap<(&'a str, u32), &'a SourceFrame>);

impl<'a> Places<'a> {
    fn of(source: &'a Source) -> Self {
        let place = |frame: &'a SourceFrame| {
            let sop_instance = source.instance_of(frame).sop_instance.as_str();
            ((sop_instance, frame.frame_number.unwrap_or(1)), frame)
        };
        Self(source.frames().iter().map(place).collect())
    }
}

struct Frames<'a> {
    head: &'a DataSet,
    segments: HashSet<u16>,
    source: Option<Places<'a>>,
}

impl Frames<'_> {
    fn check(&self, frames: &[Elements<'_>], found: &mut Vec<Violation>) {
        let dimensions = items(self.head, tags::DIMENSION_INDEX_SEQUENCE).len();
        let orientation = first_item(self.head, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)
            .and_then(|shared| first_item(shared, tags::PLANE_ORIENTATION_SEQUENCE))
            .and_then(|plane| text(plane, tags::IMAGE_ORIENTATION_PATIENT));
        let mut seen = HashMap::new();
        for (index, frame) in frames.iter().enumerate() {
            let number = index + 1;
            let segment = frame
                .group(tags::SEGMENT_IDENTIFICATION_SEQUENCE)
                .and_then(|group| group.number_16(tags::REFERENCED_SEGMENT_NUMBER));
            if let Some(segment) = segment.filter(|segment| !self.segments.contains(segment)) {
                found.push(Violation::NoSuchSegment { frame: number, segment });
            }
            let indices = frame
                .group(tags::FRAME_CONTENT_SEQUENCE)
                .and_then(|content| content.get(tags::DIMENSION_INDEX_VALUES))
                .map_or(0, |values| values.len() / 4);
            if indices != dimensions {
                found.push(Violation::Dimensions { frame: number, found: indices, expected: dimensions });
            }
            let Some(image) = source_image(*frame) else {
                found.push(Violation::NoSourceImage { frame: number });
                continue;
            };
            if let Some(first) = seen.insert((segment, image), number) {
                found.push(Violation::RepeatedFrame { first, second: number });
            }
            self.check_place(number, *frame, image, orientation.as_deref(), found);
        }
    }

    fn check_place(
        &self,
        number: usize,
        frame: Elements<'_>,
        (sop_instance, frame_number): (&str, u32),
        shared_orientation: Option<&str>,
        found: &mut Vec<Violation>,
    ) {
        let Some(Places(places)) = &self.source else { return };
        let Some(source) = places.get(&(sop_instance, frame_number)) else {
            let sop_instance = sop_instance.to_owned();
            found.push(Violation::NoSuchSource { frame: number, sop_instance });
            return;
        };
        let position = frame
            .group(tags::PLANE_POSITION_SEQUENCE)
            .and_then(|group| group.text(tags::IMAGE_POSITION_PATIENT));
        let orientation = frame
            .group(tags::PLANE_ORIENTATION_SEQUENCE)
            .and_then(|group| group.text(tags::IMAGE_ORIENTATION_PATIENT))
            .or(shared_orientation);
        let plane = source.plane.as_ref();
        let expected = plane.map(|plane| (plane.position_text.as_str(), plane.orientation_text.as_str()));
        if expected != position.zip(orientation) {
            found.push(Violation::Misplaced { frame: number });
        }
    }
}

/// Instance and frame number that a frame was derived from.
fn source_image(frame: Elements<'_>) -> Option<(&str, u32)> {
    let source = frame.group(tags::DERIVATION_IMAGE_SEQUENCE)?.group(tags::SOURCE_IMAGE_SEQUENCE)?;
    let frame_number = match source.text(tags::REFERENCED_FRAME_NUMBER) {
        Some(number) => number.parse().ok()?,
        None => 1,
    };
    Some((source.text(tags::REFERENCED_SOP_INSTANCE_UID)?, frame_number))
}

/// The value of Per-frame Functional Groups Sequence and what follows it.
fn per_frame_groups(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const HEADER: [u8; 8] = [0x00, 0x52, 0x30, 0x92, b'S', b'Q', 0, 0];
    let at = bytes.windows(HEADER.len()).position(|window| window == HEADER)?;
    let (length, rest) = bytes[at + HEADER.len()..].split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Pixel Data is the last element and has the bits of all frames, to an even number of bytes.
fn check_pixels(head: &DataSet, tag: Tag, frames: usize, rest: &[u8], found: &mut Vec<Violation>) {
    if let Some(fragments) = rest.strip_prefix(&ENCAPSULATED) {
        check_fragments(frames, fragments, found);
        return;
    }
    let of = |tag| integer::<u64>(head, tag).unwrap_or(0);
    let bits = of(tags::ROWS) * of(tags::COLUMNS) * of(tags::BITS_ALLOCATED) * frames as u64;
    let expected = bits.div_ceil(8).next_multiple_of(2);
    let mut elements = Elements(rest);
    let pixels = elements.next().filter(|element| element.tag == tag);
    if pixels.is_none_or(|pixels| pixels.value.len() as u64 != expected) || !elements.0.is_empty() {
        found.push(Violation::PixelLength { expected });
    }
}

/// Pixel Data (7FE0,0010), OB, of undefined length (PS3.5 §A.4).
const ENCAPSULATED: [u8; 12] = [0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];

/// The offset table, one fragment for each frame, the delimiter, and nothing behind it.
fn check_fragments(frames: usize, bytes: &[u8], violations: &mut Vec<Violation>) {
    const DELIMITER: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
    let mut items = Items(bytes);
    let is_table_whole = items.next().is_some_and(|table| table.0.len() == 4 * frames);
    let mut rest = items.0;
    let mut found = 0;
    while items.next().is_some() {
        found += 1;
        rest = items.0;
    }
    if found != frames || !is_table_whole || rest != DELIMITER {
        violations.push(Violation::Fragments { expected: frames, found });
    }
}
