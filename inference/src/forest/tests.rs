//! The same bits as ONNX Runtime, graph by graph, on rows that are hard: missing, infinite, at a threshold.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use ndarray::ArrayD;
use proptest::{prelude::*, sample::select, test_runner::TestRunner};

use super::{Forest, Input};
use crate::{device::Device, graph::Graph, onnx, runtime::Runtime};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn graph(name: &str) -> Graph {
    let configured = std::env::var_os("OVERREAD__RUNTIME__ONNXRUNTIME").map(PathBuf::from);
    let runtime =
        Runtime::open(configured.as_deref()).expect("the tests need ONNX Runtime: run `make runtime`");
    Graph::open(&runtime, &file(name), Device::Cpu, NonZeroUsize::new(2).unwrap()).unwrap()
}

/// Numbers at which a tree may turn: its thresholds and their neighbours, and what is no usual number.
fn hard_numbers(name: &str) -> Vec<f64> {
    let bytes = std::fs::read(file(name)).unwrap();
    let parsed = onnx::parse(&bytes).unwrap();
    let thresholds = parsed.nodes.iter().filter_map(|node| node.attributes.get("nodes_values"));
    let around = |at: &f32| [*at, at.next_up(), at.next_down()];
    let mut numbers = thresholds
        .flat_map(|values| values.floats.iter().flat_map(around))
        .map(f64::from)
        .collect::<Vec<_>>();
    numbers.extend([0.0, -0.0, 1e300, -1e300, 1e-320, f64::INFINITY, f64::NEG_INFINITY, 1.0 + f64::EPSILON]);
    numbers
}

#[track_caller]
fn check(name: &str, input: &str, output: &str, trees: usize) {
    let graph = graph(name);
    let forest = graph.as_forest(input, output).unwrap();
    assert_eq!(forest.trees(), trees);
    let value = prop_oneof![
        1 => Just(f64::NAN),
        2 => select(hard_numbers(name)),
        3 => -4.0..4.0_f64,
        2 => -1e5..1e5_f64,
    ];
    let row = prop::collection::vec(value, forest.columns);
    let rows = prop::collection::vec(row, 1..60);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let same = |rows: Vec<Vec<f64>>| {
        let shape = [rows.len(), forest.columns];
        let rows = ArrayD::from_shape_vec(shape.as_slice(), rows.concat()).unwrap();
        let ours = forest.run(rows.view()).unwrap();
        let theirs = graph.run_rows(input, rows.view(), output).unwrap();
        prop_assert_eq!(ours.len(), theirs.len());
        for (row, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            prop_assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "row {row}: {ours:e} and {theirs:e}"
            );
        }
        Ok(())
    };
    runner.run(&rows, same).unwrap();
}

#[test]
fn a_count_of_votes_has_the_bits_of_onnx_runtime() {
    check("../models/meso/model.onnx", "selected", "probability", 300);
}

#[test]
fn a_sum_in_the_order_of_the_trees_has_the_bits_of_onnx_runtime() {
    check("../models/mm-fusion/model.onnx", "selected", "probability", 150);
}

#[test]
fn boosted_trees_have_the_bits_of_onnx_runtime() {
    check("tests/models/boosted.onnx", "selected", "probability", 60);
}

#[test]
fn ratios_within_the_graph_have_the_bits_of_onnx_runtime() {
    check("tests/models/ratios.onnx", "given", "probability", 20);
}

#[test]
fn one_axis_less_has_the_bits_of_onnx_runtime() {
    check("tests/models/forest.onnx", "selected", "probability", 4);
}

#[test]
fn a_graph_that_is_no_forest_is_left_to_onnx_runtime_and_says_why() {
    let why =
        |name: &str, input: &str, output: &str| graph(name).as_forest(input, output).unwrap_err().to_string();
    assert_eq!(
        why("../models/mg-expression/model.onnx", "genes", "probability"),
        "its operators are of another version, or there is no tree among them"
    );
    assert_eq!(why("tests/models/forest.onnx", "selected", "sum"), "\"sum\" is not what its last step gives");
    assert_eq!(why("tests/models/forest.onnx", "other", "sum"), "its input is none that a forest takes");
}

#[test]
fn many_rows_at_once_are_what_few_are() {
    let forest = graph("../models/mm-fusion/model.onnx").as_forest("selected", "probability").unwrap();
    let rows = ArrayD::from_shape_fn([700, 5].as_slice(), |at| ((at[0] * 7 + at[1] * 3) % 97) as f64 * 0.9);
    let all = forest.run(rows.view()).unwrap();
    assert_eq!(all.shape(), [700, 1]);
    for at in [0, 255, 256, 699] {
        let one = rows.slice(ndarray::s![at..=at, ..]).into_dyn();
        assert_eq!(forest.run(one).unwrap()[[0, 0]].to_bits(), all[[at, 0]].to_bits());
    }
    assert_eq!(forest.run(ArrayD::zeros([0, 5].as_slice()).view()).unwrap().shape(), [0, 1]);
    assert!(forest.run(ArrayD::zeros([1, 4].as_slice()).view()).is_none());
}

#[test]
fn a_graph_changed_anywhere_is_left_or_computed_and_never_a_panic() {
    let rows = ArrayD::from_shape_fn([9, 3].as_slice(), |at| at[0] as f64 - at[1] as f64);
    let input = Input { name: "selected", columns: 3, narrow: false };
    let whole = std::fs::read(file("tests/models/forest.onnx")).unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x02, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            if let Ok(forest) = Forest::read(&changed, &input, "probability") {
                let _either = forest.run(rows.view());
            }
        }
    }
}
