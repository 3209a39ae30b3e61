//! Rows of numbers: features with unit and range, derived ones, what the graph gets.

use imaging::Code;

use super::{
    Interval, PackageError, codes,
    manifest::{Field, Section},
    output::{Activation, probability},
};
use crate::expression::Expression;

/// What stands for a value that is not there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Missing {
    Nan,
    /// The row is not analysed.
    Refuse,
    Value(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    pub name: String,
    /// UCUM; empty when none is stated.
    pub unit: String,
    pub description: String,
    pub range: Option<Interval>,
    pub missing: Missing,
}

#[derive(Debug, Clone)]
pub struct Derived {
    pub name: String,
    /// The formula as written.
    pub text: String,
    pub expression: Expression,
}

/// What happens with a value outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Warn,
    Refuse,
}

/// What label 1 means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positive {
    pub name: String,
    pub code: Option<Code>,
}

#[derive(Debug, Clone)]
pub struct TabularSpec {
    pub algorithm: String,
    /// Label 1 where the probability is at least this.
    pub threshold: f64,
    pub outside: Outside,
    /// Findings of other models come first in a fusion, then the stated ones.
    pub features: Vec<Feature>,
    pub derived: Vec<Derived>,
    /// Names of features and derived ones, in the order of the graph's columns.
    pub selected: Vec<String>,
    /// Of each selected one, its place in features followed by derived.
    pub(crate) columns: Vec<usize>,
    pub input_tensor: String,
    pub output_tensor: String,
    pub activation: Activation,
    /// The column of the positive class; none: the last.
    pub output_column: Option<usize>,
    pub positive: Option<Positive>,
}

impl TabularSpec {
    /// `parts` are the features that a fusion takes from other models.
    pub(super) fn read(root: &Section<'_>, parts: &[String]) -> Result<Self, PackageError> {
        let section = root.required("tabular", "a table with `[[tabular.feature]]`")?.section()?;
        let features = features(&section, parts)?;
        let mut names = features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>();
        let derived = derived(&section, &mut names)?;
        let (selected, columns) = selected(&section, &names)?;
        let input = root.required("input", "a table with `tensor`")?.section()?;
        let output = root.required("output", "a table with `tensor`")?.section()?;
        let spec = Self {
            algorithm: section.optional_text("algorithm")?.unwrap_or("ONNX").to_owned(),
            threshold: section.optional("threshold").map_or(Ok(0.5), |field| probability(&field))?,
            outside: section.optional("outside").map_or(Ok(Outside::Warn), |field| {
                field.choice(&[("warn", Outside::Warn), ("refuse", Outside::Refuse)])
            })?,
            features,
            derived,
            selected,
            columns,
            input_tensor: input.text("tensor", "the name of the graph's input")?.to_owned(),
            output_tensor: output.text("tensor", "the name of the graph's output")?.to_owned(),
            activation: Activation::read(&output)?,
            output_column: output.optional("column").map(|field| field.count(0..10_000)).transpose()?,
            positive: positive(&output)?,
        };
        section.done()?;
        input.done()?;
        output.done()?;
        Ok(spec)
    }
}

fn features(section: &Section<'_>, parts: &[String]) -> Result<Vec<Feature>, PackageError> {
    let part = |name: &String| Feature {
        name: name.clone(),
        unit: String::new(),
        description: String::new(),
        range: None,
        missing: Missing::Refuse,
    };
    let mut features = parts.iter().map(part).collect::<Vec<_>>();
    for section in section.sections("feature")? {
        let feature = Feature {
            name: section.text("name", "the feature's name")?.to_owned(),
            unit: section.optional_text("unit")?.unwrap_or_default().to_owned(),
            description: section.optional_text("description")?.unwrap_or_default().to_owned(),
            range: section.optional("range").map(|field| Interval::read(&field)).transpose()?,
            missing: section.optional("missing").map_or(Ok(Missing::Nan), |field| missing(&field))?,
        };
        section.done()?;
        if features.iter().any(|other| other.name == feature.name) {
            return Err(section.error(format!("two features are called \"{}\"", feature.name)));
        }
        features.push(feature);
    }
    if features.is_empty() {
        return Err(section.error("`[[tabular.feature]]` is missing: expected one for each value of a row"));
    }
    Ok(features)
}

fn missing(field: &Field<'_>) -> Result<Missing, PackageError> {
    if field.is_text() {
        field.choice(&[("nan", Missing::Nan), ("refuse", Missing::Refuse)])
    } else {
        field.number().map(Missing::Value)
    }
}

/// Reads the derived features; each may use what `names` holds so far and is added to it.
fn derived(section: &Section<'_>, names: &mut Vec<String>) -> Result<Vec<Derived>, PackageError> {
    let mut derived = Vec::new();
    for section in section.sections("derived")? {
        let name = section.text("name", "the derived feature's name")?.to_owned();
        if names.contains(&name) {
            return Err(section.error(format!("two features are called \"{name}\"")));
        }
        let field = section.required("expression", "a formula such as \"a / (b + 1e-6)\"")?;
        let text = field.text()?.to_owned();
        let expression = Expression::parse(&text, names)
            .map_err(|error| field.error(format!("`{}` is no formula: {error}", field.name())))?;
        section.done()?;
        names.push(name.clone());
        derived.push(Derived { name, text, expression });
    }
    Ok(derived)
}

fn selected(section: &Section<'_>, names: &[String]) -> Result<(Vec<String>, Vec<usize>), PackageError> {
    let Some(field) = section.optional("selected") else {
        return Ok((names.to_vec(), (0..names.len()).collect()));
    };
    let mut selected = Vec::new();
    let mut columns = Vec::new();
    for item in field.list()? {
        let name = item.text()?;
        let column = names.iter().position(|known| known == name).ok_or_else(|| {
            item.error(format!(
                "`{}` is \"{name}\": no feature and no derived one has this name",
                item.name()
            ))
        })?;
        selected.push(name.to_owned());
        columns.push(column);
    }
    if selected.is_empty() {
        return Err(field.error("`tabular.selected` is empty: the graph needs at least one column"));
    }
    Ok((selected, columns))
}

fn positive(output: &Section<'_>) -> Result<Option<Positive>, PackageError> {
    let Some(section) = output.section("positive")? else { return Ok(None) };
    let name = section.text("name", "what label 1 means")?.to_owned();
    let code = section.optional("code").map(|field| codes::read(&field)).transpose()?;
    section.done()?;
    Ok(Some(Positive { name, code }))
}
