//! Classification: a series in, probabilities and where the model looked out.

use imaging::Volume;
use ndarray::{Array3, ArrayD, Ix2};

use crate::{
    control::Control,
    deidentified::Deidentified,
    error::InferenceError,
    explain,
    findings::{ClassFinding, ClassificationFindings, Classified, Heatmap, Outcome},
    image::{
        intensity,
        placement::{self, AxisMap},
        resample,
    },
    model::Model,
    package::{self, Activation, Layout, SeriesRule, Task},
    series,
    slices::SliceTensors,
    sliding::WindowModel,
};

/// What the graph is given, piece by piece.
enum Pieces<'a> {
    Slices(SliceTensors<'a>),
    Whole(ArrayD<f32>),
}

impl Pieces<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Slices(slices) => slices.count(),
            Self::Whole(_) => 1,
        }
    }

    fn tensor(&self, piece: usize) -> ArrayD<f32> {
        match self {
            Self::Slices(slices) => slices.tensor(piece),
            Self::Whole(tensor) => tensor.clone(),
        }
    }
}

impl Model {
    /// Classifies one study: a volume for each channel of the package, in its order.
    ///
    /// # Errors
    /// When the model is no classification, the run is cancelled, or the graph does not do what its package says.
    pub fn classify(
        &self,
        channels: Vec<Deidentified<Volume>>,
        control: &Control<'_>,
    ) -> Result<Outcome<Classified>, InferenceError> {
        let Task::Classification(spec) = &self.package().task else {
            return Err(self.wrong_task("classification"));
        };
        match series::prepare(&spec.input, &self.package().fitness, channels)? {
            Ok(channels) => self.classify_prepared(spec, channels.volumes(), control).map(Outcome::Findings),
            Err(reason) => Ok(Outcome::NotAnalysed { reason }),
        }
    }

    fn classify_prepared(
        &self,
        spec: &package::Classification,
        volumes: &[Volume],
        control: &Control<'_>,
    ) -> Result<Classified, InferenceError> {
        let axes = placement::place(&spec.input, &volumes[0].grid);
        let pieces = match spec.input.layout {
            Layout::Slices { .. } => Pieces::Slices(SliceTensors::new(&spec.input, volumes, &axes)),
            Layout::Volume => Pieces::Whole(whole(spec, volumes, &axes)),
        };
        let chosen = match spec.output.series_rule {
            SeriesRule::Middle => pieces.count() / 2..pieces.count() / 2 + 1,
            SeriesRule::Mean | SeriesRule::Max | SeriesRule::MostConfident | SeriesRule::Vote => {
                0..pieces.count()
            }
        };
        let mut probabilities = Vec::new();
        for piece in chosen.clone() {
            control.checkpoint()?;
            probabilities.push(self.piece_probabilities(spec, &pieces.tensor(piece), control)?);
            (control.progress)(probabilities.len() as f32 / chosen.len() as f32);
        }
        let normal = spec.output.classes.iter().map(|class| class.normal).collect::<Vec<_>>();
        let (series, winner, key) = of_series(spec.output.series_rule, &probabilities, &normal);
        let key_piece = chosen.start + key;
        let heatmap = match &spec.explain {
            Some(explain) => {
                let cam = self.explain(spec, explain, &pieces.tensor(key_piece), winner, control)?;
                Some(heatmap(&cam, spec.input.layout, &axes, volumes[0].grid.dims, key_piece))
            }
            None => None,
        };
        let classes = spec.output.classes.iter().zip(series).map(|(class, probability)| ClassFinding {
            name: class.name.clone(),
            code: class.code.clone(),
            normal: class.normal,
            probability,
        });
        let key_slice =
            key_slice(&axes, spec.input.layout, key_piece, heatmap.as_ref(), volumes[0].grid.dims[2]);
        Ok(Classified {
            findings: ClassificationFindings { classes: classes.collect(), winner, key_slice },
            heatmap,
        })
    }

    /// The probabilities of one piece.
    pub(crate) fn piece_probabilities(
        &self,
        spec: &package::Classification,
        tensor: &ArrayD<f32>,
        control: &Control<'_>,
    ) -> Result<Vec<f64>, InferenceError> {
        let classes = spec.output.classes.len();
        let mut probabilities = Vec::new();
        self.run(tensor.view(), control, &mut |output| {
            let found = output.shape().to_vec();
            let scores =
                output.into_dimensionality::<Ix2>().ok().filter(|scores| scores.dim() == (1, classes));
            let scores =
                scores.ok_or_else(|| InferenceError::OutputShape { found, expected: vec![1, classes] })?;
            probabilities =
                activated(spec.output.activation, scores.iter().map(|score| f64::from(*score)).collect());
            Ok(())
        })?;
        if probabilities.iter().all(|probability| probability.is_finite()) {
            Ok(probabilities)
        } else {
            Err(InferenceError::NotFinite)
        }
    }
}

fn whole(spec: &package::Classification, volumes: &[Volume], axes: &[AxisMap; 3]) -> ArrayD<f32> {
    let mut numbers = Vec::new();
    for (place, (volume, channel)) in volumes.iter().zip(&spec.input.channels).enumerate() {
        let mut image = if place == 0 {
            resample::sample(&volume.voxels, axes)
        } else {
            resample::sample_registered(volume, &volumes[0].grid, axes)
        };
        intensity::apply(
            &channel.intensity,
            image.as_slice_mut().expect("images are made in standard layout"),
        );
        numbers.extend(image);
    }
    crate::graph::tensor(&[1, volumes.len(), axes[0].len, axes[1].len, axes[2].len], numbers)
}

fn activated(activation: Activation, mut scores: Vec<f64>) -> Vec<f64> {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => scores.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
        Activation::Softmax => {
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
            let sum = scores.iter().sum::<f64>();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
    }
    scores
}

/// The place of the highest value, the first of equals.
fn highest(values: &[f64]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

/// The series' probabilities, the winning class, and the piece that speaks most for it.
fn of_series(rule: SeriesRule, pieces: &[Vec<f64>], normal: &[bool]) -> (Vec<f64>, usize, usize) {
    let classes = normal.len();
    let column = |class: usize| pieces.iter().map(|piece| piece[class]).collect::<Vec<_>>();
    let series = match rule {
        SeriesRule::Mean => {
            (0..classes).map(|class| column(class).iter().sum::<f64>() / pieces.len() as f64).collect()
        }
        SeriesRule::Max => {
            normalised((0..classes).map(|class| column(class).into_iter().fold(0.0, f64::max)).collect())
        }
        SeriesRule::Vote => {
            let votes = |class: usize| pieces.iter().filter(|piece| highest(piece) == class).count();
            (0..classes).map(|class| votes(class) as f64 / pieces.len() as f64).collect()
        }
        SeriesRule::MostConfident => {
            let abnormal = |piece: &Vec<f64>| {
                piece
                    .iter()
                    .zip(normal)
                    .filter(|(_, normal)| !**normal)
                    .map(|(value, _)| *value)
                    .fold(0.0, f64::max)
            };
            pieces[highest(&pieces.iter().map(abnormal).collect::<Vec<_>>())].clone()
        }
        SeriesRule::Middle => pieces[0].clone(),
    };
    let winner = highest(&series);
    (series, winner, highest(&column(winner)))
}

fn normalised(values: Vec<f64>) -> Vec<f64> {
    let sum = values.iter().sum::<f64>();
    if sum > 0.0 { values.into_iter().map(|value| value / sum).collect() } else { values }
}

/// The relevance of the piece's tensor on the source grid.
fn heatmap(
    cam: &Array3<f32>,
    layout: Layout,
    axes: &[AxisMap; 3],
    dims: [usize; 3],
    piece: usize,
) -> Heatmap {
    let mut taps = [axes[0].tensor_taps(), axes[1].tensor_taps(), axes[2].tensor_taps()];
    let one_slice = matches!(layout, Layout::Slices { .. });
    if one_slice {
        // The piece is one plane: only the source slice that it was made of takes part.
        let source = axes[0].source(piece).round() as usize;
        for (slice, tap) in taps[0].iter_mut().enumerate() {
            *tap = (slice == source).then_some(placement::Tap { low: 0, high: 0, weight: 0.0 });
        }
    }
    let mut values = Array3::zeros([dims[2], dims[1], dims[0]]);
    let [slow, middle, fast] = axes.map(|axis| 2 - axis.source_axis);
    for (at, value) in values.view_mut().permuted_axes([slow, middle, fast]).indexed_iter_mut() {
        if let (Some(a), Some(b), Some(c)) = (taps[0][at.0], taps[1][at.1], taps[2][at.2]) {
            *value = explain::sampled(cam, [a, b, c]);
        }
    }
    if one_slice && axes[0].source_axis == 2 {
        let first_slice = axes[0].source(piece).round() as usize;
        let values = values.slice(ndarray::s![first_slice..=first_slice, .., ..]).to_owned();
        return Heatmap { first_slice, values };
    }
    Heatmap { first_slice: 0, values }
}

/// The source slice to show: the piece's own, else where the heat is, else the middle.
fn key_slice(
    axes: &[AxisMap; 3],
    layout: Layout,
    piece: usize,
    heat: Option<&Heatmap>,
    slices: usize,
) -> usize {
    if matches!(layout, Layout::Slices { .. }) && axes[0].source_axis == 2 {
        return axes[0].source(piece).round() as usize;
    }
    let Some(heat) = heat else { return slices / 2 };
    let sums = heat
        .values
        .outer_iter()
        .map(|slice| slice.iter().map(|value| f64::from(*value)).sum())
        .collect::<Vec<f64>>();
    heat.first_slice + highest(&sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: SeriesRule, expected: &[f64], winner: usize, key: usize) {
        let pieces = [vec![0.9, 0.1, 0.0], vec![0.2, 0.7, 0.1], vec![0.5, 0.1, 0.4]];
        let (series, found_winner, found_key) = of_series(rule, &pieces, &[true, false, false]);
        for (found, expected) in series.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{series:?}");
        }
        assert_eq!((found_winner, found_key), (winner, key));
    }

    #[test]
    fn each_rule_brings_slices_to_the_series_as_documented() {
        check(SeriesRule::Mean, &[1.6 / 3.0, 0.3, 0.5 / 3.0], 0, 0);
        check(SeriesRule::Max, &[0.45, 0.35, 0.2], 0, 0);
        check(SeriesRule::Vote, &[2.0 / 3.0, 1.0 / 3.0, 0.0], 0, 0);
        check(SeriesRule::MostConfident, &[0.2, 0.7, 0.1], 1, 1);
    }

    #[test]
    fn softmax_stands_large_scores() {
        assert_eq!(activated(Activation::Softmax, vec![1000.0, 0.0]), [1.0, 0.0]);
        assert_eq!(activated(Activation::Sigmoid, vec![0.0]), [0.5]);
    }
}
