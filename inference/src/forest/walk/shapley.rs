//! What each column of a row adds to a sum of trees, beside another row: exact Shapley values.
//!
//! The game of a tree, a row and another row: a coalition of columns has the row's values, the rest have the other's.
//! A leaf is reached by the coalitions that hold every column in which the path follows the row alone, and none in
//! which it follows the other alone. So one walk gives each leaf's share to its columns, in closed form; nothing is
//! sampled. Averaged over other rows this is the interventional TreeSHAP (Lundberg et al. 2020).

use super::{Leaf, Node, Walk};

/// Orders of `before` columns ahead of one and `behind` after it, of all orders: b! a! / (b + a + 1)!.
#[derive(Debug)]
pub(in crate::forest) struct Orders {
    columns: usize,
    shares: Vec<f64>,
}

impl Orders {
    pub(in crate::forest) fn of(columns: usize) -> Self {
        let mut shares = vec![0.0; (columns + 1) * (columns + 1)];
        for before in 0..=columns {
            let mut share = 1.0 / (before + 1) as f64;
            for behind in 0..=columns {
                if behind > 0 {
                    share *= behind as f64 / (before + behind + 1) as f64;
                }
                shares[before * (columns + 1) + behind] = share;
            }
        }
        Self { columns, shares }
    }

    fn share(&self, before: usize, behind: usize) -> f64 {
        self.shares[before * (self.columns + 1) + behind]
    }
}

/// Whose value of a column the path has followed where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Neither,
    Row,
    Other,
}

struct Game<'a> {
    nodes: &'a [Node],
    values: &'a [f64],
    row: &'a [f32],
    other: &'a [f32],
    orders: &'a Orders,
    sides: Vec<Side>,
    effects: &'a mut [f64],
}

impl Game<'_> {
    /// Gives the share of the leaves below to a column that follows the row, and to one that follows the other.
    fn below(&mut self, at: u32, from_row: usize, from_other: usize) -> (f64, f64) {
        let node = self.nodes[at as usize];
        if node.left == at {
            let value = self.values[at as usize];
            let gains = if from_row > 0 { value * self.orders.share(from_row - 1, from_other) } else { 0.0 };
            let costs =
                if from_other > 0 { value * self.orders.share(from_row, from_other - 1) } else { 0.0 };
            return (gains, costs);
        }
        let column = (node.column_and_missing >> 1) as usize;
        let (of_row, of_other) = (node.next(self.row), node.next(self.other));
        match self.sides[column] {
            Side::Row => self.below(of_row, from_row, from_other),
            Side::Other => self.below(of_other, from_row, from_other),
            Side::Neither if of_row == of_other => self.below(of_row, from_row, from_other),
            Side::Neither => {
                self.sides[column] = Side::Row;
                let (row_gains, row_costs) = self.below(of_row, from_row + 1, from_other);
                self.sides[column] = Side::Other;
                let (other_gains, other_costs) = self.below(of_other, from_row, from_other + 1);
                self.sides[column] = Side::Neither;
                self.effects[column] += row_gains - other_costs;
                (row_gains + other_gains, row_costs + other_costs)
            }
        }
    }
}

impl Walk {
    /// Of each node what it adds when a walk ends there; nothing where `value` has no answer for a leaf.
    pub(in crate::forest) fn leaf_values(&self, value: impl Fn(Leaf) -> Option<f64>) -> Option<Vec<f64>> {
        let is_leaf = |at: usize| self.nodes[at].left as usize == at;
        let of = |(at, leaf): (usize, &Leaf)| if is_leaf(at) { value(*leaf) } else { Some(0.0) };
        self.leaves.iter().enumerate().map(of).collect()
    }

    /// The sum of the leaves that a row ends in.
    pub(in crate::forest) fn sum(&self, values: &[f64], row: &[f32]) -> f64 {
        let end = |root: u32| {
            let mut at = root;
            loop {
                let next = self.nodes[at as usize].next(row);
                if next == at {
                    return at;
                }
                at = next;
            }
        };
        self.trees.iter().map(|tree| values[end(tree.root) as usize]).sum()
    }

    /// Adds to `effects` what each column of `row` does to the sum, beside `other`.
    pub(in crate::forest) fn add_effects(
        &self,
        values: &[f64],
        orders: &Orders,
        [row, other]: [&[f32]; 2],
        effects: &mut [f64],
    ) {
        let sides = vec![Side::Neither; self.columns];
        let mut game = Game { nodes: &self.nodes, values, row, other, orders, sides, effects };
        for tree in &self.trees {
            game.below(tree.root, 0, 0);
        }
    }
}
