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
    package::{Activation, Decision, Label, SegmentationOutput},
    sliding::{Plane, PlaneSink},
};

/// What is kept of the planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Labels,
    /// Beside the labels, for each segment how likely each voxel is.
    Probabilities,
}

/// What became of the planes, on the source grid: (slice, row, column).
#[derive(Debug)]
pub(crate) struct Projected {
    pub(crate) labels: Array3<u8>,
    pub(crate) probabilities: Option<Vec<Array3<f32>>>,
}

/// Numbers before the activation that make the background certain and overflow in none.
const CERTAIN: [f32; 2] = [0.0, f32::MIN / 4.0];

/// Collects a label map on the source grid from planes in the tensor's order.
#[derive(Debug)]
pub(crate) struct Projection<'a> {
    output: &'a SegmentationOutput,
    /// The label of each channel of the output.
    label_of: [u8; 256],
    /// Grids coincide: no mean, no activation needed for an arg-max. Then planes are kept as the model gave them.
    is_raw: bool,
    /// Grids coincide, and the highest channel wins.
    takes_highest: bool,
    /// Source sheets along the tensor's first axis with their place in it, in its order.
    sheets: Vec<(usize, f64)>,
    next_sheet: usize,
    next_plane: usize,
    previous: Option<Array3<f32>>,
    rows: Vec<Option<Tap>>,
    columns: Vec<Option<Tap>>,
    source_axes: [usize; 3],
    labels: Array3<u8>,
    probabilities: Option<Vec<Array3<f32>>>,
}

impl<'a> Projection<'a> {
    /// `dims` are those of the source grid: columns, rows, slices.
    pub(crate) fn new(
        output: &'a SegmentationOutput,
        axes: &[AxisMap; 3],
        dims: [usize; 3],
        keep: Keep,
    ) -> Self {
        let place = |sheet: usize| axes[0].tensor(sheet).map(|at| (sheet, at));
        let mut sheets = (0..axes[0].source_len()).filter_map(place).collect::<Vec<_>>();
        sheets.sort_by(|one, other| one.1.total_cmp(&other.1));
        let mut label_of = [0; 256];
        for label in &output.labels {
            label_of[channel_of(output, label)] = label.value;
        }
        let dims = [dims[2], dims[1], dims[0]];
        let probabilities = output.labels.iter().map(|_| Array3::zeros(dims));
        let takes_highest = axes.iter().all(AxisMap::is_exact) && output.decision == Decision::Argmax;
        Self {
            output,
            label_of,
            is_raw: takes_highest && output.activation != Activation::None,
            takes_highest,
            sheets,
            next_sheet: 0,
            next_plane: 0,
            previous: None,
            rows: axes[1].tensor_taps(),
            columns: axes[2].tensor_taps(),
            source_axes: axes.map(|axis| axis.source_axis),
            labels: Array3::zeros(dims),
            probabilities: (keep == Keep::Probabilities).then(|| probabilities.collect()),
        }
    }

    pub(crate) fn finish(self) -> Projected {
        Projected { labels: self.labels, probabilities: self.probabilities }
    }

    fn activate(&self, plane: Plane<'_>) -> Result<Array3<f32>, InferenceError> {
        let Plane { mut values, weights } = plane;
        if self.is_raw {
            blank(&mut values, &weights, CERTAIN);
        } else {
            activate(self.output.activation, &mut values);
            let background = if self.output.decision == Decision::Argmax { 1.0 } else { 0.0 };
            blank(&mut values, &weights, [background, 0.0]);
        }
        // A weight or an overflow gone wrong must not pass for background. Looked at without stopping: many at once.
        let not_finite = values.iter().fold(false, |any, value| any | !value.is_finite());
        if not_finite { Err(InferenceError::NotFinite) } else { Ok(values) }
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
            if let Some(mut probabilities) = self.probabilities.take() {
                for (label, segment) in self.output.labels.iter().zip(&mut probabilities) {
                    let mut segment = segment.view_mut().permuted_axes([slow, middle, fast]);
                    let likely = self.probabilities_of_sheet(values, channel_of(self.output, label));
                    assign(segment.index_axis_mut(Axis(0), sheet), &likely);
                }
                self.probabilities = Some(probabilities);
            }
            self.next_sheet += 1;
        }
    }

    fn decide_sheet(&self, values: &Array3<f32>) -> Vec<u8> {
        if self.takes_highest {
            return self.highest_of_sheet(values);
        }
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

    /// No mean is taken, and the first of the highest channels wins. A row at a time: several columns at once.
    fn highest_of_sheet(&self, values: &Array3<f32>) -> Vec<u8> {
        let width = values.dim().2;
        let (mut channels, mut highest) = (vec![0_u8; width], vec![0.0_f32; width]);
        let mut sheet = vec![0_u8; self.rows.len() * self.columns.len()];
        for (labels, row) in sheet.chunks_mut(self.columns.len().max(1)).zip(&self.rows) {
            let Some(row) = row else { continue };
            for (channel, plane) in (0..=u8::MAX).zip(values.outer_iter()) {
                let line = plane.index_axis_move(Axis(0), row.low);
                for ((best, highest), value) in channels.iter_mut().zip(&mut highest).zip(line) {
                    let wins = channel == 0 || *value > *highest;
                    *best = if wins { channel } else { *best };
                    *highest = if wins { *value } else { *highest };
                }
            }
            for (label, column) in labels.iter_mut().zip(&self.columns) {
                if let Some(column) = column {
                    *label = self.label_of[usize::from(channels[column.low])];
                }
            }
        }
        sheet
    }

    fn probabilities_of_sheet(&self, values: &Array3<f32>, channel: usize) -> Vec<f32> {
        let width = self.columns.len();
        let mut sheet = vec![0.0; self.rows.len() * width];
        if channel >= values.dim().0 {
            return sheet;
        }
        sheet.par_chunks_mut(width.max(1)).zip(&self.rows).for_each(|(likely, row)| {
            let Some(row) = row else { return };
            for (likely, column) in likely.iter_mut().zip(&self.columns) {
                if let Some(column) = column {
                    *likely = self.probability(values, channel, row, column).clamp(0.0, 1.0);
                }
            }
        });
        sheet
    }

    fn probability(&self, values: &Array3<f32>, channel: usize, row: &Tap, column: &Tap) -> f32 {
        let value = |channel| bilinear(values, channel, row, column);
        match self.output.activation {
            Activation::Sigmoid if self.is_raw => sigmoid(value(channel)),
            Activation::Softmax if self.is_raw => {
                let highest = (0..values.dim().0).map(value).fold(f32::NEG_INFINITY, f32::max);
                let sum = (0..values.dim().0).map(|channel| (value(channel) - highest).exp()).sum::<f32>();
                (value(channel) - highest).exp() / sum
            }
            _ => value(channel),
        }
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

fn assign<T: Copy>(mut sheet: ArrayViewMut2<'_, T>, values: &[T]) {
    for (place, value) in sheet.iter_mut().zip(values) {
        *place = *value;
    }
}

/// The channel of the output that speaks for a label.
fn channel_of(output: &SegmentationOutput, label: &Label) -> usize {
    match output.decision {
        Decision::Argmax => label.value.into(),
        Decision::Threshold(_) => usize::from(label.value) - 1,
    }
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

/// Turns a model's numbers (classes, …) into probabilities.
pub(crate) fn activate(activation: Activation, values: &mut Array3<f32>) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => values.mapv_inplace(sigmoid),
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

/// Where no window was run the background is certain: `[background, others]` are put there.
fn blank(values: &mut Array3<f32>, weights: &ArrayView2<'_, f32>, [background, others]: [f32; 2]) {
    if weights.iter().all(|weight| *weight != 0.0) {
        return;
    }
    for (at, _) in weights.indexed_iter().filter(|(_, weight)| **weight == 0.0) {
        for channel in 0..values.dim().0 {
            values[[channel, at.0, at.1]] = if channel == 0 { background } else { others };
        }
    }
}
