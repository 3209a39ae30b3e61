//! Trees as a graph states them, and the way in which their sum is found.

use super::{masks::Masks, walk::Walk};

/// What a leaf adds to which column of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Leaf {
    pub(super) target: u32,
    pub(super) weight: f32,
}

/// A node as a graph states it: rows with a value at most `threshold` take the true branch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stated {
    /// `true_branch` and `false_branch` are places in the list of the tree.
    Branch {
        column: usize,
        threshold: f32,
        missing_true: bool,
        true_branch: usize,
        false_branch: usize,
    },
    Leaf(Leaf),
}

#[derive(Debug)]
pub(super) struct Ensemble {
    columns: usize,
    targets: usize,
    trees: usize,
    walk: Walk,
    /// They end in the same leaves in a fraction of the time, where they are small enough.
    masks: Option<Masks>,
}

impl Ensemble {
    /// Understands trees over rows of `columns`. Each tree is a list whose first node is its root.
    pub(super) fn new(trees: &[Vec<Stated>], columns: usize, targets: usize) -> Result<Self, &'static str> {
        let walk = Walk::new(trees, columns)?;
        if !exact(trees, targets) {
            return Err("its sum depends on the order of the trees");
        }
        Ok(Self { columns, targets, trees: trees.len(), walk, masks: Masks::new(trees, columns) })
    }

    pub(super) fn walk(&self) -> &Walk {
        &self.walk
    }

    pub(super) fn targets(&self) -> usize {
        self.targets
    }

    pub(super) fn trees(&self) -> usize {
        self.trees
    }

    /// The sums of each row, target by target.
    pub(super) fn run(&self, rows: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; rows.len() / self.columns * self.targets];
        match &self.masks {
            Some(masks) => masks.run(rows, &mut sums, self.targets),
            None => self.walk.run(rows, &mut sums, self.targets),
        }
        sums
    }
}

/// Whether adding in float32 gives the same bits whatever the order: each target belongs to one tree, or
/// all weights are whole multiples of one power of two and their largest sum has at most 24 bits.
fn exact(trees: &[Vec<Stated>], targets: usize) -> bool {
    let mut smallest_unit = vec![i32::MAX; targets];
    let mut largest_sum = vec![0.0_f64; targets];
    let mut trees_of = vec![0_usize; targets];
    for tree in trees {
        let mut largest = std::collections::BTreeMap::<usize, f64>::new();
        for stated in tree {
            let Stated::Leaf(leaf) = stated else { continue };
            let target = leaf.target as usize;
            if target >= targets || !leaf.weight.is_finite() {
                return false;
            }
            let most = largest.entry(target).or_default();
            *most = most.max(f64::from(leaf.weight).abs());
            smallest_unit[target] = smallest_unit[target].min(lowest_bit(leaf.weight));
        }
        for (target, most) in largest {
            trees_of[target] += 1;
            largest_sum[target] += most;
        }
    }
    (0..targets).all(|target| {
        trees_of[target] <= 1
            || largest_sum[target] == 0.0
            || largest_sum[target] <= f64::from(smallest_unit[target] + 24).exp2()
    })
}

/// The exponent of the lowest bit that is set: 0.75 is 3 × 2⁻², so -2. Zero has none.
fn lowest_bit(weight: f32) -> i32 {
    if weight == 0.0 {
        return i32::MAX - 24;
    }
    let bits = weight.to_bits();
    let (exponent, fraction) = ((bits >> 23 & 0xff).cast_signed(), bits & 0x7f_ffff);
    let (exponent, mantissa) = if exponent == 0 { (1, fraction) } else { (exponent, fraction | 0x80_0000) };
    exponent - 150 + mantissa.trailing_zeros().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(weight: f32) -> Stated {
        Stated::Leaf(Leaf { target: 0, weight })
    }

    fn stump(weights: [f32; 2]) -> Vec<Stated> {
        let root = Stated::Branch {
            column: 0,
            threshold: 1.0,
            missing_true: false,
            true_branch: 1,
            false_branch: 2,
        };
        vec![root, leaf(weights[0]), leaf(weights[1])]
    }

    #[test]
    fn a_sum_is_exact_only_where_no_order_of_the_trees_can_round() {
        let sums = |weights: &[[f32; 2]]| {
            exact(&weights.iter().map(|weights| stump(*weights)).collect::<Vec<_>>(), 1)
        };
        assert!(sums(&[[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]]));
        assert!(sums(&[[0.1, 0.2]]), "one tree is not added to anything");
        assert!(!sums(&[[0.1, 0.2], [0.3, 0.4]]));
        assert!(sums(&[[8_388_608.0, 0.0], [1.0, -1.0]]));
        assert!(!sums(&[[16_777_216.0, 0.0], [1.0, -1.0]]));
        assert!(!sums(&[[f32::NAN, 0.0], [1.0, 0.0]]));
        assert!(sums(&[[0.0, 0.0], [-0.0, 0.0]]));
    }

    #[test]
    fn the_lowest_bit_of_a_weight() {
        for (weight, lowest) in
            [(1.0, 0), (0.75, -2), (6.0, 1), (f32::from_bits(1), -149), (f32::MIN_POSITIVE, -126)]
        {
            assert_eq!(lowest_bit(weight), lowest, "{weight}");
            assert_eq!(lowest_bit(-weight), lowest, "{weight}");
        }
    }

    #[test]
    fn a_missing_value_goes_where_the_node_says() {
        let tree = |missing_true| {
            let mut tree = stump([2.0, 3.0]);
            if let Stated::Branch { missing_true: side, .. } = &mut tree[0] {
                *side = missing_true;
            }
            Ensemble::new(&[tree], 1, 1).unwrap()
        };
        assert_eq!(tree(true).run(&[f32::NAN, 1.0, 1.1, f32::INFINITY]), [2.0, 2.0, 3.0, 3.0]);
        assert_eq!(tree(false).run(&[f32::NAN, f32::NEG_INFINITY]), [3.0, 2.0]);
    }

    #[test]
    fn what_is_no_tree_is_not_walked() {
        let branch = |true_branch, false_branch| Stated::Branch {
            column: 0,
            threshold: 0.0,
            missing_true: false,
            true_branch,
            false_branch,
        };
        for (tree, problem) in [
            (vec![branch(0, 0)], "one of its trees is none"),
            (vec![branch(1, 1), leaf(1.0)], "one of its trees is none"),
            (vec![branch(1, 7), leaf(1.0)], "one of its trees is none"),
            (vec![], "one of its trees is none"),
        ] {
            assert_eq!(Ensemble::new(&[tree], 1, 1).unwrap_err(), problem);
        }
        assert_eq!(
            Ensemble::new(&[stump([0.0, 1.0])], 0, 1).unwrap_err(),
            "a tree asks for a column that is not there"
        );
    }

    #[test]
    fn every_number_of_rows_gives_what_one_row_gives() {
        let trees = (0..21).map(|n| {
            let mut tree = stump([n as f32, 1.0]);
            if n % 3 == 0 {
                tree[1] = Stated::Branch {
                    column: 1,
                    threshold: 0.5,
                    missing_true: true,
                    true_branch: 3,
                    false_branch: 4,
                };
                tree.extend([leaf(5.0), leaf(7.0)]);
            }
            tree
        });
        let ensemble = Ensemble::new(&trees.collect::<Vec<_>>(), 2, 1).unwrap();
        let rows = (0..40).map(|n| (n as f32 * 0.37) % 2.0).collect::<Vec<_>>();
        let one_by_one = rows.chunks(2).flat_map(|row| ensemble.run(row)).collect::<Vec<_>>();
        for count in 1..=20 {
            assert_eq!(ensemble.run(&rows[..count * 2]), one_by_one[..count]);
        }
    }
}
