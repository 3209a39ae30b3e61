//! Whether an input is what a package declares: outside of it there is no answer.

use imaging::Volume;

use crate::{
    image::rank::percentile,
    package::{Fitness, ImageInput, Interval},
    routing::plane_name,
};

/// The part of the voxels that may lie outside the declared intensities, on either side.
const OUTLIER_PERCENT: f64 = 1.0;

/// Why `volume` is not fit, none when it is.
pub(crate) fn unfit(fitness: &Fitness, input: &ImageInput, volume: &Volume) -> Option<String> {
    let asks_size =
        input.spacing_mm.is_some() || fitness.in_plane_spacing_mm.is_some() || fitness.in_plane_mm.is_some();
    if asks_size && volume.header.facts.pixel_spacing.is_none() && volume.header.is_unplaced() {
        return Some("the image does not say how large its pixels are, and the model asks for it".to_owned());
    }
    let [across, down, between] = volume.grid.spacing();
    let side = |axis: usize| volume.grid.dims[axis] as f64 * volume.grid.spacing()[axis];
    outside("the in-plane spacing", "mm", fitness.in_plane_spacing_mm, across)
        .or_else(|| outside("the in-plane spacing", "mm", fitness.in_plane_spacing_mm, down))
        .or_else(|| outside("the slice spacing", "mm", fitness.slice_spacing_mm, between))
        .or_else(|| outside("the coverage", "mm", fitness.coverage_mm, volume.grid.coverage_mm()))
        .or_else(|| outside("the field of view", "mm", fitness.in_plane_mm, side(0).min(side(1))))
        .or_else(|| outside("the age", "years", fitness.age_years, volume.header.facts.patient.age_years?))
        .or_else(|| wrong_plane(fitness, volume))
        .or_else(|| wrong_intensity(fitness, volume))
}

fn outside(what: &str, unit: &str, declared: Option<Interval>, seen: f64) -> Option<String> {
    let declared = declared?;
    // Positions are decimal text: a thousandth is rounding.
    let slack = 1e-3 * seen.abs();
    let inside = declared.min.is_none_or(|min| seen >= min - slack)
        && declared.max.is_none_or(|max| seen <= max + slack);
    if inside {
        None
    } else {
        Some(format!("{what} is {seen:.2} {unit}, the model is made for {declared} {unit}"))
    }
}

fn wrong_plane(fitness: &Fitness, volume: &Volume) -> Option<String> {
    let declared = fitness.orientation.as_ref()?;
    let seen = volume.plane();
    if declared.contains(&seen) {
        return None;
    }
    let words = declared.iter().map(|plane| plane_name(*plane)).collect::<Vec<_>>().join(" or ");
    Some(format!("the slices are {}, the model is made for {words}", plane_name(seen)))
}

fn wrong_intensity(fitness: &Fitness, volume: &Volume) -> Option<String> {
    let declared = fitness.intensity?;
    let voxels = volume.voxels.as_standard_layout();
    let voxels = voxels.as_slice()?;
    let at = |percent| percentile(voxels, |_| true, percent);
    let (low, high) = (at(OUTLIER_PERCENT)?, at(100.0 - OUTLIER_PERCENT)?);
    if declared.contains(low) && declared.contains(high) {
        None
    } else {
        Some(format!("the values go from {low:.1} to {high:.1}, the model is made for {declared}"))
    }
}
