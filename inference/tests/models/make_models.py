#!/usr/bin/env python3
"""Writes the tiny graphs that the tests run. Needs onnx and numpy; the same bytes each time.

  threshold.onnx   (1,1,z,y,x) → logits (1,2,z,y,x): label 1 where the value is above 0.5
  later.onnx       as threshold, at 0.8
  two_series.onnx  (1,2,z,y,x) → logits (1,2,z,y,x): label 1 where the second channel is above the first
  conv.onnx        (1,1,16,16,16) → logits (1,3,16,16,16): two random convolutions, so that windows differ at their edges
  slices.onnx      (1,1,y,x) → logits (1,2,y,x): as threshold, slice by slice
  before.onnx      (1,3,y,x) → logits (1,2,y,x): label 1 where the first channel, the slice before, is above 0.5
  classify.onnx    (1,1,y,x) → scores (1,3), features, gradients and head_weights for Grad-CAM
  forest.onnx      float64 (rows,3) → probability (rows): four trees, a side for missing values
  boosted.onnx     float64 (rows,4) → probability (rows,1): sixty trees as models/scripts/forest_onnx.py writes XGBoost's
  ratios.onnx      float32 (rows,3) → probability (rows,1): a ratio that a zero makes missing, then trees
"""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "models", "scripts"))

import forest_onnx  # noqa: E402


def save(name, nodes, inputs, outputs, constants, domains=()):
    graph = h.make_graph(nodes, name, inputs, outputs, [nh.from_array(value, key) for key, value in constants.items()])
    opsets = [h.make_opsetid("", 17)] + [h.make_opsetid(domain, version) for domain, version in domains]
    model = h.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")
    onnx.checker.check_model(model)
    with open(os.path.join(HERE, name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())


def tensor(name, shape, kind=T.FLOAT):
    return h.make_tensor_value_info(name, kind, shape)


def pointwise(name, channels, weights, axes, bias):
    sides = ["z", "y", "x"][3 - axes:]
    ones = [1] * axes
    save(name, [h.make_node("Conv", ["input", "w", "b"], ["logits"], kernel_shape=ones)],
         [tensor("input", [1, channels] + sides)], [tensor("logits", [1, 2] + sides)],
         {"w": np.array(weights, np.float32).reshape([2, channels] + ones),
          "b": np.array(bias, np.float32)})


def conv():
    g = np.random.default_rng(1)
    save("conv", [h.make_node("Conv", ["input", "w1", "b1"], ["h1"], kernel_shape=[3] * 3, pads=[1] * 6),
                  h.make_node("Relu", ["h1"], ["h2"]),
                  h.make_node("Conv", ["h2", "w2", "b2"], ["logits"], kernel_shape=[3] * 3, pads=[1] * 6)],
         [tensor("input", [1, 1, 16, 16, 16])], [tensor("logits", [1, 3, 16, 16, 16])],
         {"w1": g.normal(0, 0.3, (6, 1, 3, 3, 3)).astype(np.float32), "b1": g.normal(0, 0.2, 6).astype(np.float32),
          "w2": g.normal(0, 0.3, (3, 6, 3, 3, 3)).astype(np.float32), "b2": np.zeros(3, np.float32)})


def classify():
    """Scores are a linear head on the global mean, so their gradient by a feature is weight / pixels everywhere."""
    g = np.random.default_rng(2)
    head = g.normal(0, 1, (3, 4)).astype(np.float32)
    nodes = [
        h.make_node("Conv", ["input", "w", "b"], ["h1"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        h.make_node("Relu", ["h1"], ["features"]),
        h.make_node("GlobalAveragePool", ["features"], ["mean4"]),
        h.make_node("Flatten", ["mean4"], ["mean"]),
        h.make_node("MatMul", ["mean", "head_t"], ["scores"]),
        h.make_node("Identity", ["head"], ["head_weights"]),
        h.make_node("Shape", ["features"], ["shape"]),
        h.make_node("Slice", ["shape", "two", "four", "zero"], ["sides"]),
        h.make_node("Cast", ["sides"], ["sides_f"], to=T.FLOAT),
        h.make_node("ReduceProd", ["sides_f"], ["pixels"], keepdims=0),
        h.make_node("Div", ["head5", "pixels"], ["each"]),
        h.make_node("Concat", ["one_three_four", "sides"], ["target"], axis=0),
        h.make_node("Expand", ["each", "target"], ["gradients"]),
    ]
    save("classify", nodes, [tensor("input", [1, 1, "y", "x"])],
         [tensor("scores", [1, 3]), tensor("features", [1, 4, "h", "w"]),
          tensor("gradients", [1, 3, 4, "h", "w"]), tensor("head_weights", [3, 4])],
         {"w": g.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32), "b": np.zeros(4, np.float32),
          "head": head, "head_t": np.ascontiguousarray(head.T), "head5": head.reshape(1, 3, 4, 1, 1),
          "two": np.array([2]), "four": np.array([4]), "zero": np.array([0]), "one_three_four": np.array([1, 3, 4])})


# One split and two leaves a tree: (feature, threshold, missing goes to "at most", value at most, value above).
TREES = [(0, 0.3, True, 0.0, 1.0), (1, 50.0, False, 0.25, 1.0), (2, 2.5, True, 0.75, 0.0), (0, 0.7, False, 0.5, 1.0)]


def forest():
    t = {key: [] for key in ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes",
                             "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true",
                             "target_treeids", "target_nodeids", "target_ids", "target_weights")}
    for tree, (feature, threshold, missing, low, high) in enumerate(TREES):
        for node, (mode, value, yes, no) in enumerate([("BRANCH_LEQ", threshold, 1, 2), ("LEAF", 0.0, 0, 0), ("LEAF", 0.0, 0, 0)]):
            for key, item in (("treeids", tree), ("nodeids", node), ("featureids", feature if node == 0 else 0),
                              ("values", value), ("modes", mode), ("truenodeids", yes), ("falsenodeids", no),
                              ("missing_value_tracks_true", int(missing and node == 0))):
                t["nodes_" + key].append(item)
        for node, weight in ((1, low), (2, high)):
            for key, item in (("treeids", tree), ("nodeids", node), ("ids", 0), ("weights", weight)):
                t["target_" + key].append(item)
    nodes = [h.make_node("Cast", ["selected"], ["x"], to=T.FLOAT),
             h.make_node("TreeEnsembleRegressor", ["x"], ["sum"], domain="ai.onnx.ml", n_targets=1, **t),
             h.make_node("Cast", ["sum"], ["sum_d"], to=T.DOUBLE),
             h.make_node("Div", ["sum_d", "count"], ["mean"]),
             h.make_node("Squeeze", ["mean", "axis"], ["probability"])]
    save("forest", nodes, [tensor("selected", ["rows", 3], T.DOUBLE)], [tensor("probability", ["rows"], T.DOUBLE)],
         {"count": np.float64(len(TREES)), "axis": np.array([1])}, [("ai.onnx.ml", 3)])


def random_tree(g, depth, leaf):
    """A tree of uneven depth over four columns, its root first."""
    nodes = [None]

    def grow(at, left):
        if left == 0 or g.random() < 0.15:
            nodes[at] = forest_onnx.Node(value=leaf())
            return
        here = forest_onnx.Node(feature=int(g.integers(4)), threshold=np.float32(g.normal()), left=len(nodes),
                                right=len(nodes) + 1, missing_left=bool(g.integers(2)))
        nodes.extend([None, None])
        nodes[at] = here
        grow(here.left, left - 1)
        grow(here.right, left - 1)

    grow(0, depth)
    return nodes


def boosted():
    g = np.random.default_rng(4)
    trees = [random_tree(g, 5, lambda: float(np.float32(g.normal(0, 0.2)))) for _ in range(60)]
    made = forest_onnx.graph(forest_onnx.Forest(trees, "BRANCH_LT", np.float32, start=-0.4, logistic=True), 4,
                             mean=[0.1, 0, -0.2, 0], scale=[1, 2, 0.5, 1])
    onnx.save(made, os.path.join(HERE, "boosted.onnx"))


def ratios():
    g = np.random.default_rng(5)
    trees = forest_onnx.Forest([random_tree(g, 4, lambda: float(g.integers(2))) for _ in range(20)], "BRANCH_LEQ", np.float64)
    votes = {(t, n): node.value for t, tree in enumerate(trees.trees) for n, node in enumerate(tree) if node.value is not None}
    made = forest_onnx.Graph()
    forest_onnx._ensemble(made, trees, votes, 1, "votes")
    nodes = [h.make_node("Gather", ["given", "i0"], ["a"], axis=1), h.make_node("Gather", ["given", "i1"], ["b"], axis=1),
             h.make_node("Equal", ["b", "zero"], ["b0"]), h.make_node("Where", ["b0", "nan", "b"], ["divisor"]),
             h.make_node("Div", ["a", "divisor"], ["ratio"]), h.make_node("Concat", ["ratio", "given"], ["x"], axis=1),
             *made.nodes, h.make_node("Div", ["votes", "trees"], ["probability"])]
    save("ratios", nodes, [tensor("given", ["rows", 3])], [tensor("probability", ["rows", 1])],
         {"i0": np.array([0]), "i1": np.array([-2]), "zero": np.float32(0), "nan": np.float32(np.nan),
          "trees": np.array([20], np.float32)}, [("ai.onnx.ml", 3)])


if __name__ == "__main__":
    pointwise("threshold", 1, [-1, 1], 3, [0.5, -0.5])
    pointwise("later", 1, [-1, 1], 3, [0.8, -0.8])
    pointwise("two_series", 2, [1, -1, -1, 1], 3, [0, 0])
    pointwise("slices", 1, [-1, 1], 2, [0.5, -0.5])
    pointwise("before", 3, [-1, 0, 0, 1, 0, 0], 2, [0.5, -0.5])
    conv()
    classify()
    forest()
    boosted()
    ratios()
