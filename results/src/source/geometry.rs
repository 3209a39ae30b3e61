//! Where frames lie: the source's own text, and its numbers for sorting and checking.

use dicom_dictionary_std::tags;

use super::SourceFrame;
use crate::dataset::{DataSet, first_item, text};

/// Position and orientation of a frame in the patient (PS3.3 §C.7.6.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Image Position (Patient), as the source writes it.
    pub position_text: String,
    /// Image Orientation (Patient), as the source writes it.
    pub orientation_text: String,
    pub position: [f64; 3],
    pub orientation: [f64; 6],
}

/// Pixel Measures of a frame, as the source writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measures {
    pub pixel_spacing: Option<String>,
    pub slice_thickness: Option<String>,
}

impl Plane {
    pub(crate) fn normal(&self) -> [f64; 3] {
        let [a, b, c, d, e, f] = self.orientation;
        [b * f - c * e, c * d - a * f, a * e - b * d]
    }

    /// Distance from the origin along `normal`.
    pub(crate) fn along(&self, normal: [f64; 3]) -> f64 {
        self.position.iter().zip(normal).map(|(position, component)| position * component).sum()
    }

    /// Plane of a single-frame instance.
    pub(crate) fn of_instance(dataset: &DataSet) -> Option<Self> {
        Self::parse(
            text(dataset, tags::IMAGE_POSITION_PATIENT)?,
            text(dataset, tags::IMAGE_ORIENTATION_PATIENT)?,
        )
    }

    /// Plane of a frame by its functional groups, its own before the shared ones.
    pub(crate) fn of_frame(own: &DataSet, shared: &DataSet) -> Option<Self> {
        let group = |sequence, tag| {
            first_item(own, sequence)
                .or_else(|| first_item(shared, sequence))
                .and_then(|item| text(item, tag))
        };
        Self::parse(
            group(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)?,
            group(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)?,
        )
    }

    fn parse(position_text: String, orientation_text: String) -> Option<Self> {
        let position = numbers(&position_text)?;
        let orientation = numbers(&orientation_text)?;
        Some(Self { position_text, orientation_text, position, orientation })
    }
}

impl Measures {
    pub(crate) fn of_instance(dataset: &DataSet) -> Self {
        Self {
            pixel_spacing: text(dataset, tags::PIXEL_SPACING)
                .or_else(|| text(dataset, tags::IMAGER_PIXEL_SPACING))
                .filter(|spacing| numbers::<2>(spacing).is_some()),
            slice_thickness: text(dataset, tags::SLICE_THICKNESS),
        }
    }

    pub(crate) fn of_frame(own: &DataSet, shared: &DataSet) -> Self {
        let measures = |item| first_item(item, tags::PIXEL_MEASURES_SEQUENCE);
        match measures(own).or_else(|| measures(shared)) {
            Some(item) => Self {
                pixel_spacing: text(item, tags::PIXEL_SPACING),
                slice_thickness: text(item, tags::SLICE_THICKNESS),
            },
            None => Self::default(),
        }
    }
}

/// Exactly `N` finite numbers of a multi-valued decimal string.
pub(crate) fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let values: Vec<f64> = text.split('\\').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    values.try_into().ok().filter(|values: &[f64; N]| values.iter().all(|value| value.is_finite()))
}

/// Millimetres within which steps count as equal: positions are often written with three decimals.
const SPACING_TOLERANCE_MM: f64 = 2e-3;

pub(super) fn uniform_spacing(frames: &[SourceFrame]) -> Option<f64> {
    let planes: Vec<&Plane> = frames.iter().map(|frame| frame.plane.as_ref()).collect::<Option<_>>()?;
    let normal = planes.first()?.normal();
    let steps: Vec<f64> =
        planes.windows(2).map(|pair| pair[1].along(normal) - pair[0].along(normal)).collect();
    let mean = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
    let uniform = steps.iter().all(|step| (step - mean).abs() <= SPACING_TOLERANCE_MM);
    (!steps.is_empty() && uniform && mean > SPACING_TOLERANCE_MM).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_count_of_finite_numbers_is_a_position() {
        assert_eq!(numbers("1\\ -2.50\\3e1"), Some([1.0, -2.5, 30.0]));
        assert_eq!(numbers::<3>("1\\2"), None);
        assert_eq!(numbers::<3>("1\\2\\x"), None);
        assert_eq!(numbers::<3>("1\\2\\nan"), None);
    }
}
