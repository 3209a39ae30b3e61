//! From an ONNX file to steps: what is known is taken, the first thing that is not is named.

use std::collections::HashMap;

use super::{
    Forest, Input, NotTaken,
    ensemble::{Ensemble, Leaf, Stated},
    steps::{Arithmetic, Kind, Numbers, Operand, Step},
};
use crate::onnx::{self, Attribute, Node, Tensor};

/// The versions of the operators whose meaning is built in.
const ONNX_VERSIONS: std::ops::RangeInclusive<u64> = 13..=23;
const ML_VERSIONS: std::ops::RangeInclusive<u64> = 1..=3;
const ML: &str = "ai.onnx.ml";
/// `TensorProto.DataType`, as the operator Cast has it.
const TO_FLOAT: i64 = 1;
const TO_INT64: i64 = 7;
const TO_DOUBLE: i64 = 11;

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

    fn arithmetic(
        &mut self,
        node: &Node<'a>,
        output: &'a str,
        operation: Arithmetic,
    ) -> Result<(), NotTaken> {
        let (left, right, like) = self.pair(node, [0, 1])?;
        if !matches!(like.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, like.kind, Step::Arithmetic(operation, left, right))
    }

    fn cast(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        let to = match (integer(node, "to", 0), of.kind) {
            (TO_FLOAT, Some(Kind::F32 | Kind::F64)) => Kind::F32,
            (TO_DOUBLE, Some(Kind::F32 | Kind::F64)) => Kind::F64,
            // What a tree gives has a whole part; what else is cast might be no number.
            (TO_INT64, Some(Kind::F32))
                if matches!(self.steps.get(of.at.wrapping_sub(1)), Some(Step::Trees(..))) =>
            {
                Kind::I64
            }
            _ => return Err(self.cannot(node)),
        };
        self.push(output, of.width, Some(to), Step::Cast(of.at, to))
    }

    /// Places into a table of constants, or constant places into the columns of a value.
    fn gather(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let axis = integer(node, "axis", 0);
        if let Ok(of) = self.value(node, 0) {
            let places = self.constant(node, 1)?;
            if axis != 1 || places.shape.len() != 1 {
                return Err(self.cannot(node));
            }
            let columns = self
                .integers(node, 1)?
                .iter()
                .map(|place| column(*place, of.width))
                .collect::<Option<Vec<_>>>();
            let columns = columns.filter(|columns| !columns.is_empty()).ok_or_else(|| self.cannot(node))?;
            return self.push(output, columns.len(), of.kind, Step::Columns(of.at, columns));
        }
        let (table, places) = (self.constant(node, 0)?, self.value(node, 1)?);
        if axis != 0 || table.shape.len() != 1 || places.kind != Some(Kind::I64) {
            return Err(self.cannot(node));
        }
        let (numbers, kind) = match &table.numbers {
            onnx::Numbers::F32(numbers) => (Numbers::F32(numbers.clone()), Kind::F32),
            onnx::Numbers::F64(numbers) => (Numbers::F64(numbers.clone()), Kind::F64),
            onnx::Numbers::I64(_) | onnx::Numbers::Other => return Err(self.cannot(node)),
        };
        self.push(output, places.width, Some(kind), Step::Lookup(places.at, numbers))
    }

    fn slice(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        let ([start], [end], [1]) =
            (self.integers(node, 1)?, self.integers(node, 2)?, self.integers(node, 3)?)
        else {
            return Err(self.cannot(node));
        };
        let (Ok(start), Ok(end)) = (usize::try_from(*start), usize::try_from(*end)) else {
            return Err(self.cannot(node));
        };
        if node.inputs.len() > 4 || start >= end || end > of.width {
            return Err(self.cannot(node));
        }
        self.push(output, end - start, of.kind, Step::Columns(of.at, (start..end).collect()))
    }

    fn concat(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let parts =
            (0..node.inputs.len()).map(|input| self.value(node, input)).collect::<Result<Vec<_>, _>>()?;
        let kind = parts.first().and_then(|part| part.kind);
        let same = parts.iter().all(|part| part.kind == kind);
        if integer(node, "axis", 0) != 1 || !same || !matches!(kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        let width = parts.iter().map(|part| part.width).sum();
        self.push(output, width, kind, Step::Join(parts.iter().map(|part| part.at).collect()))
    }

    fn running_sum(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let along_columns = matches!(self.integers(node, 1)?, [1]);
        let plain = integer(node, "exclusive", 0) == 0 && integer(node, "reverse", 0) == 0;
        if !along_columns || !plain {
            return Err(self.cannot(node));
        }
        self.number_step(node, output, Step::RunningSum)
    }

    fn number_step(
        &mut self,
        node: &Node<'a>,
        output: &'a str,
        step: fn(usize) -> Step,
    ) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        if !matches!(of.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, of.width, of.kind, step(of.at))
    }

    fn equal(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let (left, right, like) = self.pair(node, [0, 1])?;
        if !matches!(like.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, None, Step::Equal(left, right))
    }

    fn choose(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let condition = self.value(node, 0)?;
        let (then, otherwise, like) = self.pair(node, [1, 2])?;
        let numbers = matches!(like.kind, Some(Kind::F32 | Kind::F64));
        if condition.kind.is_some() || condition.width != like.width || !numbers {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, like.kind, Step::Where(condition.at, then, otherwise))
    }

    /// One column without its axis. What followed would meet the rows instead of the columns, so that it must be the end.
    fn squeeze(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        if of.width != 1 || !matches!(self.integers(node, 1)?, [1 | -1]) {
            return Err(self.cannot(node));
        }
        self.values.insert(output, of);
        self.squeezed = true;
        Ok(())
    }

    fn ensemble(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        let text = |name: &str, usual: &'static str| {
            node.attributes.get(name).map_or(usual.as_bytes(), |attribute| attribute.text)
        };
        let sums = text("aggregate_function", "SUM") == b"SUM" && text("post_transform", "NONE") == b"NONE";
        let known = node.attributes.keys().all(|name| KNOWN.contains(name));
        let targets = usize::try_from(integer(node, "n_targets", 1)).ok().filter(|targets| *targets > 0);
        let (Some(targets), true, true, Some(Kind::F32)) = (targets, sums, known, of.kind) else {
            return Err(self.cannot(node));
        };
        let trees = stated(node, targets).ok_or_else(|| self.cannot(node))?;
        let made = Ensemble::new(&trees, of.width, targets).map_err(not)?;
        self.trees += made.trees();
        self.push(output, targets, Some(Kind::F32), Step::Trees(of.at, made))
    }
}

/// The attributes that are understood; with any other the ensemble is left to ONNX Runtime. `nodes_hitrates` is a remark.
const KNOWN: [&str; 16] = [
    "aggregate_function",
    "n_targets",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "post_transform",
    "target_ids",
    "target_nodeids",
    "target_treeids",
    "target_weights",
];

fn integer(node: &Node<'_>, name: &str, usual: i64) -> i64 {
    node.attributes.get(name).map_or(usual, |attribute| attribute.integer)
}

/// A place among `width` columns; a negative one counts from the end.
fn column(place: i64, width: usize) -> Option<usize> {
    let wide = i64::try_from(width).ok()?;
    let place = if place < 0 { place.checked_add(wide)? } else { place };
    usize::try_from(place).ok().filter(|place| *place < width)
}

/// The trees of an ensemble, each with its root first.
fn stated(node: &Node<'_>, targets: usize) -> Option<Vec<Vec<Stated>>> {
    let nothing = Attribute::default();
    let attribute = |name: &str| node.attributes.get(name).unwrap_or(&nothing);
    let integers = |name: &str| attribute(name).integers.as_slice();
    let (trees, ids) = (integers("nodes_treeids"), integers("nodes_nodeids"));
    let (columns, modes) = (integers("nodes_featureids"), attribute("nodes_modes").texts.as_slice());
    let (yes, no) = (integers("nodes_truenodeids"), integers("nodes_falsenodeids"));
    let thresholds = attribute("nodes_values").floats.as_slice();
    let missing = integers("nodes_missing_value_tracks_true");
    let count = trees.len();
    let whole = [ids.len(), columns.len(), yes.len(), no.len(), modes.len(), thresholds.len()];
    if whole.iter().any(|length| *length != count) || !(missing.is_empty() || missing.len() == count) {
        return None;
    }
    let weights = leaf_weights(attribute, targets)?;
    // The place of each node within its tree; trees in the order in which they begin, roots as they come first.
    let mut tree_of = HashMap::<i64, usize>::new();
    let mut places = HashMap::<(i64, i64), usize>::with_capacity(count);
    let mut sizes = Vec::<usize>::new();
    for (tree, id) in trees.iter().zip(ids) {
        let at = *tree_of.entry(*tree).or_insert_with(|| {
            sizes.push(0);
            sizes.len() - 1
        });
        if places.insert((*tree, *id), sizes[at]).is_some() {
            return None;
        }
        sizes[at] += 1;
    }
    let mut made = sizes.iter().map(|size| Vec::with_capacity(*size)).collect::<Vec<_>>();
    for at in 0..count {
        let tree = trees[at];
        let place = |id: i64| places.get(&(tree, id)).copied();
        let stated = if modes[at] == b"LEAF" {
            Stated::Leaf(*weights.get(&(tree, ids[at]))?)
        } else {
            Stated::Branch {
                column: usize::try_from(columns[at]).ok()?,
                threshold: at_most(modes[at], thresholds[at])?,
                missing_true: missing.get(at).is_some_and(|missing| *missing != 0),
                true_branch: place(yes[at])?,
                false_branch: place(no[at])?,
            }
        };
        made[*tree_of.get(&tree)?].push(stated);
    }
    Some(made)
}

/// The one weight of each leaf, by tree and node.
fn leaf_weights<'a>(
    attribute: impl Fn(&str) -> &'a Attribute<'a>,
    targets: usize,
) -> Option<HashMap<(i64, i64), Leaf>> {
    let (trees, ids) = (&attribute("target_treeids").integers, &attribute("target_nodeids").integers);
    let (columns, weights) = (&attribute("target_ids").integers, &attribute("target_weights").floats);
    if [ids.len(), columns.len(), weights.len()].iter().any(|length| *length != trees.len()) {
        return None;
    }
    let mut leaves = HashMap::with_capacity(trees.len());
    for at in 0..trees.len() {
        let target = u32::try_from(columns[at]).ok().filter(|target| (*target as usize) < targets)?;
        if leaves.insert((trees[at], ids[at]), Leaf { target, weight: weights[at] }).is_some() {
            return None;
        }
    }
    Some(leaves)
}

/// The threshold that a value is at most where `mode` holds for it.
fn at_most(mode: &[u8], threshold: f32) -> Option<f32> {
    match mode {
        b"BRANCH_LEQ" => Some(threshold),
        // Below a number is at most the one before it; nothing is below negative infinity, nor at most NaN.
        b"BRANCH_LT" if threshold == f32::NEG_INFINITY => Some(f32::NAN),
        b"BRANCH_LT" => Some(threshold.next_down()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_number_is_at_most_the_one_before_it() {
        for threshold in
            [0.0_f32, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]
        {
            let most = at_most(b"BRANCH_LT", threshold).unwrap();
            for value in
                [threshold, threshold.next_up(), threshold.next_down(), 0.0, -0.0, f32::MIN, f32::INFINITY]
            {
                assert_eq!(value <= most, value < threshold, "{value} {threshold}");
            }
        }
        assert_eq!(at_most(b"BRANCH_EQ", 1.0), None);
    }

    #[test]
    fn places_count_from_both_ends() {
        assert_eq!(
            [column(0, 3), column(-1, 3), column(3, 3), column(-4, 3)],
            [Some(0), Some(2), None, None]
        );
        assert_eq!(column(i64::MIN, 3), None);
    }
}
