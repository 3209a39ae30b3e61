//! Trees without walks: every node whose condition fails crosses out the leaves of its true branch, and the
//! first leaf of a tree that nobody crossed out is the one that the walk would have ended in (QuickScorer,
//! Lucchese et al., SIGIR 2015).
//!
//! The conditions on a column are sorted by threshold: those that fail for a value are the ones before a place, and
//! what all before a place cross out together is kept for every [`SPACING`]th place. So a row costs a
//! search for each column and some hundred words of bits, however deep the trees are.

use super::ensemble::{Leaf, Stated};

/// Conditions between two places for which the crossed out leaves are kept.
const SPACING: usize = 64;
/// Words that are worked on together; those behind the last tree are nobody's.
const TOGETHER: usize = 8;
/// What is kept has to stay in a processor's caches to be of use.
const BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Masks {
    columns: Vec<Column>,
    /// The first word of each tree, and the end of the last.
    trees: Vec<usize>,
    /// The leaf of each bit.
    leaves: Vec<Leaf>,
}

/// All conditions on one column.
#[derive(Debug, Default)]
struct Column {
    thresholds: Vec<f32>,
    /// In the order of the thresholds.
    cuts: Vec<Cut>,
    /// What the cuts before every place that is kept leave, all words of each.
    kept: Vec<u64>,
    /// What is left where the value is missing.
    missing: Vec<u64>,
}

/// What a condition that fails leaves of one word.
#[derive(Debug, Clone, Copy)]
struct Cut {
    word: u32,
    left: u64,
}

/// A cut with when it is made.
struct Condition {
    column: usize,
    threshold: f32,
    missing_true: bool,
    cut: Cut,
}

impl Masks {
    /// Trees that are known to be some. None where too much would have to be kept.
    pub(super) fn new(trees: &[Vec<Stated>], columns: usize) -> Option<Self> {
        let mut masks = Self { columns: Vec::new(), trees: vec![0], leaves: Vec::new() };
        let mut conditions = Vec::new();
        for tree in trees {
            masks.add(tree, &mut conditions)?;
        }
        let words = masks.words().next_multiple_of(TOGETHER);
        let places = conditions.len() / SPACING + 2 * columns;
        if places.checked_mul(words * size_of::<u64>())? > BYTES_MAX {
            return None;
        }
        // What is no number is above no value: its condition fails for all of them.
        conditions.sort_by(|one, other| {
            let rank = |condition: &Condition| !condition.threshold.is_nan();
            rank(one).cmp(&rank(other)).then(one.threshold.total_cmp(&other.threshold))
        });
        masks.columns.resize_with(columns, Column::default);
        for condition in &conditions {
            masks.columns[condition.column].add(condition, words);
        }
        Some(masks)
    }

    fn words(&self) -> usize {
        self.trees.last().copied().unwrap_or(0)
    }

    /// Numbers the leaves of a tree from its truest to its falsest, and notes which of them each node crosses out.
    fn add(&mut self, tree: &[Stated], conditions: &mut Vec<Condition>) -> Option<()> {
        enum Visit {
            Enter(usize),
            /// The true branch is behind us, and began with that leaf.
            Between {
                node: usize,
                first: usize,
            },
        }
        let words = self.words();
        let mut leaves = Vec::new();
        let mut visits = vec![Visit::Enter(0)];
        while let Some(visit) = visits.pop() {
            match visit {
                Visit::Enter(at) => match *tree.get(at)? {
                    Stated::Leaf(leaf) => leaves.push(leaf),
                    Stated::Branch { true_branch, .. } => {
                        visits.push(Visit::Between { node: at, first: leaves.len() });
                        visits.push(Visit::Enter(true_branch));
                    }
                },
                Visit::Between { node, first } => {
                    let Stated::Branch { column, threshold, missing_true, false_branch, .. } = tree[node]
                    else {
                        return None;
                    };
                    visits.push(Visit::Enter(false_branch));
                    for word in first / 64..=(leaves.len() - 1) / 64 {
                        let inside = |leaf: &usize| (first..leaves.len()).contains(leaf);
                        let crossed = (word * 64..word * 64 + 64).filter(inside);
                        let left = !crossed.fold(0_u64, |bits, leaf| bits | 1 << (leaf % 64));
                        let cut = Cut { word: u32::try_from(words + word).ok()?, left };
                        conditions.push(Condition { column, threshold, missing_true, cut });
                    }
                    if conditions.len() > BYTES_MAX {
                        return None;
                    }
                }
            }
        }
        let used = leaves.len().div_ceil(64);
        leaves.resize(used * 64, Leaf { target: 0, weight: 0.0 });
        self.leaves.extend(leaves);
        self.trees.push(words + used);
        Some(())
    }

    /// Adds to the sums of each row, target by target.
    pub(super) fn run(&self, rows: &[f32], sums: &mut [f32], targets: usize) {
        let mut standing = vec![0; self.words().next_multiple_of(TOGETHER)];
        let (mut kept, mut cuts) = (Vec::new(), Vec::new());
        for (row, sums) in rows.chunks(self.columns.len()).zip(sums.chunks_mut(targets)) {
            kept.clear();
            cuts.clear();
            for (column, value) in self.columns.iter().zip(row) {
                let (of_many, of_one) = column.crossed_out(*value, standing.len());
                kept.extend(of_many);
                cuts.push(of_one);
            }
            what_stands(&mut standing, &kept);
            for cut in cuts.iter().copied().flatten() {
                standing[cut.word as usize] &= cut.left;
            }
            self.count(&standing, sums);
        }
    }

    /// The first leaf of each tree that still stands.
    fn count(&self, standing: &[u64], sums: &mut [f32]) {
        for tree in self.trees.windows(2) {
            let words = tree[0]..tree[1];
            let Some(word) = words.clone().find(|word| standing[*word] != 0) else { continue };
            let leaf = self.leaves[word * 64 + standing[word].trailing_zeros() as usize];
            sums[leaf.target as usize] += leaf.weight;
        }
    }
}

impl Column {
    /// The next condition, in their order.
    fn add(&mut self, condition: &Condition, words: usize) {
        let Cut { word, left } = condition.cut;
        if self.cuts.is_empty() {
            self.kept.resize(words, u64::MAX);
            self.missing.resize(words, u64::MAX);
        } else if self.cuts.len().is_multiple_of(SPACING) {
            let before = self.kept.len() - words;
            self.kept.extend_from_within(before..);
            let place = self.kept.len() - words;
            for cut in &self.cuts[self.cuts.len() - SPACING..] {
                self.kept[place + cut.word as usize] &= cut.left;
            }
        }
        self.thresholds.push(condition.threshold);
        self.cuts.push(condition.cut);
        if !condition.missing_true {
            self.missing[word as usize] &= left;
        }
    }

    /// What is left for a value: kept words, if there are any, and single cuts.
    fn crossed_out(&self, value: f32, words: usize) -> (Option<&[u64]>, &[Cut]) {
        if self.cuts.is_empty() {
            return (None, &[]);
        }
        if value.is_nan() {
            return (Some(&self.missing), &[]);
        }
        let end = self.thresholds.partition_point(|threshold| threshold.is_nan() || *threshold < value);
        // The place after the last cut is kept only when there is one more.
        let place = (end / SPACING).min(self.kept.len() / words - 1);
        let kept = (place > 0).then(|| &self.kept[place * words..(place + 1) * words]);
        (kept, &self.cuts[place * SPACING..end])
    }
}

/// The bits that all of `kept` have.
fn what_stands(standing: &mut [u64], kept: &[&[u64]]) {
    for (at, standing) in standing.chunks_exact_mut(TOGETHER).enumerate() {
        let mut left = [u64::MAX; TOGETHER];
        for kept in kept {
            let kept = &kept[at * TOGETHER..(at + 1) * TOGETHER];
            left.iter_mut().zip(kept).for_each(|(left, kept)| *left &= kept);
        }
        standing.copy_from_slice(&left);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::walk::Walk, *};

    const COLUMNS: usize = 3;

    /// Numbers that meet each other often, and those that compare in odd ways.
    fn number() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => (-6_i8..6).prop_map(|number| f32::from(number) / 2.0),
            1 => proptest::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]),
        ]
    }

    /// A tree of up to `branches` branches, each grown from a leaf that was there.
    fn tree(branches: usize) -> impl Strategy<Value = Vec<Stated>> {
        let branch = (any::<prop::sample::Index>(), 0..COLUMNS, number(), any::<bool>());
        prop::collection::vec(branch, 0..branches).prop_map(|branches| {
            let leaf = |at: usize| Stated::Leaf(Leaf { target: 0, weight: at as f32 });
            let mut tree = vec![leaf(0)];
            for (place, column, threshold, missing_true) in branches {
                let leaves = (0..tree.len()).filter(|at| matches!(tree[*at], Stated::Leaf(_)));
                let leaves = leaves.collect::<Vec<_>>();
                let at = leaves[place.index(leaves.len())];
                let (true_branch, false_branch) = (tree.len(), tree.len() + 1);
                tree[at] = Stated::Branch { column, threshold, missing_true, true_branch, false_branch };
                tree.extend([leaf(true_branch), leaf(false_branch)]);
            }
            tree
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn masks_end_where_walks_do(
            tree in tree(300),
            rows in prop::collection::vec(number(), COLUMNS * 9),
        ) {
            let (walk, masks) = (Walk::new(std::slice::from_ref(&tree), COLUMNS).unwrap(), Masks::new(&[tree], COLUMNS).unwrap());
            let (mut by_walk, mut by_masks) = (vec![0.0; 9], vec![0.0; 9]);
            walk.run(&rows, &mut by_walk, 1);
            masks.run(&rows, &mut by_masks, 1);
            prop_assert_eq!(by_walk, by_masks);
        }
    }

    #[test]
    fn a_forest_whose_masks_are_too_large_is_walked() {
        let chain = |length: usize| {
            let branch = |at: usize| Stated::Branch {
                column: 0,
                threshold: at as f32,
                missing_true: false,
                true_branch: 2 * at + 1,
                false_branch: 2 * at + 2,
            };
            let leaf = Stated::Leaf(Leaf { target: 0, weight: 1.0 });
            let mut tree = (0..length).flat_map(|at| [branch(at), leaf]).collect::<Vec<_>>();
            tree.push(leaf);
            tree
        };
        assert!(Masks::new(&[chain(500)], 1).is_some());
        assert!(Masks::new(&[chain(40_000)], 1).is_none());
    }
}
