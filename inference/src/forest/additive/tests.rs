//! Beside the definition: every coalition of columns, answered by the forest itself.

use std::{num::NonZeroUsize, path::PathBuf};

use ndarray::ArrayD;

use super::{Effects, Forest, Scale};
use crate::{device::Device, graph::Graph, runtime::Runtime};

const TOLERANCE: f64 = 1e-9;

fn forest(name: &str, input: &str) -> Forest {
    let configured = std::env::var_os("OVERREAD__RUNTIME__ONNXRUNTIME").map(PathBuf::from);
    let runtime =
        Runtime::open(configured.as_deref()).expect("the tests need ONNX Runtime: run `make runtime`");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let graph = Graph::open(&runtime, &file, Device::Cpu, NonZeroUsize::MIN).unwrap();
    graph.as_forest(input, "probability").unwrap()
}

/// Numbers around the middle of each column, some missing; the same every time.
fn rows(count: usize, middles: &[f64], seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let mut number = |middle: &f64| {
        let (part, gap) = (uniform(), uniform());
        if gap < 0.1 { f64::NAN } else { middle * 2.0 * part }
    };
    (0..count).flat_map(|_| middles.iter().map(&mut number).collect::<Vec<_>>()).collect()
}

/// Shapley's definition: of all orders of the columns, the mean of what a column adds when it comes.
fn by_definition(columns: usize, worth: impl Fn(usize) -> f64) -> Vec<f64> {
    let worths: Vec<f64> = (0..1 << columns).map(worth).collect();
    let factorial = |n: usize| (1..=n).map(|factor| factor as f64).product::<f64>();
    let share = |size: usize| factorial(size) * factorial(columns - size - 1) / factorial(columns);
    let effect = |column: usize| {
        let without = (0..1_usize << columns).filter(|set| set >> column & 1 == 0);
        without.map(|set| share(set.count_ones() as usize) * (worths[set | 1 << column] - worths[set])).sum()
    };
    (0..columns).map(effect).collect()
}

/// The row's values for the columns of a coalition, the other's for the rest.
fn mixed(set: usize, row: &[f64], other: &[f64]) -> Vec<f64> {
    let pick =
        |(column, (own, other)): (usize, (&f64, &f64))| if set >> column & 1 == 1 { *own } else { *other };
    row.iter().zip(other).enumerate().map(pick).collect()
}

#[track_caller]
fn check(forest: &Forest, middles: &[f64], scale: Scale) -> Vec<Effects> {
    let (columns, additive) = (middles.len(), forest.additive().unwrap());
    assert_eq!(additive.scale, scale);
    let (asked, background) = (rows(4, middles, 7), rows(6, middles, 11));
    let effects = forest.effects(&additive, &asked, &background).unwrap();
    // The answers of the forest itself; of a logistic one the sums that the answers are made of.
    let answers = |rows: Vec<f64>| -> Vec<f64> {
        if scale == Scale::LogOdds {
            return forest
                .effects(&additive, &rows, &background)
                .unwrap()
                .iter()
                .map(|one| one.value)
                .collect();
        }
        let rows = ArrayD::from_shape_vec([rows.len() / columns, columns].as_slice(), rows).unwrap();
        forest.run(rows.view()).unwrap().into_iter().collect()
    };
    for (row, effects) in asked.chunks(columns).zip(&effects) {
        let worth = |set: usize| {
            let others = background.chunks(columns).flat_map(|other| mixed(set, row, other)).collect();
            let answers = answers(others);
            answers.iter().sum::<f64>() / answers.len() as f64
        };
        for (found, expected) in effects.columns.iter().zip(by_definition(columns, worth)) {
            assert!((found - expected).abs() < TOLERANCE, "{found} and {expected}");
        }
        let total: f64 = effects.columns.iter().sum();
        assert!((total - (effects.value - effects.base)).abs() < TOLERANCE, "{total}");
        assert!((worth(0) - effects.base).abs() < TOLERANCE);
    }
    assert!(
        effects.iter().any(|one| one.columns.iter().any(|effect| effect.abs() > 1e-3)),
        "nothing has an effect"
    );
    effects
}

const MESO: [f64; 8] = [0.4, 58.0, 320_000.0, 6.0, 1.6, 4.0, 3.4, 60.0];

#[test]
fn columns_of_a_count_of_votes_have_their_shapley_values() {
    let forest = forest("../models/meso/model.onnx", "selected");
    let effects = check(&forest, &MESO, Scale::Probability);
    let asked = ArrayD::from_shape_vec([4, 8].as_slice(), rows(4, &MESO, 7)).unwrap();
    for (answer, effects) in forest.run(asked.view()).unwrap().iter().zip(&effects) {
        assert!((answer - effects.value).abs() < TOLERANCE, "{answer} and {}", effects.value);
    }
}

#[test]
fn columns_of_a_sum_in_order_have_their_shapley_values() {
    let forest = forest("../models/mm-fusion/model.onnx", "selected");
    check(&forest, &[10.0, 0.5, 0.5, 60.0, 1.0], Scale::Probability);
}

#[test]
fn columns_of_boosted_trees_have_their_shapley_values_as_log_odds() {
    let forest = forest("tests/models/boosted.onnx", "selected");
    let middles = vec![0.5; forest.columns];
    let effects = check(&forest, &middles, Scale::LogOdds);
    let asked = rows(4, &middles, 7);
    let asked = ArrayD::from_shape_vec([4, middles.len()].as_slice(), asked).unwrap();
    for (answer, effects) in forest.run(asked.view()).unwrap().iter().zip(&effects) {
        let expected = 1.0 / (1.0 + (-effects.value).exp());
        // The graph itself adds and answers in float32.
        assert!((answer - expected).abs() < 1e-5, "{answer} and {expected}");
    }
}

#[test]
fn a_graph_whose_columns_are_mixed_before_the_trees_says_so() {
    let forest = forest("tests/models/ratios.onnx", "given");
    assert_eq!(forest.additive().unwrap_err().to_string(), "its answer is not a sum over its trees");
}
