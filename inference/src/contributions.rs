//! What each column of a row contributed to its answer: exact Shapley values of a forest.
//!
//! Interventional: a column that is left out has the values of the package's own self-test rows. The base is the
//! mean answer over those rows, and the contributions of a row add up to its answer less the base. Columns are those
//! that the graph is given, derived ones among them.

use ndarray::ArrayD;

use crate::{
    error::InferenceError,
    findings::Outcome,
    forest::{Additive, Scale},
    model::Model,
    npy,
    package::{Activation, TabularSpec, Task},
    predict::{ready, selected},
};

/// So many rows of the self-test stand for a column that is left out.
const BACKGROUND_ROWS_MAX: usize = 100;

/// What the columns of one row contributed.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    pub scale: Scale,
    /// The mean over the rows that stand for a column that is left out.
    pub base: f64,
    /// The answer; in log-odds for boosted trees.
    pub value: f64,
    /// By column of the graph, in its order.
    pub columns: Vec<(String, f64)>,
}

/// Why contributions cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NotExplained {
    #[error("{0}")]
    Unsuitable(String),
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

/// What is made once for a model: how its answer is put together, and the rows that stand for others.
#[derive(Debug)]
pub(crate) struct Explainer {
    additive: Additive,
    scale: Scale,
    background: Vec<f64>,
}

impl Model {
    /// The contributions to the answer of each row of the package's features, in its order; none for a row that
    /// is not analysed.
    ///
    /// # Errors
    /// When the model is no forest whose answer is a sum over its trees.
    pub fn contributions(&self, rows: Vec<Vec<f64>>) -> Result<Vec<Outcome<Contributions>>, NotExplained> {
        let Task::Tabular(table) = &self.package().task else {
            return Err(self.wrong_task("rows").into());
        };
        let explainer = self.explainer(table).map_err(NotExplained::Unsuitable)?;
        rows.into_iter().map(|values| self.explained(table, explainer, values)).collect()
    }

    fn explained(
        &self,
        table: &TabularSpec,
        explainer: &Explainer,
        values: Vec<f64>,
    ) -> Result<Outcome<Contributions>, NotExplained> {
        let row = match ready(table, values) {
            Ok((row, _)) => row,
            Err(reason) => return Ok(Outcome::NotAnalysed { reason }),
        };
        let forest = self.only_forest().map_err(NotExplained::Unsuitable)?;
        let effects = forest.effects(&explainer.additive, &row, &explainer.background);
        let effects = effects.and_then(|mut all| all.pop());
        let effects =
            effects.ok_or_else(|| NotExplained::Unsuitable("the row cannot be computed".to_owned()))?;
        Ok(Outcome::Findings(Contributions {
            scale: explainer.scale,
            base: effects.base,
            value: effects.value,
            columns: table.selected.iter().cloned().zip(effects.columns).collect(),
        }))
    }

    /// Made when somebody first asks.
    fn explainer(&self, table: &TabularSpec) -> Result<&Explainer, String> {
        let made = self.explainer_cell().get_or_init(|| self.make_explainer(table));
        made.as_ref().map_err(Clone::clone)
    }

    fn make_explainer(&self, table: &TabularSpec) -> Result<Explainer, String> {
        let id = &self.package().id;
        let additive =
            self.only_forest()?.additive().map_err(|reason| format!("{id} is not explained: {reason}"))?;
        let scale = match (table.activation, additive.scale) {
            (Activation::None, scale) => scale,
            (Activation::Sigmoid, Scale::Probability) => Scale::LogOdds,
            (Activation::Sigmoid | Activation::Softmax, _) => {
                return Err(format!("{id} is not explained: its answer is not a sum over its trees"));
            }
        };
        Ok(Explainer { additive, scale, background: self.background(table)? })
    }

    fn background(&self, table: &TabularSpec) -> Result<Vec<f64>, String> {
        let file = self.package().dir.join(&self.package().self_test.input);
        let rows: ArrayD<f64> = npy::read(&file).map_err(|error| error.to_string())?;
        let rows = rows.outer_iter().take(BACKGROUND_ROWS_MAX);
        let rows: Vec<f64> = rows.flat_map(|row| selected(table, row.iter().copied().collect())).collect();
        if rows.is_empty() { Err("the self-test of the package has no rows".to_owned()) } else { Ok(rows) }
    }
}
