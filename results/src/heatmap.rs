//! Heatmaps: where a classifier looked, as a colour picture that any viewer shows.
//!
//! A Multi-frame True Color Secondary Capture (PS3.3 §A.8.5) whose frames keep the place of their
//! source frames. The colours are for people; the numbers of the answer are in the report. What a
//! demonstration model looked at says so in the picture itself, where no viewer can leave it out.

use dicom_core::{PrimitiveValue, VR, dicom_value, value::C};
use dicom_dictionary_std::{tags, uids};
use ndarray::{ArrayView2, ArrayView3, Axis};

use crate::{
    DEMONSTRATION_NOTICE, EncodeError, Encoded, IntendedUse, Production, Role, Source, SourceFrame,
    concepts::SOURCE_IMAGE,
    context::{self, Place, announced},
    dataset::{DataSet, Elements, sop_reference, truncated},
    picture::Picture,
    segmentation::{append_pixel_data, frame_of_reference},
    validate,
};

/// What a heatmap is made of.
#[derive(Debug, Clone, Copy)]
pub struct HeatmapInput<'a> {
    pub production: &'a Production,
    pub source: &'a Source,
    /// Tells apart several heatmaps of one job; part of the UIDs.
    pub id: &'a str,
    /// What it explains, for example `Meningioma`.
    pub title: &'a str,
    /// The frame of the source on which the first slice of `heat` lies.
    pub first_frame: usize,
    /// From 0 to 1: `[slice, row, column]`, with the source's rows and columns.
    pub heat: ArrayView3<'a, f32>,
    /// The source's values on the same slices; they show through where there is no heat.
    pub underlay: Option<ArrayView3<'a, f32>>,
}

/// Writes a heatmap.
///
/// # Errors
/// When it does not fit the source, or the written object breaks a rule.
pub fn heatmap(input: &HeatmapInput<'_>) -> Result<Encoded, EncodeError> {
    let frames = frames(input)?;
    let place = Place {
        role: Role::Heatmap,
        sop_class: uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
        modality: "OT",
        part: input.id,
        title: &format!("heatmap: {}", input.title),
    };
    let mut dataset = context::begin(input.production, input.source, place);
    image(&mut dataset, input, frames.len());
    frame_of_reference(&mut dataset, input.source);
    let sources = frames.iter().map(|frame| source_image(input.source, frame)).collect();
    dataset.set_items(tags::SOURCE_IMAGE_SEQUENCE, sources);
    groups(&mut dataset, frames);
    let mut encoded = Encoded::begin(Role::Heatmap, &dataset, uids::EXPLICIT_VR_LITTLE_ENDIAN)?;
    append_pixel_data(&mut encoded.bytes, VR::OB, 3 * input.heat.len() as u64, |bytes| {
        let gray = Gray::of(input.underlay);
        for (slice, heat) in input.heat.axis_iter(Axis(0)).enumerate() {
            let underlay = input.underlay.map(|underlay| underlay.index_axis_move(Axis(0), slice));
            let start = bytes.len();
            paint(bytes, heat, underlay, gray);
            if input.production.intended_use == IntendedUse::Demonstration {
                Picture::new(&mut bytes[start..], heat.ncols()).caption(DEMONSTRATION_NOTICE);
            }
        }
        Ok(())
    })?;
    validate(&encoded.bytes, Some(input.source)).map_err(EncodeError::Invalid)?;
    Ok(encoded)
}

fn frames<'a>(input: &HeatmapInput<'a>) -> Result<&'a [SourceFrame], EncodeError> {
    let (slices, rows, columns) = input.heat.dim();
    let source = input.source;
    let fits_underlay = input.underlay.is_none_or(|underlay| underlay.dim() == input.heat.dim());
    let frames = source.frames().get(input.first_frame..).and_then(|frames| frames.get(..slices));
    frames
        .filter(|frames| !frames.is_empty())
        .filter(|_| (rows, columns) == (source.rows() as usize, source.columns() as usize) && fits_underlay)
        .ok_or(EncodeError::Shape {
            slices: input.first_frame + slices,
            rows,
            columns,
            frames: source.frames().len(),
            source_rows: source.rows() as usize,
            source_columns: source.columns() as usize,
        })
}

/// General Image, SC Equipment, SC Multi-frame Image and Image Pixel Modules (§C.7.6.1, §C.8.6).
fn image(dataset: &mut DataSet, input: &HeatmapInput<'_>, frames: usize) {
    let description = format!("Heatmap of {}: {}", input.production.algorithm.name, input.title);
    let description = announced(input.production, &description);
    dataset.set_all(tags::IMAGE_TYPE, ["DERIVED", "SECONDARY"]);
    dataset.set(tags::CONVERSION_TYPE, "SYN");
    dataset.set(tags::PATIENT_ORIENTATION, "");
    context::laterality(dataset, input.source);
    dataset.set(tags::DERIVATION_DESCRIPTION, truncated(&description, 1024));
    dataset.set(tags::IMAGE_COMMENTS, truncated(&description, 10_240));
    dataset.set(tags::BURNED_IN_ANNOTATION, "NO");
    dataset.set(tags::LOSSY_IMAGE_COMPRESSION, "00");
    dataset.set(tags::NUMBER_OF_FRAMES, &frames.to_string());
    if frames > 1 {
        let pointer = C::from_slice(&[tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE]);
        dataset.set_number(tags::FRAME_INCREMENT_POINTER, PrimitiveValue::Tags(pointer));
    }
    dataset.set_number(tags::SAMPLES_PER_PIXEL, dicom_value!(U16, 3));
    dataset.set(tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    dataset.set_number(tags::PLANAR_CONFIGURATION, dicom_value!(U16, 0));
    // Rows and Columns of the source are US, so both fit
    dataset.set_number(tags::ROWS, PrimitiveValue::from(input.source.rows() as u16));
    dataset.set_number(tags::COLUMNS, PrimitiveValue::from(input.source.columns() as u16));
    dataset.set_number(tags::BITS_ALLOCATED, dicom_value!(U16, 8));
    dataset.set_number(tags::BITS_STORED, dicom_value!(U16, 8));
    dataset.set_number(tags::HIGH_BIT, dicom_value!(U16, 7));
    dataset.set_number(tags::PIXEL_REPRESENTATION, dicom_value!(U16, 0));
}

/// Where each frame lies; all per frame, since they are few.
fn groups(dataset: &mut DataSet, frames: &[SourceFrame]) {
    dataset.set_items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![DataSet::new_empty()]);
    dataset.set_items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.iter().map(frame_groups).collect());
}

fn frame_groups(frame: &SourceFrame) -> DataSet {
    let mut groups = DataSet::new_empty();
    if let Some(plane) = &frame.plane {
        let group = |tag, text: &str| {
            let mut item = DataSet::new_empty();
            item.set_all(tag, text.split('\\').map(str::to_owned));
            vec![item]
        };
        let position = group(tags::IMAGE_POSITION_PATIENT, &plane.position_text);
        groups.set_items(tags::PLANE_POSITION_SEQUENCE, position);
        let orientation = group(tags::IMAGE_ORIENTATION_PATIENT, &plane.orientation_text);
        groups.set_items(tags::PLANE_ORIENTATION_SEQUENCE, orientation);
    }
    if let Some(spacing) = &frame.measures.pixel_spacing {
        let mut measures = DataSet::new_empty();
        measures.set_all(tags::PIXEL_SPACING, spacing.split('\\').map(str::to_owned));
        if let Some(thickness) = &frame.measures.slice_thickness {
            measures.set(tags::SLICE_THICKNESS, thickness);
        }
        groups.set_items(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    }
    groups
}

/// A source image of the picture (General Reference Module, §C.12.4).
fn source_image(source: &Source, frame: &SourceFrame) -> DataSet {
    let instance = source.instance_of(frame);
    let mut image = sop_reference(instance.sop_class.as_str(), instance.sop_instance.as_str());
    if let Some(number) = frame.frame_number {
        image.set(tags::REFERENCED_FRAME_NUMBER, &number.to_string());
    }
    image.with_code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &SOURCE_IMAGE.code())
}

/// Linear window over most of the underlay's values.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gray {
    low: f32,
    high: f32,
}

impl Gray {
    /// From the 1st to the 99th percentile of a sample: outliers must not make the picture black.
    fn of(underlay: Option<ArrayView3<'_, f32>>) -> Self {
        let Some(underlay) = underlay else { return Self { low: 0.0, high: 1.0 } };
        let step = (underlay.len() / 100_000).max(1);
        let mut sample: Vec<f32> =
            underlay.iter().step_by(step).copied().filter(|value| value.is_finite()).collect();
        sample.sort_by(f32::total_cmp);
        let at = |fraction: f32| {
            let index = (fraction * sample.len().saturating_sub(1) as f32) as usize;
            sample.get(index).copied().unwrap_or_default()
        };
        Self { low: at(0.01), high: at(0.99) }
    }

    /// From 0 to 255; a value that is no number is black.
    fn level(self, value: f32) -> f32 {
        let range = (self.high - self.low).max(f32::MIN_POSITIVE);
        let level = ((value - self.low) / range).clamp(0.0, 1.0);
        if level.is_nan() { 0.0 } else { 255.0 * level }
    }
}

/// Heat over grey: the more heat, the less of the image shows through.
fn paint(bytes: &mut Vec<u8>, heat: ArrayView2<'_, f32>, underlay: Option<ArrayView2<'_, f32>>, gray: Gray) {
    const OPACITY_MAX: f32 = 0.6;
    for (at, &heat) in heat.indexed_iter() {
        let heat = if heat.is_nan() { 0.0 } else { heat.clamp(0.0, 1.0) };
        let level = underlay.map_or(0.0, |underlay| gray.level(underlay[at]));
        let opacity = OPACITY_MAX * heat;
        bytes.extend(color(heat).map(|part| ((1.0 - opacity) * level + opacity * part).round() as u8));
    }
}

/// From blue over green and yellow to red.
fn color(heat: f32) -> [f32; 3] {
    let ramp = |center: f32| (1.5 - (4.0 * heat - center).abs()).clamp(0.0, 1.0) * 255.0;
    [ramp(3.0), ramp(2.0), ramp(1.0)]
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn without_heat_the_image_is_as_it_was() {
        let mut bytes = Vec::new();
        let gray = Gray { low: 0.0, high: 10.0 };
        paint(&mut bytes, array![[0.0, 0.0, f32::NAN]].view(), Some(array![[0.0, 5.0, 10.0]].view()), gray);
        assert_eq!(bytes, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
    }

    #[test]
    fn heat_is_red_where_it_is_greatest() {
        let mut bytes = Vec::new();
        paint(&mut bytes, array![[1.0, 0.5, 0.25]].view(), None, Gray { low: 0.0, high: 1.0 });
        let pixels: Vec<&[u8]> = bytes.chunks(3).collect();
        assert!(pixels[0][0] > pixels[0][1] && pixels[0][0] > pixels[0][2], "{pixels:?}");
        assert!(pixels[1][1] > pixels[1][0] && pixels[1][1] > pixels[1][2], "{pixels:?}");
        assert!(pixels[2][2] > pixels[2][0], "{pixels:?}");
    }

    #[test]
    fn outliers_do_not_make_the_picture_black() {
        let mut values = ndarray::Array3::from_shape_fn((1, 100, 100), |(_, row, _)| row as f32);
        values[[0, 0, 0]] = 1.0e9;
        let gray = Gray::of(Some(values.view()));
        assert!(gray.high < 100.0, "{gray:?}");
    }
}
