"""The pictures of the model cards."""
from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

DPI = 72


def save(figure, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    # No date and no version inside: the same figures give the same file.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def calibration(probability: np.ndarray, truth: np.ndarray, path: Path, what: str) -> float:
    """Draws how often what is called likely is so; returns the expected calibration error over ten bins."""
    bins = np.clip((probability * 10).astype(int), 0, 9)
    count = np.bincount(bins, minlength=10)
    with np.errstate(invalid="ignore"):
        said = np.bincount(bins, probability, 10) / count
        was = np.bincount(bins, truth, 10) / count
    filled = count > 0
    figure, axes = plt.subplots(figsize=(4, 3.6))
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    axes.plot(said[filled], was[filled], "o-", color="#2b6cb0")
    axes.set(xlabel=f"probability of {what}", ylabel="how often it was so", xlim=(0, 1), ylim=(0, 1))
    save(figure, path)
    return float((np.abs(said - was)[filled] * count[filled]).sum() / count.sum())


def confusion(matrix: np.ndarray, names, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(1.2 * len(names) + 1.6, 1.0 * len(names) + 1.4))
    axes.imshow(matrix, cmap="Blues")
    for i in range(len(names)):
        for j in range(len(names)):
            dark = matrix[i, j] > matrix.max() / 2
            axes.text(j, i, int(matrix[i, j]), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answered", ylabel="true")
    save(figure, path)


def overlays(cases, path: Path) -> None:
    """Rows of (title, slice, true labels, found labels)."""
    figure, axes = plt.subplots(len(cases), 3, figsize=(7.5, 2.7 * len(cases)), squeeze=False)
    for row, (title, image, truth, found) in zip(axes, cases):
        for axis, labels, name in zip(row, (None, truth, found), (title, "truth", "found")):
            axis.imshow(image, cmap="gray", vmin=0, vmax=np.percentile(image, 99.7))
            if labels is not None:
                for value, colour in ((1, "#d7301f"), (2, "#2b8cbe")):
                    if (labels == value).any():
                        axis.contour(labels == value, levels=[0.5], colors=[colour], linewidths=1)
            axis.set_title(name, fontsize=9)
            axis.axis("off")
    save(figure, path)


def heatmaps(cases, path: Path) -> None:
    """(title, image, heatmap between 0 and 1) side by side."""
    figure, axes = plt.subplots(1, len(cases), figsize=(2.6 * len(cases), 2.8), squeeze=False)
    for axis, (title, image, heat) in zip(axes[0], cases):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.imshow(heat, cmap="jet", alpha=0.35, vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    save(figure, path)
