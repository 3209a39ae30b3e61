//! Segmentation: series in, labels and measures on the source grid out.

use imaging::{LabelMap, Volume};
use ndarray::{Array2, Array3, Ix4};

use crate::{
    cleanup::clean,
    control::Control,
    deidentified::Deidentified,
    error::InferenceError,
    findings::{Outcome, SegmentFinding, Segmentation, SegmentationFindings},
    image::{
        intensity,
        placement::{self, AxisMap},
        resample,
    },
    measures::measure,
    model::{Model, ports},
    package::{self, Layout, Task, Window},
    projection::{Keep, Projected, Projection},
    series::{self, Channels},
    slices::SliceTensors,
    sliding::{Counted, Plane, PlaneSink, WindowModel, Windows},
};

impl Model {
    /// Segments one study: a volume for each channel of the package, in its order. The first
    /// one's grid is that of the answer.
    ///
    /// # Errors
    /// When the model is no segmentation, the run is cancelled, or the graph does not do what its package says.
    pub fn segment(
        &self,
        channels: Vec<Deidentified<Volume>>,
        control: &Control<'_>,
    ) -> Result<Outcome<Segmentation>, InferenceError> {
        let Task::Segmentation(spec) = &self.package().task else {
            return Err(self.wrong_task("segmentation"));
        };
        match series::prepare(&spec.input, &self.package().fitness, channels)? {
            Ok(channels) => self.segment_prepared(spec, &channels, control).map(Outcome::Findings),
            Err(reason) => Ok(Outcome::NotAnalysed { reason }),
        }
    }

    fn keep(&self) -> Keep {
        if self.package().writes.needs_probabilities() { Keep::Probabilities } else { Keep::Labels }
    }

    fn segment_prepared(
        &self,
        spec: &package::Segmentation,
        channels: &Channels,
        control: &Control<'_>,
    ) -> Result<Segmentation, InferenceError> {
        let volumes = channels.volumes();
        let axes = placement::place(&spec.input, &volumes[0].grid);
        let (projected, counted) = match (&spec.window, spec.input.layout) {
            (Some(window), _) => self.by_windows(spec, volumes, &axes, window, control)?,
            (None, Layout::Slices { .. } | Layout::Volume) => {
                self.by_slices(spec, volumes, &axes, control)?
            }
        };
        let on_regular = LabelMap { grid: volumes[0].grid.clone(), labels: projected.labels };
        let mut map = channels.onto_source(on_regular);
        clean(&mut map.labels, &map.grid, &spec.output.labels);
        let segments = (1_u16..).zip(&spec.output.labels).map(|(number, label)| {
            SegmentFinding::new(number, label, measure(&map, channels.source_voxels(), label.value))
        });
        let segments = segments.collect();
        let findings =
            SegmentationFindings { segments, windows_run: counted.run, windows_skipped: counted.skipped };
        let probabilities = projected
            .probabilities
            .map(|segments| segments.into_iter().map(|values| channels.values_onto_source(values)).collect());
        Ok(Segmentation { labels: map, probabilities, findings })
    }

    fn by_windows(
        &self,
        spec: &package::Segmentation,
        volumes: &[Volume],
        axes: &[AxisMap; 3],
        window: &Window,
        control: &Control<'_>,
    ) -> Result<(Projected, Counted), InferenceError> {
        let roi = ports::in_tensor_order(&spec.input, window.roi);
        let mut padded = *axes;
        for (axis, len) in padded.iter_mut().zip(roi) {
            *axis = axis.padded(len);
        }
        let mut images = channel_images(volumes, axes);
        let mut windows = Windows::new(window, roi, padded.map(|axis| axis.len));
        if let Some(limit) = window.skip_at {
            windows.skip_empty(&images, padded.map(|axis| axis.pad), limit);
        }
        for (image, channel) in images.iter_mut().zip(&spec.input.channels) {
            intensity::apply(
                &channel.intensity,
                image.as_slice_mut().expect("images are made in standard layout"),
            );
        }
        let images = images.into_iter().map(|image| resample::padded(image, &padded)).collect::<Vec<_>>();
        let mut projection = Projection::new(&spec.output, &padded, volumes[0].grid.dims, self.keep());
        let counted = windows.run(&images, self, &mut projection, control)?;
        Ok((projection.finish(), counted))
    }

    fn by_slices(
        &self,
        spec: &package::Segmentation,
        volumes: &[Volume],
        axes: &[AxisMap; 3],
        control: &Control<'_>,
    ) -> Result<(Projected, Counted), InferenceError> {
        let tensors = SliceTensors::new(&spec.input, volumes, axes);
        let mut projection = Projection::new(&spec.output, axes, volumes[0].grid.dims, self.keep());
        let sides = [axes[1].len, axes[2].len];
        let weights = Array2::ones(sides);
        for slice in 0..tensors.count() {
            control.checkpoint()?;
            self.run(tensors.tensor(slice).view(), control, &mut |output| {
                let found = output.shape().to_vec();
                let output =
                    output.into_dimensionality::<Ix4>().ok().filter(|output| output.shape()[2..] == sides);
                let output = output.ok_or_else(|| InferenceError::OutputShape {
                    found,
                    expected: vec![1, 0, sides[0], sides[1]],
                })?;
                let values = output.index_axis(ndarray::Axis(0), 0).to_owned();
                projection.plane(Plane { values, weights: weights.view() })
            })?;
            (control.progress)((slice + 1) as f32 / tensors.count() as f32);
        }
        Ok((projection.finish(), Counted { run: tensors.count(), skipped: 0 }))
    }
}

/// Each channel in the tensor's order, in modality units, not padded.
fn channel_images(volumes: &[Volume], axes: &[AxisMap; 3]) -> Vec<Array3<f32>> {
    let [first, others @ ..] = volumes else { return Vec::new() };
    let mut images = vec![resample::sample(&first.voxels, axes)];
    images.extend(others.iter().map(|other| resample::sample_registered(other, &first.grid, axes)));
    images
}
