"""Figures of the tabular packages: accuracy, area under the ROC curve, confusion, calibration on rows not trained on."""
from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, roc_auc_score

import package
import report_plots as plots
import train_meso
import train_mg_expression
import train_mm_fusion
from meso_features import Ratios
from report import Section, table

ROWS = 4000
SEED = 1_400_000


def _report(folder: Path, tensor: str, populations: dict[str, tuple[np.ndarray, np.ndarray]]) -> Section:
    threshold = tomllib.loads((folder / "model.toml").read_text())["tabular"]["threshold"]
    rows, first = [], None
    for name, (features, labels) in populations.items():
        p = package.run(folder / "model.onnx", {tensor: features}, ["probability"])[0][:, 0]
        found = (p >= threshold).astype(int)
        first = first or (p, labels, found)
        sensitivity, specificity = found[labels == 1].mean(), 1 - found[labels == 0].mean()
        rows.append([name, float((found == labels).mean()), float(roc_auc_score(labels, p)), float(sensitivity),
                     float(specificity), float(((p - labels) ** 2).mean())])
    p, labels, found = first
    plots.confusion(confusion_matrix(labels, found), ("0", "1"), folder / "card" / "confusion.png")
    error = plots.calibration(p, labels, folder / "card" / "calibration.png", "label 1")
    section = Section([f"Measured by `make models-report` on {ROWS} rows of each population; threshold {threshold}.", ""])
    section.lines += table(["rows", "accuracy", "area under ROC", "sensitivity", "specificity", "Brier score"], rows)
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
