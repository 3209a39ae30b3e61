//! Rows of numbers in, probabilities out: tabular models and fusions.
//!
//! Derivation is float64 throughout; the graph gets the width that it declares. What is
//! given for a name that the package does not know is ignored.

use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};

use crate::{
    error::InferenceError,
    findings::{ClassificationFindings, Findings, Outcome, Prediction, SegmentationFindings},
    model::Model,
    package::{Activation, FusionFeature, Measure, Missing, ModelId, Outside, Part, TabularSpec, Task},
};

/// The values of one row by feature name. Absent and NaN mean missing.
pub type Row = BTreeMap<String, f64>;

/// What is odd about a row is listed so far of each kind; then it is only counted.
const LISTED_MAX: usize = 10;

/// A row that the graph can be given, or why not.
pub(crate) type Ready = Result<(Vec<f64>, Vec<String>), String>;

impl Model {
    /// Answers each row, in order.
    ///
    /// # Errors
    /// When the model is not tabular, or the graph does not do what its package says.
    pub fn predict(&self, rows: &[Row]) -> Result<Vec<Outcome<Prediction>>, InferenceError> {
        let Task::Tabular(table) = &self.package().task else { return Err(self.wrong_task("rows")) };
        let value = |row: &Row, name: &String| row.get(name).copied().unwrap_or(f64::NAN);
        let ordered = |row: &Row| table.features.iter().map(|feature| value(row, &feature.name)).collect();
        self.predict_ordered(rows.iter().map(ordered).collect())
    }

    /// Answers rows that hold a value for each of the package's features, in its order. NaN means missing.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn predict_ordered(&self, rows: Vec<Vec<f64>>) -> Result<Vec<Outcome<Prediction>>, InferenceError> {
        let Task::Tabular(table) = &self.package().task else { return Err(self.wrong_task("rows")) };
        self.answer(table, rows.into_iter().map(|values| ready(table, values)).collect())
    }

    /// Answers one row whose first features are other models' findings, by the ids that the package uses.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn fuse(
        &self,
        findings: &BTreeMap<ModelId, Findings>,
        row: &Row,
    ) -> Result<Outcome<Prediction>, InferenceError> {
        let Task::Fusion(fusion) = &self.package().task else { return Err(self.wrong_task("fusion")) };
        let mut values = Vec::new();
        for part in &fusion.parts {
            match part_value(part, findings.get(&part.model)) {
                Ok(value) => values.push(value),
                Err(reason) => return Ok(Outcome::NotAnalysed { reason }),
            }
        }
        let stated = &fusion.table.features[fusion.parts.len()..];
        values.extend(stated.iter().map(|feature| row.get(&feature.name).copied().unwrap_or(f64::NAN)));
        let mut answers = self.answer(&fusion.table, vec![ready(&fusion.table, values)])?;
        Ok(answers.pop().expect("one row has one answer"))
    }

    /// The probabilities of rows of all features in the package's order, for the self-test.
    pub(crate) fn probabilities(
        &self,
        table: &TabularSpec,
        rows: &[Vec<f64>],
    ) -> Result<Vec<f64>, InferenceError> {
        let select = |row: &Vec<f64>| selected(table, row.clone());
        self.run_table(table, &rows.iter().map(select).collect::<Vec<_>>())
    }

    /// The same, computed by ONNX Runtime whatever the graph is.
    pub(crate) fn probabilities_in_sessions(
        &self,
        table: &TabularSpec,
        rows: &[Vec<f64>],
    ) -> Result<Vec<f64>, InferenceError> {
        let rows = rows.iter().map(|row| selected(table, row.clone())).collect::<Vec<_>>();
        let Some(tensor) = tensor(table, &rows) else { return Ok(Vec::new()) };
        let output = self.run_rows_in_sessions(&table.input_tensor, &tensor, &table.output_tensor)?;
        positives(table, &output, rows.len())
    }

    fn answer(
        &self,
        table: &TabularSpec,
        rows: Vec<Ready>,
    ) -> Result<Vec<Outcome<Prediction>>, InferenceError> {
        let mut complete = Vec::with_capacity(rows.len());
        let described = rows.into_iter().map(|row| {
            row.map(|(values, warnings)| {
                complete.push(values);
                warnings
            })
        });
        let described = described.collect::<Vec<_>>();
        let mut probabilities = self.run_table(table, &complete)?.into_iter();
        let answer = |row: Result<Vec<String>, String>| match row {
            Err(reason) => Outcome::NotAnalysed { reason },
            Ok(warnings) => {
                let probability = probabilities.next().expect("each complete row has a probability");
                let label = u8::from(probability >= table.threshold);
                Outcome::Findings(Prediction { probability, label, threshold: table.threshold, warnings })
            }
        };
        Ok(described.into_iter().map(answer).collect())
    }

    /// Runs selected columns and takes the positive class of each row.
    fn run_table(&self, table: &TabularSpec, rows: &[Vec<f64>]) -> Result<Vec<f64>, InferenceError> {
        let Some(tensor) = tensor(table, rows) else { return Ok(Vec::new()) };
        let output = self.run_rows(&table.input_tensor, &tensor, &table.output_tensor)?;
        positives(table, &output, rows.len())
    }
}

/// Rows of the selected columns as the graph takes them; a graph is not run on none.
fn tensor(table: &TabularSpec, rows: &[Vec<f64>]) -> Option<ArrayD<f64>> {
    let shape = IxDyn(&[rows.len(), table.selected.len()]);
    let tensor = ArrayD::from_shape_vec(shape, rows.concat()).expect("each row holds the selected columns");
    (!rows.is_empty()).then_some(tensor)
}

/// The selected columns of a row of features, as the package says, with what is odd about it.
pub(crate) fn ready(table: &TabularSpec, values: Vec<f64>) -> Ready {
    let mut warnings = Warnings::default();
    let mut row = Vec::with_capacity(values.len());
    for (feature, value) in table.features.iter().zip(values) {
        let value = match (value.is_nan(), feature.missing) {
            (false, _) => value,
            (true, Missing::Refuse) => return Err(format!("{} is missing", feature.name)),
            (true, Missing::Nan) => {
                warnings.missing(|| format!("{} is missing", feature.name));
                row.push(f64::NAN);
                continue;
            }
            (true, Missing::Value(instead)) => {
                warnings.missing(|| format!("{} is missing, {instead} stands for it", feature.name));
                row.push(instead);
                continue;
            }
        };
        let range = feature.range.filter(|range| !range.contains(value));
        if let Some(range) = range {
            let problem = || {
                let words = format!("{} is {value} {}", feature.name, feature.unit);
                format!("{}, the model is made for {range}", words.trim_end())
            };
            match table.outside {
                Outside::Warn => warnings.outside(problem),
                Outside::Refuse => return Err(problem()),
            }
        }
        row.push(value);
    }
    Ok((selected(table, row), warnings.told()))
}

/// What is odd about a row: the first of each kind in words, the others as numbers. A row that
/// leaves out hundreds of values says so in a few lines.
#[derive(Default)]
struct Warnings {
    listed: Vec<String>,
    missing: usize,
    outside: usize,
}

impl Warnings {
    fn missing(&mut self, words: impl FnOnce() -> String) {
        self.missing += 1;
        if self.missing <= LISTED_MAX {
            self.listed.push(words());
        }
    }

    fn outside(&mut self, words: impl FnOnce() -> String) {
        self.outside += 1;
        if self.outside <= LISTED_MAX {
            self.listed.push(words());
        }
    }

    fn told(mut self) -> Vec<String> {
        let more = |count: usize| count.checked_sub(LISTED_MAX).filter(|more| *more > 0);
        self.listed.extend(more(self.missing).map(|more| format!("and {more} more are missing")));
        self.listed.extend(more(self.outside).map(|more| format!("and {more} more are outside their range")));
        self.listed
    }
}

/// Adds the derived features and picks the graph's columns.
pub(crate) fn selected(table: &TabularSpec, mut row: Vec<f64>) -> Vec<f64> {
    for derived in &table.derived {
        row.push(derived.expression.evaluate(&row));
    }
    table.columns.iter().map(|column| row[*column]).collect()
}

fn positives(table: &TabularSpec, output: &ArrayD<f64>, rows: usize) -> Result<Vec<f64>, InferenceError> {
    let width = match output.shape() {
        [count] if *count == rows => 1,
        [count, width] if *count == rows && *width > 0 => *width,
        found => return Err(InferenceError::OutputShape { found: found.to_vec(), expected: vec![rows, 1] }),
    };
    let column = table.output_column.unwrap_or(width - 1);
    if column >= width {
        return Err(InferenceError::OutputShape {
            found: vec![rows, width],
            expected: vec![rows, column + 1],
        });
    }
    let numbers = output.iter().copied().collect::<Vec<_>>();
    let probabilities =
        numbers.chunks(width).map(|row| probability(table.activation, row, column)).collect::<Vec<_>>();
    if probabilities.iter().all(|probability| probability.is_finite()) {
        Ok(probabilities)
    } else {
        Err(InferenceError::NotFinite)
    }
}

fn probability(activation: Activation, row: &[f64], column: usize) -> f64 {
    match activation {
        Activation::None => row[column],
        Activation::Sigmoid => 1.0 / (1.0 + (-row[column]).exp()),
        Activation::Softmax => {
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum = row.iter().map(|score| (score - highest).exp()).sum::<f64>();
            (row[column] - highest).exp() / sum
        }
    }
}

/// What a fusion takes from another model's findings, or why it cannot.
fn part_value(part: &FusionFeature, findings: Option<&Findings>) -> Result<f64, String> {
    let found = findings
        .ok_or_else(|| format!("{} needs the findings of {}, there are none", part.name, part.model))?;
    let other = || format!("{} does not fit the findings of {}", part.name, part.model);
    match (&part.part, found) {
        (Part::Segment(name), Findings::Segmentation(found)) => segment_value(part, name, found),
        (Part::Class(name), Findings::Classification(found)) => class_value(part, name, found),
        (Part::Row, Findings::Tabular(found)) => Ok(found.probability),
        _ => Err(other()),
    }
}

fn segment_value(part: &FusionFeature, name: &str, found: &SegmentationFindings) -> Result<f64, String> {
    let segment = found.segments.iter().find(|segment| segment.name == name);
    let segment = segment.ok_or_else(|| format!("{} has no segment \"{name}\"", part.model))?;
    match (segment.measures, part.measure) {
        (Some(_), Measure::Present) => Ok(1.0),
        (Some(measures), Measure::VolumeMl) => Ok(measures.volume_ml),
        (Some(measures), Measure::LongestDiameterMm) => Ok(measures.longest_diameter.length_mm),
        (Some(measures), Measure::PerpendicularMm) => Ok(measures.perpendicular_diameter.length_mm),
        (Some(measures), Measure::Mean) => Ok(measures.mean),
        (
            None,
            Measure::Present | Measure::VolumeMl | Measure::LongestDiameterMm | Measure::PerpendicularMm,
        ) => Ok(0.0),
        (None, Measure::Mean) => Err(format!("{} needs \"{name}\", which was not found", part.name)),
        (_, Measure::Probability) => Err(format!("{}: a segment has no probability", part.name)),
    }
}

fn class_value(part: &FusionFeature, name: &str, found: &ClassificationFindings) -> Result<f64, String> {
    let class = found.classes.iter().find(|class| class.name == name);
    class.map(|class| class.probability).ok_or_else(|| format!("{} has no class \"{name}\"", part.model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_leaves_out_hundreds_of_values_says_so_in_a_few_lines() {
        let mut warnings = Warnings::default();
        for number in 0..320 {
            warnings.missing(|| format!("gene_{number} is missing"));
        }
        warnings.outside(|| "age is 165".to_owned());
        let told = warnings.told();
        assert_eq!(told.len(), LISTED_MAX + 2);
        assert_eq!(told[LISTED_MAX - 1], "gene_9 is missing");
        // One kind does not crowd out the other.
        assert_eq!(told[LISTED_MAX..], ["age is 165", "and 310 more are missing"]);
    }

    #[test]
    fn few_warnings_are_all_told() {
        let mut warnings = Warnings::default();
        for number in 0..LISTED_MAX {
            warnings.outside(|| number.to_string());
        }
        assert_eq!(warnings.told().len(), LISTED_MAX);
    }
}
