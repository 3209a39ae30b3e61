//! Where a classification looked: Grad-CAM from the graph's own outputs, or occlusion.
//!
//! Grad-CAM: each feature map is weighed with the mean derivative of the class score by
//! it; the sum is rectified, divided by its maximum and enlarged to the tensor.
//! Occlusion: how much the class loses when a patch is covered.

use ndarray::{Array1, Array3, ArrayD, Axis, Ix2};

use crate::{
    control::Control,
    error::InferenceError,
    image::placement::Tap,
    model::Model,
    package::{CamWeights, Classification, Explain},
};

impl Model {
    /// The relevance of each voxel of `tensor` for `class`, 0 … 1, in the tensor's order; depth 1 for a slice.
    pub(crate) fn explain(
        &self,
        spec: &Classification,
        explain: &Explain,
        tensor: &ArrayD<f32>,
        class: usize,
        control: &Control<'_>,
    ) -> Result<Array3<f32>, InferenceError> {
        let sides = sides(tensor.shape());
        match explain {
            Explain::GradCam { features, weights } => {
                let name = match weights {
                    CamWeights::Gradients(name) | CamWeights::HeadWeights(name) => name,
                };
                let _turn = self.gate().enter(control.urgency);
                let outputs = self.first_graph().run_many(
                    &spec.input.tensor,
                    tensor.view(),
                    &[features.as_str(), name.as_str()],
                )?;
                let cam = grad_cam(&outputs[0], weights, &outputs[1], class)?;
                Ok(enlarged(&scaled(cam), sides))
            }
            Explain::Occlusion { patch, stride, fill } => {
                let covered = |tensor: &ArrayD<f32>| {
                    control.checkpoint()?;
                    Ok(self.piece_probabilities(spec, tensor, control)?[class])
                };
                occlusion(tensor, [*patch, *stride], *fill, covered).map(scaled)
            }
        }
    }
}

/// Depth, rows and columns of (1, channels, …).
fn sides(shape: &[usize]) -> [usize; 3] {
    match shape {
        [.., rows, columns] if shape.len() == 4 => [1, *rows, *columns],
        [.., depth, rows, columns] => [*depth, *rows, *columns],
        _ => [1, 1, 1],
    }
}

fn grad_cam(
    features: &ArrayD<f32>,
    kind: &CamWeights,
    weights: &ArrayD<f32>,
    class: usize,
) -> Result<Array3<f32>, InferenceError> {
    let wrong = |found: &ArrayD<f32>, expected: Vec<usize>| {
        Err(InferenceError::OutputShape { found: found.shape().to_vec(), expected })
    };
    if !matches!(features.ndim(), 4 | 5) || features.shape()[0] != 1 {
        return wrong(features, vec![1, 0, 0, 0]);
    }
    let maps = features.shape()[1];
    let alphas = match kind {
        CamWeights::HeadWeights(_) => match weights.view().into_dimensionality::<Ix2>() {
            Ok(head) if head.dim().1 == maps && class < head.dim().0 => head.row(class).to_owned(),
            _ => return wrong(weights, vec![class + 1, maps]),
        },
        CamWeights::Gradients(_) => {
            let fits = weights.ndim() == features.ndim() + 1
                && weights.shape()[0] == 1
                && class < weights.shape()[1]
                && weights.shape()[2..] == features.shape()[1..];
            if !fits {
                return wrong(weights, [&[1, class + 1], &features.shape()[1..]].concat());
            }
            let of_class = weights.index_axis(Axis(0), 0).index_axis_move(Axis(0), class);
            of_class
                .outer_iter()
                .map(|map| map.iter().sum::<f32>() / map.len() as f32)
                .collect::<Array1<f32>>()
        }
    };
    let [depth, rows, columns] = sides(features.shape());
    let mut cam = Array3::zeros([depth, rows, columns]);
    for (map, alpha) in features.index_axis(Axis(0), 0).outer_iter().zip(&alphas) {
        for (sum, value) in cam.iter_mut().zip(map.iter()) {
            *sum += alpha * value;
        }
    }
    Ok(cam)
}

/// Rectified and divided by the maximum; nothing stays nothing.
fn scaled(mut cam: Array3<f32>) -> Array3<f32> {
    let highest = cam.iter().copied().fold(0.0, f32::max);
    cam.mapv_inplace(|value| if highest > 0.0 { value.max(0.0) / highest } else { 0.0 });
    cam
}

/// Linear between pixel centres; PyTorch's `align_corners=False`.
fn enlarged(cam: &Array3<f32>, sides: [usize; 3]) -> Array3<f32> {
    let taps = [0, 1, 2].map(|axis| {
        let (small, large) = (cam.shape()[axis], sides[axis]);
        let tap = |index: usize| {
            let at = (index as f64 + 0.5) * small as f64 / large as f64 - 0.5;
            Tap::new(at.clamp(0.0, (small - 1) as f64), small - 1)
        };
        (0..large).map(tap).collect::<Vec<_>>()
    });
    Array3::from_shape_fn(sides, |(a, b, c)| sampled(cam, [taps[0][a], taps[1][b], taps[2][c]]))
}

/// The linear mean of up to eight voxels.
pub(crate) fn sampled(cam: &Array3<f32>, [a, b, c]: [Tap; 3]) -> f32 {
    let between = |low: f64, high: f64, weight: f64| low + (high - low) * weight;
    let line =
        |x: usize, y: usize| between(f64::from(cam[[x, y, c.low]]), f64::from(cam[[x, y, c.high]]), c.weight);
    let face = |x: usize| between(line(x, b.low), line(x, b.high), b.weight);
    between(face(a.low), face(a.high), a.weight) as f32
}

/// The mean loss of probability over the patches that cover each pixel.
fn occlusion(
    tensor: &ArrayD<f32>,
    [patch, stride]: [usize; 2],
    fill: f32,
    probability: impl Fn(&ArrayD<f32>) -> Result<f64, InferenceError>,
) -> Result<Array3<f32>, InferenceError> {
    let [depth, rows, columns] = sides(tensor.shape());
    let whole = probability(tensor)?;
    let mut losses = Array3::<f32>::zeros([depth, rows, columns]);
    let mut counts = Array3::<f32>::zeros([depth, rows, columns]);
    let last = tensor.ndim() - 1;
    for row in (0..rows).step_by(stride) {
        for column in (0..columns).step_by(stride) {
            let (down, right) = (row..(row + patch).min(rows), column..(column + patch).min(columns));
            let mut covered = tensor.clone();
            covered
                .slice_each_axis_mut(|axis| {
                    if axis.axis.index() == last {
                        right.clone().into()
                    } else if axis.axis.index() == last - 1 {
                        down.clone().into()
                    } else {
                        (..).into()
                    }
                })
                .fill(fill);
            let loss = (whole - probability(&covered)?) as f32;
            let at = ndarray::s![.., down, right];
            losses.slice_mut(at).mapv_inplace(|sum| sum + loss);
            counts.slice_mut(at).mapv_inplace(|count| count + 1.0);
        }
    }
    ndarray::Zip::from(&mut losses).and(&counts).for_each(|loss, count| *loss /= count.max(1.0));
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use ndarray::IxDyn;

    use super::*;

    fn array(shape: &[usize], numbers: &[f32]) -> ArrayD<f32> {
        ArrayD::from_shape_vec(IxDyn(shape), numbers.to_vec()).unwrap()
    }

    #[test]
    fn gradients_and_head_weights_give_the_same_picture() {
        let features = array(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0]);
        let head = array(&[2, 2], &[0.0, 0.0, 1.0, -0.5]);
        // Of a mean over 4 pixels: weight / 4 everywhere.
        let gradients = array(
            &[1, 2, 2, 2, 2],
            &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25, -0.125, -0.125, -0.125, -0.125],
        );
        let by_head = scaled(grad_cam(&features, &CamWeights::HeadWeights(String::new()), &head, 1).unwrap());
        let by_gradient =
            scaled(grad_cam(&features, &CamWeights::Gradients(String::new()), &gradients, 1).unwrap());
        assert_eq!(by_head, by_gradient);
        assert_eq!(by_head.iter().copied().collect::<Vec<_>>(), [0.0, 0.5 / 3.5, 2.0 / 3.5, 1.0]);
    }

    #[test]
    fn enlarging_keeps_pixel_centres() {
        let cam = Array3::from_shape_vec((1, 1, 2), vec![0.0, 1.0]).unwrap();
        let large = enlarged(&cam, [1, 1, 4]);
        assert_eq!(large.iter().copied().collect::<Vec<_>>(), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn occlusion_finds_the_pixel_that_counts() {
        let tensor = array(&[1, 1, 4, 4], &[0.0; 16]);
        let mut tensor = tensor;
        tensor[[0, 0, 2, 1]] = 1.0;
        let losses = occlusion(&tensor, [1, 1], 0.0, |tensor| Ok(f64::from(tensor[[0, 0, 2, 1]]))).unwrap();
        let hot =
            losses.indexed_iter().filter(|(_, loss)| **loss > 0.0).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(hot, [(0, 2, 1)]);
    }
}
