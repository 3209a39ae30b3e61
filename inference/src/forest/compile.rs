//! From an ONNX file to steps: what is known is taken, the first thing that is not is named.

mod operators;
mod trees;

use std::collections::HashMap;

use super::{
    Forest, Input, NotTaken,
    steps::{Arithmetic, Kind, Numbers, Operand, Step},
};
use crate::onnx::{self, Node, Tensor};

/// The versions of the operators whose meaning is built in.
const ONNX_VERSIONS: std::ops::RangeInclusive<u64> = 13..=23;
const ML_VERSIONS: std::ops::RangeInclusive<u64> = 1..=3;
const ML: &str = "ai.onnx.ml";

fn not(words: impl Into<String>) -> NotTaken {
    NotTaken::new(words)
}

pub(super) fn compile(bytes: &[u8], input: &Input<'_>, output: &str) -> Result<Forest, NotTaken> {
    let graph = onnx::parse(bytes).map_err(|error| not(format!("the graph could not be read: {error}")))?;
    let known = |domain: &str, versions: std::ops::RangeInclusive<u64>| {
        graph.versions.get(domain).is_some_and(|version| versions.contains(version))
    };
    if !known("", ONNX_VERSIONS) || !known(ML, ML_VERSIONS) {
        return Err(not("its operators are of another version, or there is no tree among them"));
    }
    if input.columns == 0 {
        return Err(not("it does not say how many columns it takes"));
    }
    let kind = if input.narrow { Kind::F32 } else { Kind::F64 };
    let mut making = Making {
        constants: graph.constants,
        values: HashMap::new(),
        steps: Vec::new(),
        trees: 0,
        squeezed: false,
    };
    making.values.insert(input.name, Value { at: 0, width: input.columns, kind: Some(kind) });
    let mut last = None;
    for node in &graph.nodes {
        making.take(node)?;
        last = node.outputs.first().copied();
    }
    let end = making.values.get(output).filter(|_| last == Some(output));
    let end = end.ok_or_else(|| not(format!("\"{output}\" is not what its last step gives")))?;
    // A step may have been free: then an earlier value is the answer, and the last step made it.
    if end.at != making.steps.len() || !matches!(end.kind, Some(Kind::F32 | Kind::F64)) {
        return Err(not(format!("\"{output}\" is no number of its last step")));
    }
    if making.trees == 0 {
        return Err(not("there is no tree in it"));
    }
    Ok(Forest { columns: input.columns, narrow: input.narrow, steps: making.steps, trees: making.trees })
}

/// What is known of a value before there are rows.
#[derive(Debug, Clone, Copy)]
struct Value {
    at: usize,
    width: usize,
    /// Truth has none.
    kind: Option<Kind>,
}

struct Making<'a> {
    constants: HashMap<&'a str, Tensor>,
    values: HashMap<&'a str, Value>,
    steps: Vec<Step>,
    trees: usize,
    /// Rows have lost their axis of columns.
    squeezed: bool,
}

impl<'a> Making<'a> {
    fn take(&mut self, node: &Node<'a>) -> Result<(), NotTaken> {
        let [output] = node.outputs[..] else {
            return Err(not(format!("{} has {} outputs", node.operator, node.outputs.len())));
        };
        if self.squeezed {
            return Err(not(format!("{} follows Squeeze", node.operator)));
        }
        if self.values.contains_key(output) || self.constants.contains_key(output) {
            return Err(not(format!("\"{output}\" is given twice")));
        }
        match (node.domain, node.operator) {
            (ML, "TreeEnsembleRegressor") => self.ensemble(node, output),
            ("", "Constant") => {
                let value = node.attributes.get("value").and_then(|value| value.tensor.clone());
                self.constants.insert(output, value.ok_or_else(|| self.cannot(node))?);
                Ok(())
            }
            ("", "Add") => self.arithmetic(node, output, Arithmetic::Add),
            ("", "Sub") => self.arithmetic(node, output, Arithmetic::Subtract),
            ("", "Mul") => self.arithmetic(node, output, Arithmetic::Multiply),
            ("", "Div") => self.arithmetic(node, output, Arithmetic::Divide),
            ("", "Cast") => self.cast(node, output),
            ("", "Gather") => self.gather(node, output),
            ("", "Slice") => self.slice(node, output),
            ("", "Concat") => self.concat(node, output),
            ("", "CumSum") => self.running_sum(node, output),
            ("", "Neg") => self.number_step(node, output, Step::Negate),
            ("", "Exp") => {
                let of = self.value(node, 0)?;
                self.number_step(node, output, Step::Exponential).and_then(|()| match of.kind {
                    Some(Kind::F64) => Ok(()),
                    _ => Err(self.cannot(node)),
                })
            }
            ("", "Equal") => self.equal(node, output),
            ("", "Where") => self.choose(node, output),
            ("", "Squeeze") => self.squeeze(node, output),
            ("", "Identity") => {
                let same = self.value(node, 0)?;
                self.values.insert(output, same);
                Ok(())
            }
            _ => Err(not(format!("{} is not computed in process", node.operator))),
        }
    }

    fn cannot(&self, node: &Node<'_>) -> NotTaken {
        not(format!("{} is used in a way that is not computed in process", node.operator))
    }

    fn push(
        &mut self,
        output: &'a str,
        width: usize,
        kind: Option<Kind>,
        step: Step,
    ) -> Result<(), NotTaken> {
        self.steps.push(step);
        self.values.insert(output, Value { at: self.steps.len(), width, kind });
        Ok(())
    }

    fn value(&self, node: &Node<'a>, input: usize) -> Result<Value, NotTaken> {
        let name = node.inputs.get(input).ok_or_else(|| self.cannot(node))?;
        self.values.get(name).copied().ok_or_else(|| self.cannot(node))
    }

    fn constant(&self, node: &Node<'a>, input: usize) -> Result<&Tensor, NotTaken> {
        let name = node.inputs.get(input).ok_or_else(|| self.cannot(node))?;
        self.constants.get(name).ok_or_else(|| self.cannot(node))
    }

    /// Whole numbers that the graph states: axes, places.
    fn integers(&self, node: &Node<'a>, input: usize) -> Result<&[i64], NotTaken> {
        match &self.constant(node, input)?.numbers {
            onnx::Numbers::I64(numbers) => Ok(numbers),
            _ => Err(self.cannot(node)),
        }
    }

    /// Two operands of one kind and width; at least one of them differs from row to row.
    fn pair(&self, node: &Node<'a>, inputs: [usize; 2]) -> Result<(Operand, Operand, Value), NotTaken> {
        let values = inputs.map(|input| self.value(node, input).ok());
        match values {
            [Some(left), Some(right)] if (left.width, left.kind) == (right.width, right.kind) => {
                Ok((Operand::Value(left.at), Operand::Value(right.at), left))
            }
            [Some(left), None] => Ok((Operand::Value(left.at), self.row(node, inputs[1], left)?, left)),
            [None, Some(right)] => Ok((self.row(node, inputs[0], right)?, Operand::Value(right.at), right)),
            _ => Err(self.cannot(node)),
        }
    }

    /// A constant that meets each row of `beside`: one number, or one for each column.
    fn row(&self, node: &Node<'a>, input: usize, beside: Value) -> Result<Operand, NotTaken> {
        let tensor = self.constant(node, input)?;
        // More axes than rows and columns would give the result more axes.
        let fits = match tensor.shape[..] {
            [] | [1] | [1, 1] => true,
            [width] | [1, width] => usize::try_from(width) == Ok(beside.width),
            _ => false,
        };
        fn wide<T: Copy>(numbers: &[T], width: usize) -> Option<Vec<T>> {
            match numbers {
                [one] => Some(vec![*one; width]),
                _ if numbers.len() == width => Some(numbers.to_vec()),
                _ => None,
            }
        }
        let numbers = match (&tensor.numbers, beside.kind) {
            _ if !fits => None,
            (onnx::Numbers::F32(numbers), Some(Kind::F32)) => wide(numbers, beside.width).map(Numbers::F32),
            (onnx::Numbers::F64(numbers), Some(Kind::F64)) => wide(numbers, beside.width).map(Numbers::F64),
            _ => None,
        };
        numbers.map(Operand::Row).ok_or_else(|| self.cannot(node))
    }
}

fn integer(node: &Node<'_>, name: &str, usual: i64) -> i64 {
    node.attributes.get(name).map_or(usual, |attribute| attribute.integer)
}
