"""Exports a fitted forest to ONNX so that ONNX Runtime gives scikit-learn's own numbers, bit for bit.

Why not skl2onnx: it scales in float32, rounds thresholds to the nearest float32, and drops the side that scikit-learn
sends a missing value to. Here:

* the scaler works in float64 and the result is cast to float32 once, as the forest's own `predict_proba` does;
* a float64 threshold becomes the largest float32 that is not above it, which decides every float32 alike;
* `nodes_missing_value_tracks_true` carries the learned side of a missing value;
* the trees are added in their order in the forest's own precision. Where every leaf is pure the sum is a count of
  votes and any order gives it; else the graph looks up which leaf each tree ends in, takes that leaf's value
  from a table, and adds them one after another (`CumSum`).

What it covers: scikit-learn's `RandomForestClassifier` with two classes (the reference is `n_jobs=1`: with several jobs scikit-learn
adds in the order in which threads finish), XGBoost's `XGBClassifier` and `XGBRFClassifier` with `binary:logistic`.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = (helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3))


@dataclass
class Node:
    """One node of a tree; a leaf has no children."""

    feature: int = 0
    threshold: np.float32 = np.float32(0)
    left: int = 0
    right: int = 0
    missing_left: bool = False
    value: float | None = None


@dataclass
class Forest:
    """Trees of any library, the comparison that sends a row left, and how leaf values become a probability."""

    trees: list[list[Node]]
    comparison: str  # BRANCH_LEQ or BRANCH_LT
    dtype: type
    start: float | None = None  # what the sum begins with
    divide_by: float | None = None
    logistic: bool = False

    @property
    def is_count_of_votes(self) -> bool:
        leaves = {node.value for tree in self.trees for node in tree if node.value is not None}
        return self.start is None and leaves <= {0.0, 1.0}


@dataclass
class Graph:
    """A graph under construction."""

    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)

    def constant(self, name: str, value) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output


def not_above(threshold: float) -> np.float32:
    """The largest float32 that is not above a float64: `x <= threshold` holds for the same float32 values of x."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


def of_random_forest(model) -> Forest:
    """The trees of a fitted `RandomForestClassifier`."""
    if list(model.classes_) != [0, 1]:
        raise ValueError(f"the forest has classes {list(model.classes_)}, expected 0 and 1")
    trees = []
    for estimator in model.estimators_:
        tree = estimator.tree_
        nodes = []
        for i in range(tree.node_count):
            if tree.children_left[i] < 0:
                nodes.append(Node(value=_share(tree.value[i][0])))
            else:
                nodes.append(Node(feature=int(tree.feature[i]), threshold=not_above(float(tree.threshold[i])),
                                  left=int(tree.children_left[i]), right=int(tree.children_right[i]),
                                  missing_left=bool(tree.missing_go_to_left[i])))
        trees.append(nodes)
    return Forest(trees, "BRANCH_LEQ", np.float64, divide_by=float(len(trees)))


def _share(counts: np.ndarray) -> float:
    """P(1) of a leaf as `DecisionTreeClassifier.predict_proba` gives it: the stored fractions (scikit-learn ≥ 1.3)."""
    if abs(float(counts.sum()) - 1) > 1e-9:
        raise ValueError("the leaves hold counts, not fractions: the forest was fitted with scikit-learn below 1.3; "
                         "fit it again")
    return float(counts[1])


def of_xgboost(model) -> Forest:
    """The trees of a fitted `XGBClassifier` or `XGBRFClassifier`, read from its own JSON."""
    learner = json.loads(model.get_booster().save_raw("json").decode())["learner"]
    objective = learner["objective"]["name"]
    if objective != "binary:logistic":
        raise ValueError(f"the objective is {objective}, expected binary:logistic")
    if learner["gradient_booster"]["name"] != "gbtree":
        raise ValueError(f"the booster is {learner['gradient_booster']['name']}, expected gbtree")
    base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
    # XGBoost's own: -logf(1 / base - 1), the logarithm rounded once from float64.
    start = -np.float32(np.log(np.float64(np.float32(1) / base - np.float32(1))))
    return Forest([_xgboost_tree(tree) for tree in learner["gradient_booster"]["model"]["trees"]], "BRANCH_LT",
                  np.float32, start=float(start), logistic=True)


def _xgboost_tree(tree: dict) -> list[Node]:
    if any(tree.get("split_type", ())):
        raise ValueError("the forest splits by category, only numbers are supported")
    return [Node(value=float(np.float32(condition))) if left < 0 else
            Node(feature=feature, threshold=np.float32(condition), left=left, right=right, missing_left=bool(default))
            for left, right, feature, condition, default
            in zip(tree["left_children"], tree["right_children"], tree["split_indices"], tree["split_conditions"],
                   tree["default_left"])]


def _ensemble(g: Graph, forest: Forest, weights: dict[tuple[int, int], float], targets: int, output: str) -> str:
    """A TreeEnsembleRegressor whose leaf (tree, node) adds its weight to its target."""
    columns: dict[str, list] = {key: [] for key in (
        "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
        "nodes_falsenodeids", "nodes_missing_value_tracks_true", "target_treeids", "target_nodeids", "target_ids",
        "target_weights")}
    for t, tree in enumerate(forest.trees):
        for n, node in enumerate(tree):
            leaf = node.value is not None
            for key, value in (("nodes_treeids", t), ("nodes_nodeids", n), ("nodes_featureids", node.feature),
                               ("nodes_values", float(node.threshold)),
                               ("nodes_modes", "LEAF" if leaf else forest.comparison),
                               ("nodes_truenodeids", node.left), ("nodes_falsenodeids", node.right),
                               ("nodes_missing_value_tracks_true", int(node.missing_left))):
                columns[key].append(value)
            if leaf:
                columns["target_treeids"].append(t)
                columns["target_nodeids"].append(n)
                columns["target_ids"].append(t if targets > 1 else 0)
                columns["target_weights"].append(weights[t, n])
    return g.add("TreeEnsembleRegressor", ["x"], output, domain="ai.onnx.ml", n_targets=targets,
                 aggregate_function="SUM", post_transform="NONE", **columns)


def _sum_of_votes(g: Graph, forest: Forest) -> str:
    votes = {(t, n): node.value for t, tree in enumerate(forest.trees)
             for n, node in enumerate(tree) if node.value is not None}
    return g.add("Cast", [_ensemble(g, forest, votes, 1, "votes")], "sum", to=TensorProto.DOUBLE)


def _sum_in_order(g: Graph, forest: Forest) -> str:
    """Which leaf each tree ends in → that leaf's value → one after another."""
    places, table = {}, []
    for t, tree in enumerate(forest.trees):
        for n, node in enumerate(tree):
            if node.value is not None:
                places[t, n] = float(len(table))
                table.append(node.value)
    if len(table) >= 2 ** 24:
        raise ValueError(f"the forest has {len(table)} leaves, at most {2 ** 24 - 1} can be numbered in float32")
    leaf = g.add("Cast", [_ensemble(g, forest, places, len(forest.trees), "leaf")], "leaf_index", to=TensorProto.INT64)
    terms = g.add("Gather", [g.constant("leaf_values", np.array(table, forest.dtype)), leaf], "terms")
    if forest.start is not None:
        # The sum begins with the base margin: it becomes a first column.
        first = g.add("Slice", [terms, g.constant("zero_at", np.array([0], np.int64)),
                                g.constant("one_at", np.array([1], np.int64)),
                                g.constant("columns", np.array([1], np.int64))], "some_column")
        nothing = g.add("Mul", [first, g.constant("nought", np.array(0, forest.dtype))], "nought_column")
        start = g.add("Add", [nothing, g.constant("start", np.array(forest.start, forest.dtype))], "start_column")
        terms = g.add("Concat", [start, terms], "all_terms", axis=1)
    sums = g.add("CumSum", [terms, g.constant("axis", np.array(1, np.int64))], "sums")
    return g.add("Gather", [sums, g.constant("last", np.array([-1], np.int64))], "sum", axis=1)


def _logistic(g: Graph, margin: str) -> str:
    """XGBoost's own: 1 / (1 + exp(-m) + 1e-16) in float32, the exponential rounded once from float64."""
    minus = g.add("Neg", [margin], "minus")
    wide = g.add("Cast", [minus], "minus64", to=TensorProto.DOUBLE)
    power = g.add("Cast", [g.add("Exp", [wide], "power64")], "power", to=TensorProto.FLOAT)
    one = g.constant("one", np.float32(1))
    below = g.add("Add", [g.add("Add", [one, power], "one_and"), g.constant("tiny", np.float32(1e-16))], "below")
    return g.add("Cast", [g.add("Div", [one, below], "probability32")], "probability", to=TensorProto.DOUBLE)


def graph(forest: Forest, features: int, mean=None, scale=None) -> onnx.ModelProto:
    """Selected features in float64 (rows, features), NaN for missing → P(1) in float64 (rows, 1)."""
    g = Graph()
    value = "selected"
    if mean is not None:
        value = g.add("Sub", [value, g.constant("mean", np.asarray(mean, np.float64))], "centred")
    if scale is not None:
        value = g.add("Div", [value, g.constant("scale", np.asarray(scale, np.float64))], "scaled")
    g.add("Cast", [value], "x", to=TensorProto.FLOAT)
    total = _sum_of_votes(g, forest) if forest.is_count_of_votes else _sum_in_order(g, forest)
    if forest.logistic:
        _logistic(g, total)
    else:
        g.add("Div", [total, g.constant("trees", np.float64(forest.divide_by))], "probability")
    made = helper.make_model(
        helper.make_graph(g.nodes, "forest",
                          [helper.make_tensor_value_info("selected", TensorProto.DOUBLE, ["rows", features])],
                          [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["rows", 1])],
                          g.constants),
        ir_version=8, producer_name="overread", opset_imports=OPSET)
    onnx.checker.check_model(made, full_check=True)
    return made
