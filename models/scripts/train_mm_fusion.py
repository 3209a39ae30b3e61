"""Trains `mm-fusion` on cases that it makes itself: lesion volumes, expression risk and clinical values → progression.

    python train_mm_fusion.py ../mm-fusion

The rule behind the label is invented. The forest's leaves are mixed, so its graph adds trees in scikit-learn's order.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from sklearn.ensemble import RandomForestClassifier

import forest_onnx
import package

SEED = 77
# In the order of model.toml: findings of other models, then clinical values.
FEATURES = ("core_ml", "oedema_ml", "expression_risk", "age", "karnofsky")


def cases(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels; `shift` makes lesions larger and patients older than in training."""
    g = np.random.default_rng((seed, 13))
    found = g.random(count) < 0.92
    core = np.round(g.lognormal(2.4 + 0.3 * shift, 0.8, count), 2) * found
    oedema = np.round(core * g.lognormal(0.6, 0.6, count), 2)
    risk = np.round(1 / (1 + np.exp(-g.normal(0, 2, count))), 4)
    age = np.round(np.clip(g.normal(57 + 5 * shift, 13, count), 18, 92))
    karnofsky = np.clip(np.round(g.normal(82 - 0.2 * (age - 57), 12, count), -1), 30, 100)
    score = (0.9 * np.log1p(core) + 0.35 * np.log1p(oedema) + 2.6 * (risk - 0.5) + 0.04 * (age - 57)
             - 0.05 * (karnofsky - 80) + 1.5 * (risk - 0.5) * np.log1p(core) / 2 - 3.0)
    labels = (g.random(count) < 1 / (1 + np.exp(-2 * score))).astype(int)
    return np.stack([core, oedema, risk, age, karnofsky], axis=1), labels


def trained() -> RandomForestClassifier:
    table, labels = cases(1500, 0)
    forest = RandomForestClassifier(n_estimators=150, min_samples_leaf=6, max_depth=7, random_state=SEED, n_jobs=1)
    return forest.fit(table, labels)


def main(folder: Path) -> None:
    forest = trained()
    onnx.save(forest_onnx.graph(forest_onnx.of_random_forest(forest), len(FEATURES)), folder / "model.onnx")
    table, labels = cases(5000, 1)
    reference = forest.predict_proba(table)[:, 1]
    answer = package.run(folder / "model.onnx", {"selected": table}, ["probability"])[0][:, 0]
    if not np.array_equal(reference, answer):
        raise ValueError(f"{int((reference != answer).sum())} of {len(table)} rows differ from scikit-learn")
    package.record(folder, table[:100], reference[:100])
    package.stamp(folder)
    print(f"{folder}: {len(table)} rows equal scikit-learn bit for bit, "
          f"accuracy {np.mean((answer >= 0.5) == labels):.3f} on new rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
