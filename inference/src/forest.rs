//! Computes the graphs of tree ensembles in process: the same bits as ONNX Runtime, without its cost for a call.
//!
//! A graph is taken only where every step is known and where the order of additions cannot change a bit: the sum over
//! trees must be exact in float32 whichever way it is added, or each tree must have a column of its own.
//! Everything else between rows and probability is IEEE 754 arithmetic, element by element, in the order
//! that the graph states. One step is not exact by nature: the exponential of boosted trees. It is
//! rounded from float64 to float32, and both libraries' float64 is right to its last place, so that the results
//! differ where a value lies within that of the middle between two float32: one row in some hundred millions.
//!
//! Knows no packages and no sessions. A graph that is not taken says why, and ONNX Runtime runs it.

mod additive;
mod compile;
mod ensemble;
mod masks;
mod steps;
mod walk;

pub(crate) use additive::Additive;
pub use additive::Scale;
use ndarray::{ArrayD, ArrayViewD, IxDyn};

use steps::{Matrix, Numbers, Step};

/// Rows that go through all steps together, so that what lies between is small and stays in the caches.
const BLOCK: usize = 256;

/// Why a graph is left to ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotTaken(String);

impl NotTaken {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Rows of numbers in, rows of numbers out.
#[derive(Debug)]
pub(crate) struct Forest {
    columns: usize,
    /// The graph takes float32: rows are narrowed first.
    narrow: bool,
    steps: Vec<Step>,
    trees: usize,
}

impl Forest {
    /// Understands the ONNX file `bytes` from its one input, which has `columns`, to `output`.
    pub(crate) fn read(bytes: &[u8], input: &Input<'_>, output: &str) -> Result<Self, NotTaken> {
        compile::compile(bytes, input, output)
    }

    pub(crate) fn trees(&self) -> usize {
        self.trees
    }

    /// The output for each row. Nothing when the graph would fail on one: ONNX Runtime then says how.
    pub(crate) fn run(&self, rows: ArrayViewD<'_, f64>) -> Option<ArrayD<f64>> {
        let rows = rows.as_standard_layout();
        if rows.ndim() != 2 || rows.shape()[1] != self.columns {
            return None;
        }
        let count = rows.shape()[0];
        let mut answers = Vec::with_capacity(count);
        for block in rows.as_slice()?.chunks(BLOCK * self.columns) {
            answers.extend(self.run_block(block)?);
        }
        // An empty batch has no width to tell.
        let width = answers.len().checked_div(count).unwrap_or(1);
        ArrayD::from_shape_vec(IxDyn(&[count, width]), answers).ok()
    }

    fn run_block(&self, rows: &[f64]) -> Option<Vec<f64>> {
        let given = if self.narrow {
            Numbers::F32(rows.iter().map(|value| *value as f32).collect())
        } else {
            Numbers::F64(rows.to_vec())
        };
        let mut values = Vec::with_capacity(self.steps.len() + 1);
        values.push(Matrix { width: self.columns, numbers: given });
        for step in &self.steps {
            let next = step.run(&values)?;
            values.push(next);
        }
        match values.pop()?.numbers {
            Numbers::F64(numbers) => Some(numbers),
            Numbers::F32(numbers) => Some(numbers.into_iter().map(f64::from).collect()),
            Numbers::I64(_) | Numbers::Truth(_) => None,
        }
    }
}

/// What the graph is given.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) name: &'a str,
    pub(crate) columns: usize,
    /// float32, else float64.
    pub(crate) narrow: bool,
}

#[cfg(test)]
mod tests;
