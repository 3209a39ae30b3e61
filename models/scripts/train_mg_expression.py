"""Trains `mg-expression` on expression profiles that it makes itself: a logistic regression over 320 invented genes.

    python train_mg_expression.py ../mg-expression

Twelve programmes of genes rise and fall together; three of them carry the label, one of them only together with
another. Laboratory noise and batch effects lie on top. No gene exists, so none is named after one.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import package

GENES = 320
PROGRAMMES = 12
SEED = 41
NAMES = [f"GENE_{i:03d}" for i in range(1, GENES + 1)]


def profiles(count: int, seed: int, noise: float = 0.8, batch: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """log2(TPM + 1) of each gene, and the label; which genes belong together is the same for every seed."""
    fixed = np.random.default_rng(SEED)
    level = fixed.uniform(1.5, 9, GENES)
    loading = fixed.normal(0, 0.9, (PROGRAMMES, GENES)) * (fixed.random((PROGRAMMES, GENES)) < 0.12)
    g = np.random.default_rng((seed, 11))
    activity = g.normal(0, 1, (count, PROGRAMMES))
    score = 1.7 * activity[:, 0] - 1.4 * activity[:, 3] + 0.9 * activity[:, 7] * (activity[:, 0] > 0) - 0.4
    labels = (g.random(count) < 1 / (1 + np.exp(-2 * score))).astype(int)
    table = (level + activity @ loading + g.normal(0, noise, (count, GENES))
             + batch * g.normal(0, 1, (count, 1)) * fixed.uniform(0, 1, GENES))
    return np.round(np.maximum(table, 0), 4), labels


def graph(pipeline: Pipeline) -> onnx.ModelProto:
    """The whole pipeline in float64."""
    scale, regression = pipeline.named_steps["scale"], pipeline.named_steps["regression"]
    values = {"mean": scale.mean_, "scale": scale.scale_, "weights": regression.coef_.T, "bias": regression.intercept_}
    nodes = [helper.make_node("Sub", ["genes", "mean"], ["centred"]),
             helper.make_node("Div", ["centred", "scale"], ["scaled"]),
             helper.make_node("MatMul", ["scaled", "weights"], ["product"]),
             helper.make_node("Add", ["product", "bias"], ["score"]),
             helper.make_node("Sigmoid", ["score"], ["probability"])]
    made = helper.make_model(
        helper.make_graph(nodes, "expression",
                          [helper.make_tensor_value_info("genes", TensorProto.DOUBLE, ["rows", GENES])],
                          [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["rows", 1])],
                          [numpy_helper.from_array(np.asarray(v, np.float64), k) for k, v in values.items()]),
        ir_version=8, producer_name="overread", opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(made, full_check=True)
    return made


def description(usual: np.ndarray) -> str:
    features = "\n".join(f'  {{ name = "{name}", unit = "1", range = {{ min = 0, max = 20 }}, missing = {value:.4f} }},'
                         for name, value in zip(NAMES, usual))
    return f'''# Written by models/scripts/train_mg_expression.py.
format = 1
id = "mg-expression"
version = "0.1.0"
name = "Tumour subtype from gene expression"
aliases = ["MG"]
task = "tabular"
intended_use = "demonstration"
description = "Logistic regression over {GENES} invented genes, log2(TPM + 1); trained on invented profiles only"

[[weights]]
file = "model.onnx"
sha256 = ""

[tabular]
algorithm = "LogisticRegression"
threshold = 0.5
outside = "warn"
# A gene that was not measured takes its mean of the training profiles.
feature = [
{features}
]

[input]
tensor = "genes"

[output]
tensor = "probability"
positive = {{ name = "Aggressive subtype" }}

[selftest]
input = "selftest/input.npy"
expected = "selftest/expected.npy"
tolerance = 1e-9
'''


def trained() -> Pipeline:
    table, labels = profiles(1200, 0)
    return Pipeline([("scale", StandardScaler()),
                     ("regression", LogisticRegression(C=0.02, max_iter=2000, random_state=SEED))]).fit(table, labels)


def main(folder: Path) -> None:
    pipeline = trained()
    onnx.save(graph(pipeline), folder / "model.onnx")
    (folder / "model.toml").write_text(description(pipeline.named_steps["scale"].mean_))
    table, labels = profiles(1000, 1)
    answer = package.run(folder / "model.onnx", {"genes": table}, ["probability"])[0][:, 0]
    off = float(np.abs(answer - pipeline.predict_proba(table)[:, 1]).max())
    if off > 1e-12:
        raise ValueError(f"the graph differs from scikit-learn by {off}")
    package.record(folder, table[:20], answer[:20])
    package.stamp(folder)
    print(f"{folder}: within {off:.1e} of scikit-learn, accuracy {np.mean((answer >= 0.5) == labels):.3f} on new rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
