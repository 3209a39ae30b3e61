//! Per-frame Functional Groups (PS3.3 §C.7.6.16), written byte by byte.
//!
//! A segmentation has thousands of frames with a dozen elements each: they are too many to
//! be built as objects first. Explicit VR Little Endian, items and sequences with their lengths.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::{
    frames::{Content, Frame},
    image,
};
use crate::{
    Source, SourceFrame,
    concepts::{Concept, SOURCE_IMAGE},
};

/// What the groups of all frames of an object are written from.
#[derive(Clone, Copy)]
pub(crate) struct Groups<'a> {
    pub(crate) source: &'a Source,
    pub(crate) content: &'a Content,
    /// Why a frame was derived from its source frame (CID 7203).
    pub(crate) derivation: Concept,
    /// Whether a frame is that of one segment, which is then the first dimension.
    pub(crate) by_segment: bool,
}

impl Groups<'_> {
    /// Appends Per-frame Functional Groups Sequence (5200,9230).
    pub(crate) fn append(&self, bytes: &mut Vec<u8>) {
        let shared = image::Shared::of(self.source);
        let mut writer = Writer { bytes };
        writer.sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, |writer| {
            for frame in &self.content.frames {
                writer.item(|writer| self.frame(writer, *frame, shared));
            }
        });
    }

    fn frame(&self, writer: &mut Writer<'_>, frame: Frame, shared: image::Shared) {
        let source = &self.source.frames()[frame.slice];
        self.derivation_image(writer, source);
        self.frame_content(writer, frame);
        if let Some(plane) = &source.plane {
            writer.group(tags::PLANE_POSITION_SEQUENCE, |writer| {
                writer.text(tags::IMAGE_POSITION_PATIENT, VR::DS, &plane.position_text);
            });
            if !shared.orientation {
                writer.group(tags::PLANE_ORIENTATION_SEQUENCE, |writer| {
                    writer.text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &plane.orientation_text);
                });
            }
        }
        if !shared.measures {
            pixel_measures(writer, source);
        }
        if self.by_segment {
            writer.group(tags::SEGMENT_IDENTIFICATION_SEQUENCE, |writer| {
                writer.number_16(tags::REFERENCED_SEGMENT_NUMBER, segment_number(frame));
            });
        }
    }

    /// §C.7.6.16.2.6: without it viewers put frames on wrong slices.
    fn derivation_image(&self, writer: &mut Writer<'_>, frame: &SourceFrame) {
        let instance = self.source.instance_of(frame);
        writer.group(tags::DERIVATION_IMAGE_SEQUENCE, |writer| {
            writer.group(tags::SOURCE_IMAGE_SEQUENCE, |writer| {
                writer.text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, instance.sop_class.as_str());
                writer.text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance.sop_instance.as_str());
                if let Some(number) = frame.frame_number {
                    writer.text(tags::REFERENCED_FRAME_NUMBER, VR::IS, &number.to_string());
                }
                writer.text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES");
                writer.code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, SOURCE_IMAGE);
            });
            writer.code(tags::DERIVATION_CODE_SEQUENCE, self.derivation);
        });
    }

    fn frame_content(&self, writer: &mut Writer<'_>, frame: Frame) {
        let position = self.content.position_index[frame.slice];
        writer.group(tags::FRAME_CONTENT_SEQUENCE, |writer| {
            if !image::has_planes(self.source) {
                writer.text(tags::STACK_ID, VR::SH, "1");
                writer.number_32s(tags::IN_STACK_POSITION_NUMBER, &[position]);
            }
            if self.by_segment {
                let segment = u32::from(segment_number(frame));
                writer.number_32s(tags::DIMENSION_INDEX_VALUES, &[segment, position]);
            } else {
                writer.number_32s(tags::DIMENSION_INDEX_VALUES, &[position]);
            }
        });
    }
}

/// Segments are numbered from 1 in the order in which the object lists them.
fn segment_number(frame: Frame) -> u16 {
    frame.segment as u16 + 1
}

fn pixel_measures(writer: &mut Writer<'_>, frame: &SourceFrame) {
    if let Some(spacing) = &frame.measures.pixel_spacing {
        writer.group(tags::PIXEL_MEASURES_SEQUENCE, |writer| {
            if let Some(thickness) = &frame.measures.slice_thickness {
                writer.text(tags::SLICE_THICKNESS, VR::DS, thickness);
            }
            writer.text(tags::PIXEL_SPACING, VR::DS, spacing);
        });
    }
}

/// Item (PS3.5 §7.5).
const ITEM: Tag = Tag(0xFFFE, 0xE000);

/// Elements in Explicit VR Little Endian; the caller keeps the order of tags.
struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn sequence(&mut self, tag: Tag, items: impl FnOnce(&mut Self)) {
        self.tag(tag);
        self.bytes.extend_from_slice(b"SQ\0\0");
        self.measured(items);
    }

    fn item(&mut self, elements: impl FnOnce(&mut Self)) {
        self.tag(ITEM);
        self.measured(elements);
    }

    /// A sequence of one item.
    fn group(&mut self, tag: Tag, elements: impl FnOnce(&mut Self)) {
        self.sequence(tag, |writer| writer.item(elements));
    }

    fn code(&mut self, tag: Tag, Concept(value, scheme, meaning): Concept) {
        self.group(tag, |writer| {
            writer.text(tags::CODE_VALUE, VR::SH, value);
            writer.text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
            writer.text(tags::CODE_MEANING, VR::LO, meaning);
        });
    }

    /// For VRs with a length of 16 bits.
    fn text(&mut self, tag: Tag, vr: VR, text: &str) {
        let length = text.len().next_multiple_of(2);
        self.short_header(tag, vr, length);
        self.bytes.extend_from_slice(text.as_bytes());
        if length > text.len() {
            self.bytes.push(if vr == VR::UI { 0 } else { b' ' });
        }
    }

    fn number_16(&mut self, tag: Tag, value: u16) {
        self.short_header(tag, VR::US, 2);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn number_32s(&mut self, tag: Tag, values: &[u32]) {
        self.short_header(tag, VR::UL, 4 * values.len());
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn short_header(&mut self, tag: Tag, vr: VR, length: usize) {
        self.tag(tag);
        self.bytes.extend_from_slice(&vr.to_bytes());
        // UIDs, decimal strings and codes are far below 64 KiB: the parser that read them had the same limit
        self.bytes.extend_from_slice(&(length as u16).to_le_bytes());
    }

    fn tag(&mut self, Tag(group, element): Tag) {
        self.bytes.extend_from_slice(&group.to_le_bytes());
        self.bytes.extend_from_slice(&element.to_le_bytes());
    }

    /// A length of 32 bits that is filled in when the content is there.
    fn measured(&mut self, content: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        content(self);
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}
