"""Figures of `ct-brain-class`: accuracy by head and by slice, beside what size and intensity alone give."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

import phantom_ct as phantom
import report_plots as plots
from report import Section, table

FIRST_SEED = 1_300_000
BASELINE_SEED = 900_000
BASELINE_HEADS = 240


@dataclass
class Answers:
    """One head: its class, and what the network says of each slice and of the series."""

    kind: int
    area: np.ndarray
    slices: np.ndarray  # probabilities (slice, class)
    series: np.ndarray  # probabilities of the slice that decides


def session(folder: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def answer(net: ort.InferenceSession, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of one windowed slice, and the heatmap of its winning class on the slice."""
    logits, features, weights = net.run(["logits", "features", "head_weights"], {"input": image[None, None]})
    p = np.exp(logits[0] - logits[0].max())
    p /= p.sum()
    heat = np.maximum(np.tensordot(weights[int(p.argmax())], features[0], 1), 0)
    heat /= max(float(heat.max()), 1e-9)
    return p, ndimage.zoom(heat, phantom.SIZE / heat.shape[0], order=1, mode="nearest", grid_mode=True)


def most_confident(slices: np.ndarray) -> np.ndarray:
    """MODELS.md, `series_rule`: the slice whose best class that is not normal is most probable."""
    return slices[int(slices[:, 1:].max(1).argmax())]


def measure(net: ort.InferenceSession, ranges: phantom.Ranges, heads: int) -> list[Answers]:
    out = []
    for seed in range(FIRST_SEED, FIRST_SEED + heads):
        head = phantom.draw(seed, ranges)
        volume, area = phantom.slices(head)
        slices = np.stack([answer(net, image)[0] for image in phantom.windowed(volume)])
        out.append(Answers(head.kind, area, slices, most_confident(slices)))
    return out


def size_and_intensity(seed: int, ranges: phantom.Ranges) -> tuple[list[float], int]:
    """What a ruler and a densitometer know: the true tumour's area through its middle, its mean radius, its attenuation."""
    head = phantom.draw(seed, ranges)
    if head.kind == phantom.NONE:
        return [0.0, 0.0, 0.0], head.kind
    level = float((head.turn @ head.tumour + head.centre)[2])
    _, area = phantom.slices(head, [level])
    return [float(area[0]), float(head.radii.mean()), 33 + head.excess_hu], head.kind


def baseline(ranges: phantom.Ranges, heads: int) -> float:
    train = [size_and_intensity(s, phantom.TRAINING) for s in range(BASELINE_SEED, BASELINE_SEED + BASELINE_HEADS)]
    test = [size_and_intensity(s, ranges) for s in range(FIRST_SEED, FIRST_SEED + heads)]
    forest = RandomForestClassifier(200, min_samples_leaf=4, random_state=0, n_jobs=1)
    forest.fit([x for x, _ in train], [y for _, y in train])
    return float(forest.score([x for x, _ in test], [y for _, y in test]))


def slice_accuracy(answers: list[Answers]) -> float:
    """Over slices that show at least 120 mm² of tumour, or none at all."""
    right = seen = 0
    for one in answers:
        clear = (one.area == 0) | (one.area >= 120)
        truth = np.where(one.area > 0, one.kind, phantom.NONE)
        right += int((one.slices.argmax(1) == truth)[clear].sum())
        seen += int(clear.sum())
    return right / seen


def pictures(net: ort.InferenceSession, folder: Path) -> None:
    cases = []
    for seed in range(FIRST_SEED, FIRST_SEED + len(phantom.CLASSES)):
        head = phantom.draw(seed, phantom.HELD_OUT)
        if head.kind == phantom.NONE:
            continue
        volume, area = phantom.slices(head)
        image = phantom.windowed(volume[int(area.argmax())])
        p, heat = answer(net, image)
        cases.append((f"{phantom.CLASSES[head.kind]}: {phantom.CLASSES[int(p.argmax())]} {p.max():.2f}", image, heat))
    plots.heatmaps(cases, folder / "card" / "grad-cam.png")


def report(folder: Path, count: int) -> Section:
    net, heads = session(folder), 8 * count
    section = Section()
    section.lines += [f"Measured by `make models-report` on {heads} heads of each population, seeds from {FIRST_SEED}, "
                      "every class alike.", ""]
    rows, far = [], []
    for name, ranges in (("held-out ranges", phantom.HELD_OUT), ("training ranges, new seeds", phantom.TRAINING)):
        answers = measure(net, ranges, heads)
        by_head = float(np.mean([int(one.series.argmax()) == one.kind for one in answers]))
        rows.append([name, by_head, slice_accuracy(answers), baseline(ranges, heads)])
        far = far or answers
    section.lines += table(["phantoms", "accuracy by head", "by slice", "size and intensity of the true tumour alone"],
                           rows)
    section.bar("accuracy ≥ 0.95 by head on held-out ranges", rows[0][1] >= 0.95)
    section.bar("size and intensity alone ≤ 0.7", rows[0][3] <= 0.7)
    matrix = np.zeros((len(phantom.CLASSES),) * 2, int)
    for one in far:
        matrix[one.kind, int(one.series.argmax())] += 1
    plots.confusion(matrix, phantom.CLASSES, folder / "card" / "confusion.png")
    best = np.array([one.series.max() for one in far])
    right = np.array([int(one.series.argmax()) == one.kind for one in far])
    error = plots.calibration(best, right, folder / "card" / "calibration.png", "the answered class")
    pictures(net, folder)
    section.lines += ["", f"Calibration of the answered class by head, held-out ranges: expected error {error:.3f}.", "",
                      "![confusion matrix](card/confusion.png) ![calibration](card/calibration.png)", "",
                      "Where the network looked (Grad-CAM of the answered class), held-out heads:", "",
                      "![Grad-CAM](card/grad-cam.png)"]
    return section
