//! The trees themselves: `TreeEnsembleRegressor`, as its attributes state it.

use std::collections::HashMap;

use super::{Making, NotTaken, integer, not};
use crate::{
    forest::{
        ensemble::{Ensemble, Leaf, Stated},
        steps::{Kind, Step},
    },
    onnx::{Attribute, Node},
};

impl<'a> Making<'a> {
    pub(super) fn ensemble(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
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
}
