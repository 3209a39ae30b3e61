//! Proves that weights and runtime give the numbers that they gave where the model was made.

use std::path::PathBuf;

use ndarray::{ArrayD, IxDyn};

use crate::{
    error::InferenceError,
    model::{Model, ports},
    npy::{self, NpyError},
    package::{ImageInput, Layout, TabularSpec, Task},
};

/// A side of the input that is made up where neither package nor graph gives one.
const SIDE_DEFAULT: usize = 64;
/// Rows that are made up for a tabular model.
const ROWS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    #[error("{} is missing: the self-test needs it (`overread model check --record` can write it)", .0.display())]
    Missing(PathBuf),
    #[error(transparent)]
    File(#[from] NpyError),
    #[error("the self-test could not be run")]
    Run(#[from] InferenceError),
    #[error("the self-test's input has the shape {found:?}: expected {expected}")]
    Input { found: Vec<usize>, expected: String },
    #[error("the self-test gave the shape {found:?}: {expected:?} was expected")]
    Shape { found: Vec<usize>, expected: Vec<usize> },
    #[error(
        "the trees computed in process differ from ONNX Runtime in row {row} of the self-test: please report it"
    )]
    NotTheSameBits { row: usize },
    #[error("the self-test failed: the output is off by {difference:e} at {at:?}, {tolerance:e} is allowed")]
    Differs { difference: f64, at: Vec<usize>, tolerance: f64 },
}

impl Model {
    /// Runs the package's self-test.
    ///
    /// # Errors
    /// When the files cannot be read, the run fails, or the output is not what is expected.
    pub fn self_test(&self) -> Result<(), SelfTestError> {
        let files = &self.package().self_test;
        let dir = &self.package().dir;
        for file in [&files.input, &files.expected].map(|file| dir.join(file)) {
            if !file.is_file() {
                return Err(SelfTestError::Missing(file));
            }
        }
        let input = npy::read(&dir.join(&files.input))?;
        let expected = npy::read(&dir.join(&files.expected))?;
        compare(&self.answer_self_test(&input)?, &expected, files.tolerance)
    }

    /// Writes a seeded input and today's output as the package's self-test, in place of one made elsewhere.
    ///
    /// # Errors
    /// When the run fails or the files cannot be written.
    pub fn record_self_test(&self) -> Result<(), SelfTestError> {
        let input = self.made_up_input();
        let output = self.answer_self_test(&input)?;
        let (dir, files) = (&self.package().dir, &self.package().self_test);
        for file in [&files.input, &files.expected] {
            if let Some(folder) = dir.join(file).parent() {
                let failed = |source| NpyError::Write { path: folder.to_owned(), source };
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
        }
        npy::write_f64(&dir.join(&files.input), &input)?;
        npy::write_f64(&dir.join(&files.expected), &output)?;
        Ok(())
    }

    fn answer_self_test(&self, input: &ArrayD<f64>) -> Result<ArrayD<f64>, SelfTestError> {
        match &self.package().task {
            Task::Segmentation(spec) => self.image_answer(input, &spec.input.tensor, &spec.output.tensor),
            Task::Classification(spec) => self.image_answer(input, &spec.input.tensor, &spec.output.tensor),
            Task::Tabular(table) => self.table_answer(input, table),
            Task::Fusion(fusion) => self.table_answer(input, &fusion.table),
        }
    }

    fn image_answer(&self, input: &ArrayD<f64>, from: &str, to: &str) -> Result<ArrayD<f64>, SelfTestError> {
        let tensor = input.mapv(|value| value as f32);
        let output = self.raw_mean(from, tensor.view(), to)?;
        Ok(output.mapv(f64::from))
    }

    fn table_answer(&self, input: &ArrayD<f64>, table: &TabularSpec) -> Result<ArrayD<f64>, SelfTestError> {
        let columns = table.features.len();
        if input.ndim() != 2 || input.shape()[1] != columns {
            let expected = format!("rows of {columns} features");
            return Err(SelfTestError::Input { found: input.shape().to_vec(), expected });
        }
        let rows = input.outer_iter().map(|row| row.iter().copied().collect()).collect::<Vec<_>>();
        let probabilities = self.probabilities(table, &rows)?;
        // Trees are computed in process on the promise that nobody can tell.
        let in_sessions = self.probabilities_in_sessions(table, &rows)?;
        let differs = |(one, other): (&f64, &f64)| one.to_bits() != other.to_bits();
        if let Some(row) = probabilities.iter().zip(&in_sessions).position(differs) {
            return Err(SelfTestError::NotTheSameBits { row });
        }
        Ok(ArrayD::from_shape_vec(IxDyn(&[rows.len()]), probabilities).expect("each row has a probability"))
    }

    fn made_up_input(&self) -> ArrayD<f64> {
        match &self.package().task {
            Task::Segmentation(spec) => {
                noise(&self.image_shape(&spec.input, spec.window.as_ref().map(|window| window.roi)))
            }
            Task::Classification(spec) => noise(&self.image_shape(&spec.input, None)),
            Task::Tabular(table) => made_up_rows(table),
            Task::Fusion(fusion) => made_up_rows(&fusion.table),
        }
    }

    /// The graph's own shape where it is fixed, else the package's, else a usual one.
    fn image_shape(&self, input: &ImageInput, roi: Option<[usize; 3]>) -> Vec<usize> {
        let wanted = match input.layout {
            Layout::Volume => {
                let sides = ports::in_tensor_order(input, roi.unwrap_or([SIDE_DEFAULT; 3]));
                [vec![1, input.channels.len()], sides.to_vec()].concat()
            }
            Layout::Slices { neighbours, size } => {
                let channels = input.channels.len() * (2 * neighbours + 1);
                [vec![1, channels], size.unwrap_or([SIDE_DEFAULT; 2]).to_vec()].concat()
            }
        };
        let fixed =
            self.first_graph().input(&input.tensor).map(|port| port.shape.clone()).unwrap_or_default();
        let side = |(axis, wanted): (usize, usize)| {
            fixed.get(axis).and_then(|side| usize::try_from(*side).ok()).unwrap_or(wanted)
        };
        wanted.into_iter().enumerate().map(side).collect()
    }
}

fn made_up_rows(table: &TabularSpec) -> ArrayD<f64> {
    let parts = noise(&[ROWS, table.features.len()]);
    let mut rows = parts;
    for (column, feature) in table.features.iter().enumerate() {
        let bounds = feature.range.map(|range| (range.min.unwrap_or(0.0), range.max.unwrap_or(100.0)));
        let (min, max) = bounds.unwrap_or((0.0, 1.0));
        for row in 0..ROWS {
            // The noise lies within ±2.
            let part = (rows[[row, column]] + 2.0) / 4.0;
            rows[[row, column]] = min + part * (max - min);
        }
    }
    rows
}

/// Smooth-tailed numbers within ±2, the same on every machine (SplitMix64; Irwin–Hall of four).
fn noise(shape: &[usize]) -> ArrayD<f64> {
    let mut state = 0x5eed_u64;
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    };
    // Images are float32: what is written must be what is run.
    let number = |_| f64::from(((0..4).map(|_| uniform()).sum::<f64>() - 2.0) as f32);
    ArrayD::from_shape_fn(IxDyn(shape), number)
}

fn compare(found: &ArrayD<f64>, expected: &ArrayD<f64>, tolerance: f64) -> Result<(), SelfTestError> {
    if found.shape() != expected.shape() {
        return Err(SelfTestError::Shape {
            found: found.shape().to_vec(),
            expected: expected.shape().to_vec(),
        });
    }
    let mut worst: Option<(f64, Vec<usize>)> = None;
    for ((at, found), expected) in found.indexed_iter().zip(expected) {
        let difference = if found == expected || (found.is_nan() && expected.is_nan()) {
            0.0
        } else {
            (found - expected).abs()
        };
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        if difference > tolerance && worst.as_ref().is_none_or(|(largest, _)| difference > *largest) {
            worst = Some((difference, ndarray::Dimension::slice(&at).to_vec()));
        }
    }
    match worst {
        None => Ok(()),
        Some((difference, at)) => Err(SelfTestError::Differs { difference, at, tolerance }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(numbers: &[f64]) -> ArrayD<f64> {
        ArrayD::from_shape_vec(IxDyn(&[numbers.len()]), numbers.to_vec()).unwrap()
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_named() {
        assert!(compare(&array(&[1.0, 2.0]), &array(&[1.0, 2.001]), 0.01).is_ok());
        let error = compare(&array(&[1.0, 2.5]), &array(&[1.0, 2.0]), 0.01).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the self-test failed: the output is off by 5e-1 at [1], 1e-2 is allowed"
        );
        assert!(compare(&array(&[f64::NAN]), &array(&[0.0]), 1e9).is_err());
        assert!(compare(&array(&[f64::NAN]), &array(&[f64::NAN]), 0.0).is_ok());
        assert!(compare(&array(&[1.0]), &array(&[1.0, 1.0]), 1.0).is_err());
    }

    #[test]
    fn made_up_input_is_the_same_everywhere() {
        assert_eq!(noise(&[2, 3]), noise(&[2, 3]));
        assert!(noise(&[1000]).iter().all(|number| number.abs() <= 2.0));
    }
}
