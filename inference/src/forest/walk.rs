//! Trees laid out for the walk: the two children of a node lie side by side, a leaf leads to itself.

mod shapley;

use super::ensemble::{Leaf, Stated};
pub(super) use shapley::Orders;

/// Walks that go on at the same time; one that waits for memory does not hold up the others.
const LANES: usize = 8;

/// A node: rows with a value at most `threshold` go to the child `left`, others to the one after it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Node {
    threshold: f32,
    /// The column, times two; one more where a missing value goes left.
    column_and_missing: u32,
    left: u32,
}

impl Node {
    fn next(self, row: &[f32]) -> u32 {
        let value = row[(self.column_and_missing >> 1) as usize];
        let left = (value <= self.threshold) | ((self.column_and_missing & 1 == 1) & value.is_nan());
        self.left + u32::from(!left)
    }
}

#[derive(Debug)]
pub(super) struct Walk {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    trees: Vec<Tree>,
    columns: usize,
}

#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u32,
    depth: u32,
}

impl Walk {
    /// Lays out trees, and finds out whether they are any.
    pub(super) fn new(trees: &[Vec<Stated>], columns: usize) -> Result<Self, &'static str> {
        let mut walk = Self { nodes: Vec::new(), leaves: Vec::new(), trees: Vec::new(), columns };
        for tree in trees {
            walk.add(tree)?;
        }
        // Trees that are walked together are of a depth.
        walk.trees.sort_by_key(|tree| tree.depth);
        Ok(walk)
    }

    fn add(&mut self, stated: &[Stated]) -> Result<(), &'static str> {
        const NOT_A_TREE: &str = "one of its trees is none";
        let too_large = |_| "it has too many nodes";
        let root = u32::try_from(self.nodes.len()).map_err(too_large)?;
        let mut depth = 0;
        // Where a node of the list goes, level by level.
        let mut level = vec![0_usize];
        let mut placed = self.nodes.len() + 1;
        let mut visited = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for at in level {
                visited += 1;
                if visited > stated.len() {
                    return Err(NOT_A_TREE);
                }
                let here = u32::try_from(self.nodes.len()).map_err(too_large)?;
                match *stated.get(at).ok_or(NOT_A_TREE)? {
                    Stated::Leaf(leaf) => {
                        // Every number is at most infinity, and what is none is missing: the walk stays.
                        self.nodes.push(Node { threshold: f32::INFINITY, column_and_missing: 1, left: here });
                        self.leaves.push(leaf);
                    }
                    Stated::Branch { column, threshold, missing_true, true_branch, false_branch } => {
                        let column =
                            u32::try_from(column).ok().filter(|column| (*column as usize) < self.columns);
                        let column = column.and_then(|column| column.checked_mul(2));
                        let column = column.ok_or("a tree asks for a column that is not there")?;
                        let left = u32::try_from(placed).map_err(too_large)?;
                        placed += 2;
                        below.extend([true_branch, false_branch]);
                        let column_and_missing = column + u32::from(missing_true);
                        self.nodes.push(Node { threshold, column_and_missing, left });
                        self.leaves.push(Leaf { target: 0, weight: 0.0 });
                    }
                }
            }
            depth += u32::from(!below.is_empty());
            level = below;
        }
        self.trees.push(Tree { root, depth });
        Ok(())
    }

    /// Adds to the sums of each row, target by target.
    pub(super) fn run(&self, rows: &[f32], sums: &mut [f32], targets: usize) {
        let mut rest = sums.chunks_mut(LANES * targets);
        for rows in rows.chunks(LANES * self.columns) {
            let Some(sums) = rest.next() else { break };
            if rows.len() == LANES * self.columns {
                self.walk_rows_together(rows, sums, targets);
            } else {
                for (row, sums) in rows.chunks(self.columns).zip(sums.chunks_mut(targets)) {
                    self.walk_trees_together(row, sums);
                }
            }
        }
    }

    /// Eight rows through one tree after another.
    fn walk_rows_together(&self, rows: &[f32], sums: &mut [f32], targets: usize) {
        let row: [&[f32]; LANES] =
            std::array::from_fn(|lane| &rows[lane * self.columns..(lane + 1) * self.columns]);
        for tree in &self.trees {
            let ends = self.ends([tree.root; LANES], row, tree.depth);
            for (lane, end) in ends.into_iter().enumerate() {
                self.count(end, &mut sums[lane * targets..(lane + 1) * targets]);
            }
        }
    }

    /// One row through eight trees at a time.
    fn walk_trees_together(&self, row: &[f32], sums: &mut [f32]) {
        for trees in self.trees.chunks(LANES) {
            // Where trees are missing in the last eight, its last one is walked again and not counted.
            let last = trees.len() - 1;
            let roots = std::array::from_fn(|lane| trees[lane.min(last)].root);
            let ends = self.ends(roots, [row; LANES], trees[last].depth);
            for end in &ends[..trees.len()] {
                self.count(*end, sums);
            }
        }
    }

    /// The leaves that the walks end in.
    fn ends(&self, mut at: [u32; LANES], rows: [&[f32]; LANES], depth: u32) -> [u32; LANES] {
        for _ in 0..depth {
            let next = std::array::from_fn(|lane| self.nodes[at[lane] as usize].next(rows[lane]));
            if next == at {
                break;
            }
            at = next;
        }
        at
    }

    fn count(&self, end: u32, sums: &mut [f32]) {
        let leaf = self.leaves[end as usize];
        sums[leaf.target as usize] += leaf.weight;
    }
}
