"""A plain reference of what a segmentation package does to a volume, with numpy and ONNX Runtime alone.

It follows docs/MODELS.md step by step: resampling of voxel centres from the first one, the intensity steps of
model.toml, MONAI's window positions, Gaussian importance, blended logits, softmax, linear interpolation back to the
source grid, arg-max. Post-processing of pieces and holes is left out: figures of the report are those of the network.
"""
from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import onnxruntime as ort
from scipy.ndimage import map_coordinates


class Reference:
    """A package, opened."""

    def __init__(self, folder: Path, threads: int = 1):
        self.description = tomllib.loads((folder / "model.toml").read_text())
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        weights = folder / self.description["weights"][0]["file"]
        self.session = ort.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])

    def probabilities(self, volume: np.ndarray, spacing_mm) -> np.ndarray:
        """Class probabilities on the grid of `volume`; arrays are [z, y, x], spacing is x, y, z."""
        wanted = self.description["input"]["spacing_mm"][::-1]
        given = tuple(spacing_mm)[::-1]
        coarse = self._intensity(resample(volume, given, wanted))
        logits = self._windows(coarse)
        p = np.exp(logits - logits.max(0))
        p /= p.sum(0)
        return np.stack([back(one, wanted, given, volume.shape) for one in p])

    def labels(self, volume: np.ndarray, spacing_mm) -> np.ndarray:
        return self.probabilities(volume, spacing_mm).argmax(0).astype(np.uint8)

    def _intensity(self, volume: np.ndarray) -> np.ndarray:
        volume = volume.astype(np.float32)
        for step in self.description["input"]["channel"][0]["intensity"]:
            if step.get("over", "all") != "all":
                raise ValueError("this reference knows over = \"all\" only")
            if step["kind"] == "percentile-clip":
                volume = np.clip(volume, *np.percentile(volume, (step["low"], step["high"])))
            elif step["kind"] == "z-score":
                volume = (volume - volume.mean()) / volume.std()
            else:
                raise ValueError(f"this reference does not know the step {step['kind']}")
        return volume.astype(np.float32)

    def _logits(self, window: np.ndarray) -> np.ndarray:
        """The graph's answer, or the mean over the flips that the package asks for."""
        axes = ["xyz".index(name) for name in self.description["output"].get("test_time_flips", [])]
        total = None
        for count in range(len(axes) + 1):
            for flipped in combinations(axes, count):
                turned = np.flip(window, [2 - axis for axis in flipped])
                given = np.ascontiguousarray(turned[None, None])
                logits = np.flip(self.session.run(["logits"], {"input": given})[0][0], [3 - axis for axis in flipped])
                total = logits if total is None else total + logits
        return total / 2 ** len(axes)

    def _windows(self, volume: np.ndarray) -> np.ndarray:
        window = self.description["window"]
        roi = window["roi"][::-1]
        padding = [max(0, r - n) for r, n in zip(roi, volume.shape)]
        padded = np.pad(volume, [(p // 2, p - p // 2) for p in padding])
        weight = importance(roi)
        total, sum_weight = None, np.zeros(padded.shape, np.float32)
        for start in positions(padded.shape, roi, window["overlap"]):
            cut = tuple(slice(s, s + r) for s, r in zip(start, roi))
            logits = self._logits(padded[cut])
            if total is None:
                total = np.zeros((len(logits), *padded.shape), np.float32)
            total[(slice(None), *cut)] += logits * weight
            sum_weight[cut] += weight
        inside = tuple(slice(p // 2, p // 2 + n) for p, n in zip(padding, volume.shape))
        return (total / sum_weight)[(slice(None), *inside)]


def importance(roi) -> np.ndarray:
    axes = [np.exp(-((np.arange(r) - (r - 1) / 2) ** 2) / (2 * (r / 8) ** 2)) for r in roi]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return np.maximum(weight, 1e-3).astype(np.float32)


def positions(shape, roi, overlap: float):
    starts = []
    for n, r in zip(shape, roi):
        step = max(1, int(r * (1 - overlap))) if r < n else r
        count = int(np.ceil((n - r) / step)) + 1
        starts.append([min(i * step, n - r) for i in range(count)])
    return [(z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]]


def resample(volume: np.ndarray, old, new) -> np.ndarray:
    """Linear interpolation of voxel centres, the first centre kept; shape by MODELS.md, "Spacing"."""
    shape = [int(np.rint((n - 1) * o / w)) + 1 for n, o, w in zip(volume.shape, old, new)]
    return _at(volume, [np.arange(n) * w / o for n, o, w in zip(shape, old, new)])


def back(volume: np.ndarray, old, new, shape) -> np.ndarray:
    return _at(volume, [np.arange(n) * w / o for n, o, w in zip(shape, old, new)])


def _at(volume: np.ndarray, axes) -> np.ndarray:
    if all(len(a) == n and np.array_equal(a, np.arange(n)) for a, n in zip(axes, volume.shape)):
        return volume
    return map_coordinates(volume, np.meshgrid(*axes, indexing="ij"), np.float32, order=1, mode="nearest")
