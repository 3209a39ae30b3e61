//! What an enhanced multi-frame instance says about each of its frames (PS3.3 C.7.6.16).
//!
//! An item of the Per-Frame Functional Groups wins over the shared ones. A multi-frame
//! instance without functional groups (nuclear medicine, dose, old ultrasound) yields none.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::attribute;

/// The facts of one frame; absent ones are those of the whole instance, if it has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FrameFacts {
    pub(crate) position: Option<[f64; 3]>,
    pub(crate) orientation: Option<[f64; 6]>,
    pub(crate) pixel_spacing: Option<[f64; 2]>,
    pub(crate) slice_thickness: Option<f64>,
    pub(crate) spacing_between_slices: Option<f64>,
    pub(crate) rescale: Option<(f64, f64)>,
    pub(crate) frame_type: Vec<String>,
    pub(crate) echo_time: Option<f64>,
    pub(crate) diffusion_b_value: Option<f64>,
    pub(crate) diffusion_direction: Option<[f64; 3]>,
    pub(crate) temporal_position: Option<i32>,
    pub(crate) stack: String,
    pub(crate) body_part: String,
}

/// The frame that the instance begins with; `None` when it has no functional groups.
pub(crate) fn first(ds: &InMemDicomObject) -> Option<FrameFacts> {
    let shared = attribute::item(ds, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let own = attribute::item(ds, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    (shared.is_some() || own.is_some()).then(|| Groups { shared, own }.facts())
}

/// One entry for each item of the Per-Frame Functional Groups, in frame order.
pub(crate) fn all(ds: &InMemDicomObject) -> Vec<FrameFacts> {
    let shared = attribute::item(ds, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    attribute::items(ds, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .iter()
        .map(|own| Groups { shared, own: Some(own) }.facts())
        .collect()
}

struct Groups<'a> {
    shared: Option<&'a InMemDicomObject>,
    own: Option<&'a InMemDicomObject>,
}

impl<'a> Groups<'a> {
    fn group(&self, sequence: Tag) -> Option<&'a InMemDicomObject> {
        let of = |groups: Option<&'a InMemDicomObject>| groups.and_then(|ds| attribute::item(ds, sequence));
        of(self.own).or_else(|| of(self.shared))
    }

    fn facts(&self) -> FrameFacts {
        let mut facts = FrameFacts::default();
        if let Some(group) = self.group(tags::PLANE_POSITION_SEQUENCE) {
            facts.position = attribute::float_array(group, tags::IMAGE_POSITION_PATIENT);
        }
        if let Some(group) = self.group(tags::PLANE_ORIENTATION_SEQUENCE) {
            facts.orientation = attribute::float_array(group, tags::IMAGE_ORIENTATION_PATIENT);
        }
        if let Some(group) = self.group(tags::PIXEL_MEASURES_SEQUENCE) {
            facts.pixel_spacing = attribute::float_array(group, tags::PIXEL_SPACING);
            facts.slice_thickness = attribute::float(group, tags::SLICE_THICKNESS);
            facts.spacing_between_slices = attribute::float(group, tags::SPACING_BETWEEN_SLICES);
        }
        if let Some(group) = self.group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE) {
            let intercept = attribute::float(group, tags::RESCALE_INTERCEPT).unwrap_or(0.0);
            facts.rescale = attribute::float(group, tags::RESCALE_SLOPE).map(|slope| (slope, intercept));
        }
        if let Some(group) = self.group(tags::MR_ECHO_SEQUENCE) {
            facts.echo_time = attribute::float(group, tags::EFFECTIVE_ECHO_TIME);
        }
        self.read_diffusion(&mut facts);
        if let Some(group) = self.group(tags::FRAME_CONTENT_SEQUENCE) {
            facts.temporal_position = attribute::integer(group, tags::TEMPORAL_POSITION_INDEX);
            facts.stack = attribute::string(group, tags::STACK_ID);
        }
        facts.frame_type = self.frame_type();
        facts.body_part = self.body_part();
        facts
    }

    fn read_diffusion(&self, facts: &mut FrameFacts) {
        let Some(group) = self.group(tags::MR_DIFFUSION_SEQUENCE) else { return };
        facts.diffusion_b_value = attribute::float(group, tags::DIFFUSION_B_VALUE);
        facts.diffusion_direction = attribute::item(group, tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE)
            .and_then(|item| attribute::float_array(item, tags::DIFFUSION_GRADIENT_ORIENTATION));
    }

    fn frame_type(&self) -> Vec<String> {
        const SEQUENCES: [Tag; 4] = [
            tags::MR_IMAGE_FRAME_TYPE_SEQUENCE,
            tags::CT_IMAGE_FRAME_TYPE_SEQUENCE,
            tags::PET_FRAME_TYPE_SEQUENCE,
            tags::XAXRF_FRAME_CHARACTERISTICS_SEQUENCE,
        ];
        SEQUENCES
            .into_iter()
            .find_map(|sequence| self.group(sequence))
            .map(|group| attribute::strings(group, tags::FRAME_TYPE))
            .unwrap_or_default()
    }

    /// The code meaning stands in for Body Part Examined, which enhanced instances may lack.
    fn body_part(&self) -> String {
        self.group(tags::FRAME_ANATOMY_SEQUENCE)
            .and_then(|group| attribute::item(group, tags::ANATOMIC_REGION_SEQUENCE))
            .map(|region| attribute::string(region, tags::CODE_MEANING).to_uppercase())
            .unwrap_or_default()
    }
}
