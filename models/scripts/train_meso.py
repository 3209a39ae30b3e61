"""Trains `meso` on rows that it makes itself, and exports the forest so that it answers scikit-learn's own numbers.

    python train_meso.py ../meso

The table is invented: distributions are plausible, the rule behind the label is ours. It says nothing about
mesothelioma; it exists so that the routes of the tabular contract have a model to answer with.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import forest_onnx
import package
from meso_features import BASE, Ratios

TREES = 300
THRESHOLD = 0.29
SEED = 20_251_128


def rows(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Base features and labels; `shift` moves the population (older, longer exposed) away from the training's."""
    g = np.random.default_rng(seed)
    age = np.round(np.clip(g.normal(58 + 4 * shift, 12, count), 25, 92))
    exposed = g.random(count) < 0.7 + 0.1 * shift
    exposure = np.round(np.clip(g.normal(24 + 3 * shift, 13, count), 0, age - 15)) * exposed
    symptoms = np.round(g.gamma(2.2, 2.6, count), 1)
    platelets = np.round(np.clip(g.lognormal(np.log(320), 0.4, count), 30, 1500)) * 1000
    white = np.round(np.clip(g.normal(9.2, 3.1, count), 1.5, 40), 1) * 1000
    blood_ldh = np.round(np.clip(g.normal(300, 95, count), 80, None))
    pleural_ldh = np.round(blood_ldh * g.lognormal(0.45, 0.55, count))
    protein = np.round(np.clip(g.normal(6.7, 0.8, count), 3, 10), 1)
    pleural = np.round(protein * np.clip(g.normal(0.6, 0.14, count), 0.1, 1.2), 1)
    albumin = np.round(np.clip(g.normal(3.4, 0.6, count), 1, 5.5), 1)
    crp = np.round(g.gamma(2.2, 28, count))
    table = np.stack([age, symptoms, platelets, white, blood_ldh, pleural_ldh, pleural, protein, albumin, crp,
                      exposure], axis=1)
    score = (4.5 * (exposure / age - 0.3) + 0.035 * (age - 58) + 2.2e-6 * (platelets - 320_000)
             + 0.9 * (pleural_ldh / blood_ldh - 1.6) - 0.9 * (albumin - 3.4) + 0.008 * (crp - 60)
             + 0.05 * (symptoms - 5.7) - 1.1)
    return table, (g.random(count) < 1 / (1 + np.exp(-4 * score))).astype(int)


def with_gaps(table: np.ndarray, seed: int, share: float = 0.08) -> np.ndarray:
    """Some values go missing, as laboratories leave them out; age is always known."""
    gap = np.random.default_rng(seed).random(table.shape) < share
    gap[:, BASE.index("age")] = False
    return np.where(gap, np.nan, table)


def untrained() -> Pipeline:
    return Pipeline([
        ("features", Ratios()), ("scale", StandardScaler()),
        ("forest", RandomForestClassifier(n_estimators=TREES, class_weight="balanced", random_state=SEED, n_jobs=1))])


def trained() -> Pipeline:
    table, labels = rows(400, SEED)
    return untrained().fit(with_gaps(table, SEED + 1), labels)


def main(folder: Path) -> None:
    pipeline = trained()
    scale = pipeline.named_steps["scale"]
    forest = forest_onnx.of_random_forest(pipeline.named_steps["forest"])
    graph = forest_onnx.graph(forest, len(scale.mean_), scale.mean_, scale.scale_)
    onnx.save(graph, folder / "model.onnx")

    table = with_gaps(rows(5000, SEED + 2)[0], SEED + 3, 0.15)
    # The worked example of the contract comes first.
    table[0] = (65, 30, 250_000, 8000, 200, 600, 4.5, 7.2, 3.8, 15, 20)
    reference = pipeline.predict_proba(table)[:, 1]
    answer = package.run(folder / "model.onnx", {"selected": pipeline.named_steps["features"].transform(table)},
                         ["probability"])[0][:, 0]
    if not np.array_equal(reference, answer):
        raise ValueError(f"{int((reference != answer).sum())} of {len(table)} rows differ from scikit-learn")
    package.record(folder, table[:200], reference[:200])
    package.stamp(folder)
    print(f"{len(table)} rows with gaps equal scikit-learn bit for bit; the worked example gives {reference[0]!r}; "
          f"votes in float32: {forest.is_count_of_votes}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
