//! The tensors of a slice model, made one at a time.

use imaging::Volume;
use ndarray::ArrayD;

use crate::{
    graph::tensor,
    image::{intensity, placement::AxisMap, resample},
    package::{ImageInput, Layout},
};

/// Makes (1, channels, rows, columns) for each slice of a series.
#[derive(Debug)]
pub(crate) struct SliceTensors<'a> {
    input: &'a ImageInput,
    volumes: &'a [Volume],
    axes: &'a [AxisMap; 3],
    neighbours: usize,
}

impl<'a> SliceTensors<'a> {
    pub(crate) fn new(input: &'a ImageInput, volumes: &'a [Volume], axes: &'a [AxisMap; 3]) -> Self {
        let neighbours = match input.layout {
            Layout::Slices { neighbours, .. } => neighbours,
            Layout::Volume => 0,
        };
        Self { input, volumes, axes, neighbours }
    }

    pub(crate) fn count(&self) -> usize {
        self.axes[0].len
    }

    /// Channels in the package's order, each with its neighbours in theirs; beyond the ends the last slice again.
    pub(crate) fn tensor(&self, slice: usize) -> ArrayD<f32> {
        let sides = [self.axes[1].len, self.axes[2].len];
        let mut numbers = Vec::new();
        for channel in 0..self.volumes.len() {
            for offset in 0..=2 * self.neighbours {
                let near = (slice + offset).saturating_sub(self.neighbours).min(self.count() - 1);
                numbers.extend(self.plane(channel, near));
            }
        }
        let channels = self.volumes.len() * (2 * self.neighbours + 1);
        tensor(&[1, channels, sides[0], sides[1]], numbers)
    }

    /// One channel of one slice, with intensity steps, padded with 0.
    fn plane(&self, channel: usize, slice: usize) -> Vec<f32> {
        let mut image = if channel == 0 {
            resample::sample_slice(&self.volumes[0].voxels, self.axes, slice)
        } else {
            resample::sample_registered_slice(&self.volumes[channel], &self.volumes[0].grid, self.axes, slice)
        };
        intensity::apply(&self.input.channels[channel].intensity, &mut image);
        let [_, rows, columns] = *self.axes;
        if (rows.len, columns.len) == (rows.inner, columns.inner) {
            return image;
        }
        let mut padded = vec![0.0; rows.len * columns.len];
        for (row, line) in image.chunks(columns.inner).enumerate() {
            let begin = (row + rows.pad) * columns.len + columns.pad;
            padded[begin..begin + columns.inner].copy_from_slice(line);
        }
        padded
    }
}
