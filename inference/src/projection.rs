//! Brings the planes of a model's output back to the source grid and decides there.
//!
//! Each source voxel takes the linear mean of the tensor voxels around it, so the labels
//! are as smooth as the source grid allows; where both grids coincide it is the tensor's
//! own value, bit for bit.

use ndarray::{Array3, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use crate::{
    error::InferenceError,
    image::placement::{AxisMap, Tap},
    package::{Activation, Decision, SegmentationOutput},
    sliding::{Plane, PlaneSink},
};

/// Collects a label map on the source grid from planes in the tensor's order.
#[derive(Debug)]
pub(crate) struct Projection<'a> {
    output: &'a SegmentationOutput,
    /// The label of each channel of the output.
    label_of: [u8; 256],
    /// Grids coincide: no mean, no activation needed for an arg-max.
    is_exact: bool,
    /// Source sheets along the tensor's first axis with their place in it, in its order.
    sheets: Vec<(usize, f64)>,
    next_sheet: usize,
    next_plane: usize,
    previous: Option<Array3<f32>>,
    rows: Vec<Option<Tap>>,
    columns: Vec<Option<Tap>>,
    source_axes: [usize; 3],
    labels: Array3<u8>,
}

impl<'a> Projection<'a> {
    /// `dims` are those of the source grid: columns, rows, slices.
    pub(crate) fn new(output: &'a SegmentationOutput, axes: &[AxisMap; 3], dims: [usize; 3]) -> Self {
        let place = |sheet: usize| axes[0].tensor(sheet).map(|at| (sheet, at));
        let mut sheets = (0..axes[0].source_len()).filter_map(place).collect::<Vec<_>>();
        sheets.sort_by(|one, other| one.1.total_cmp(&other.1));
        let mut label_of = [0; 256];
        for label in &output.labels {
            let channel = match output.decision {
                Decision::Argmax => label.value,
                Decision::Threshold(_) => label.value - 1,
            };
            label_of[usize::from(channel)] = label.value;
        }
        Self {
            output,
            label_of,
            is_exact: axes.iter().all(AxisMap::is_exact),
            sheets,
            next_sheet: 0,
            next_plane: 0,
            previous: None,
            rows: axes[1].tensor_taps(),
            columns: axes[2].tensor_taps(),
            source_axes: axes.map(|axis| axis.source_axis),
            labels: Array3::zeros([dims[2], dims[1], dims[0]]),
        }
    }

    /// The labels (slice, row, column).
    pub(crate) fn into_labels(self) -> Array3<u8> {
        self.labels
    }

    fn activate(&self, plane: Plane<'_>) -> Result<Array3<f32>, InferenceError> {
        let Plane { mut values, weights } = plane;
        let raw = self.is_exact && self.output.decision == Decision::Argmax;
        if !raw {
            activate(self.output.activation, &mut values);
            let background = if self.output.decision == Decision::Argmax { 1.0 } else { 0.0 };
            blank(&mut values, &weights, background);
        }
        // A weight or an overflow gone wrong must not pass for background.
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(InferenceError::NotFinite) }
    }

    /// Writes the sheets that lie between the previous plane and `current`.
    fn write_sheets(&mut self, current: &Array3<f32>) {
        let plane = self.next_plane as f64;
        while let Some((sheet, at)) = self.sheets.get(self.next_sheet).copied().filter(|(_, at)| *at <= plane)
        {
            let between;
            let values = match &self.previous {
                Some(previous) if at < plane => {
                    let weight = (at - (plane - 1.0)) as f32;
                    between = ndarray::Zip::from(previous)
                        .and(current)
                        .map_collect(|low, high| low + (high - low) * weight);
                    &between
                }
                _ => current,
            };
            let decided = self.decide_sheet(values);
            let [slow, middle, fast] = self.source_axes.map(|axis| 2 - axis);
            let mut labels = self.labels.view_mut().permuted_axes([slow, middle, fast]);
            assign(labels.index_axis_mut(Axis(0), sheet), &decided);
            self.next_sheet += 1;
        }
    }

    fn decide_sheet(&self, values: &Array3<f32>) -> Vec<u8> {
        let width = self.columns.len();
        let mut sheet = vec![0_u8; self.rows.len() * width];
        sheet.par_chunks_mut(width.max(1)).zip(&self.rows).for_each(|(labels, row)| {
            let Some(row) = row else { return };
            for (label, column) in labels.iter_mut().zip(&self.columns) {
                if let Some(column) = column {
                    *label = self.decide(values, row, column);
                }
            }
        });
        sheet
    }

    fn decide(&self, values: &Array3<f32>, row: &Tap, column: &Tap) -> u8 {
        let mut best: Option<(usize, f32)> = None;
        for channel in 0..values.dim().0.min(self.label_of.len()) {
            let value = bilinear(values, channel, row, column);
            let wins = best.is_none_or(|(_, highest)| value > highest);
            let admitted = match self.output.decision {
                Decision::Argmax => true,
                Decision::Threshold(threshold) => {
                    f64::from(value) >= threshold && self.label_of[channel] != 0
                }
            };
            if wins && admitted {
                best = Some((channel, value));
            }
        }
        best.map_or(0, |(channel, _)| self.label_of[channel])
    }
}

impl PlaneSink for Projection<'_> {
    fn plane(&mut self, plane: Plane<'_>) -> Result<(), InferenceError> {
        let current = self.activate(plane)?;
        self.write_sheets(&current);
        self.previous = Some(current);
        self.next_plane += 1;
        Ok(())
    }
}

fn bilinear(values: &Array3<f32>, channel: usize, row: &Tap, column: &Tap) -> f32 {
    let line = |row: usize| {
        let low = values[[channel, row, column.low]];
        if column.weight == 0.0 {
            low
        } else {
            low + (values[[channel, row, column.high]] - low) * column.weight as f32
        }
    };
    let low = line(row.low);
    if row.weight == 0.0 { low } else { low + (line(row.high) - low) * row.weight as f32 }
}

fn assign(mut sheet: ArrayViewMut2<'_, u8>, decided: &[u8]) {
    for (label, decided) in sheet.iter_mut().zip(decided) {
        *label = *decided;
    }
}

/// Turns a model's numbers (classes, …) into probabilities.
pub(crate) fn activate(activation: Activation, values: &mut Array3<f32>) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values.mapv_inplace(|value| 1.0 / (1.0 + (-value).exp())),
        Activation::Softmax => {
            for mut voxel in values.lanes_mut(Axis(0)) {
                let highest = voxel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                voxel.mapv_inplace(|value| (value - highest).exp());
                let sum = voxel.sum();
                voxel.mapv_inplace(|value| value / sum);
            }
        }
    }
}

/// Where no window was run the background is certain.
fn blank(values: &mut Array3<f32>, weights: &ArrayView2<'_, f32>, background: f32) {
    for (at, _) in weights.indexed_iter().filter(|(_, weight)| **weight == 0.0) {
        for channel in 0..values.dim().0 {
            values[[channel, at.0, at.1]] = if channel == 0 { background } else { 0.0 };
        }
    }
}
