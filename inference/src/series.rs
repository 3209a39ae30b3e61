//! The series of one study as a model's channels, checked and made regular.

use imaging::{Grid, LabelMap, VOXELS_MAX, Volume};
use ndarray::Array3;

use crate::{
    deidentified::Deidentified,
    error::InferenceError,
    fitness::unfit,
    image::placement,
    package::{Fitness, ImageInput},
};

/// Volumes on regular grids, and the first one's source where that was none.
#[derive(Debug)]
pub(crate) struct Channels {
    volumes: Vec<Volume>,
    irregular_source: Option<Volume>,
}

impl Channels {
    pub(crate) fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    pub(crate) fn source_grid(&self) -> &Grid {
        &self.source().grid
    }

    pub(crate) fn source_voxels(&self) -> &Array3<f32> {
        &self.source().voxels
    }

    fn source(&self) -> &Volume {
        self.irregular_source.as_ref().unwrap_or(&self.volumes[0])
    }

    /// Labels on the regular grid as labels of the source's own slices.
    pub(crate) fn onto_source(&self, map: LabelMap) -> LabelMap {
        if self.irregular_source.is_none() { map } else { map.onto(self.source_grid()) }
    }

    /// Values on the regular grid as values of the source's own slices, voxel by voxel where labels come from.
    pub(crate) fn values_onto_source(&self, values: Array3<f32>) -> Array3<f32> {
        if self.irregular_source.is_none() {
            return values;
        }
        imaging::nearest_onto(values.view(), &self.volumes[0].grid, self.source_grid())
    }
}

/// The channels of a run, or why there is none.
pub(crate) fn prepare(
    input: &ImageInput,
    fitness: &Fitness,
    channels: Vec<Deidentified<Volume>>,
) -> Result<Result<Channels, String>, InferenceError> {
    let (expected, found) = (input.channels.len(), channels.len());
    if expected != found {
        return Err(InferenceError::Channels { expected, found });
    }
    let mut volumes = Vec::new();
    let mut irregular_source = None;
    for (place, volume) in channels.into_iter().map(Deidentified::into_inner).enumerate() {
        if let Some(reason) = unfit(fitness, input, &volume) {
            return Ok(Err(reason));
        }
        if place == 0 && !volume.grid.is_regular() {
            irregular_source = Some(volume.clone());
        }
        match volume.regular() {
            Ok(volume) => volumes.push(volume),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    if let Some(reason) = too_large(input, &volumes[0].grid) {
        return Ok(Err(reason));
    }
    let frame = |volume: &Volume| volume.header.facts.frame_of_reference.clone();
    let stranger =
        volumes.iter().position(|volume| frame(volume) != frame(&volumes[0]) || frame(volume).is_none());
    match stranger.filter(|_| input.series().len() > 1) {
        Some(place) => Ok(Err(format!(
            "the series for {} and {} share no frame of reference",
            input.channels[0].name, input.channels[place].name
        ))),
        None => Ok(Ok(Channels { volumes, irregular_source })),
    }
}

/// A spacing that is far from the truth asks for more memory than there is.
fn too_large(input: &ImageInput, grid: &Grid) -> Option<String> {
    let lens = placement::place(input, grid).map(|axis| axis.len);
    let voxels = lens.iter().map(|len| *len as f64).product::<f64>();
    (voxels > VOXELS_MAX as f64).then(|| {
        let [x, y, z] = grid.spacing();
        format!(
            "voxels of {x:.3} × {y:.3} × {z:.3} mm would become {voxels:.1e} of the model's, at most {VOXELS_MAX} are computed"
        )
    })
}
