"""Figures of the tabular packages: accuracy, area under the ROC curve, confusion, calibration on rows not trained on."""
from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

import package
import report_plots as plots
import train_meso
import train_mg_expression
import train_mm_fusion
from meso_features import Ratios
from report import Section, table

ROWS = 4000
SEED = 1_400_000


def single_value(features: np.ndarray, labels: np.ndarray) -> DecisionTreeClassifier:
    """The one value, and the one cut through it, that tell most on rows like the training's."""
    return DecisionTreeClassifier(max_depth=1, random_state=0).fit(features, labels)


def _report(folder: Path, tensor: str, populations: dict[str, tuple[np.ndarray, np.ndarray]]) -> Section:
    stump = single_value(*populations["training ranges, new seeds"])
    threshold = tomllib.loads((folder / "model.toml").read_text())["tabular"]["threshold"]
    rows, first = [], None
    for name, (features, labels) in populations.items():
        p = package.run(folder / "model.onnx", {tensor: features}, ["probability"])[0][:, 0]
        found = (p >= threshold).astype(int)
        first = first or (p, labels, found)
        sensitivity, specificity = found[labels == 1].mean(), 1 - found[labels == 0].mean()
        usual = max(labels.mean(), 1 - labels.mean())
        alone = stump.predict_proba(features)[:, 1]
        rows.append([name, float((found == labels).mean()), float(usual), float(((alone >= 0.5) == labels).mean()),
                     float(roc_auc_score(labels, p)), float(roc_auc_score(labels, alone)), float(sensitivity),
                     float(specificity), float(((p - labels) ** 2).mean())])
    p, labels, found = first
    plots.confusion(confusion_matrix(labels, found), ("0", "1"), folder / "card" / "confusion.png")
    error = plots.calibration(p, labels, folder / "card" / "calibration.png", "label 1")
    section = Section([f"Measured by `make models-report` on {ROWS} rows of each population; threshold {threshold}.", ""])
    section.lines += table(["rows", "accuracy", "always the usual answer", "best single value", "area under ROC",
                            "best single value", "sensitivity", "specificity", "Brier score"], rows)
    section.lines += ["The best single value, with the best cut through it, was chosen on rows of the training's ranges."]
    section.lines += [f"Expected calibration error on held-out ranges: {error:.3f}.", "",
                      "![confusion matrix](card/confusion.png) ![calibration](card/calibration.png)"]
    return section


def meso(folder: Path, _count: int) -> Section:
    def population(shift: float, gaps: float):
        rows, labels = train_meso.rows(ROWS, SEED, shift)
        return Ratios().transform(train_meso.with_gaps(rows, SEED + 1, gaps)), labels
    return _report(folder, "selected", {"held-out ranges (older, longer exposed, 15 % missing)": population(1.5, 0.15),
                                        "training ranges, new seeds": population(0.0, 0.08)})


def expression(folder: Path, _count: int) -> Section:
    return _report(folder, "genes", {
        "held-out ranges (noise and batch effect half as large again)":
            train_mg_expression.profiles(ROWS, SEED, noise=1.2, batch=0.45),
        "training ranges, new seeds": train_mg_expression.profiles(ROWS, SEED)})


def fusion(folder: Path, _count: int) -> Section:
    return _report(folder, "selected", {
        "held-out ranges (larger lesions, older)": train_mm_fusion.cases(ROWS, SEED, shift=1.0),
        "training ranges, new seeds": train_mm_fusion.cases(ROWS, SEED)})
