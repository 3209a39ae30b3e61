"""Figures of `mr-brain-seg`: Dice against the phantom's truth, beside what a threshold gets."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

import phantom_mr as phantom
import report_plots as plots
from report import Section, table
from segment import Reference

SPACING = (1.5, 1.5, 1.5)
FIRST_SEED = 1_000_100
THRESHOLD_CASES = 8


@dataclass
class Case:
    seed: int
    kinds: str
    image: np.ndarray
    truth: np.ndarray
    brain: np.ndarray


def case(seed: int, ranges: phantom.Ranges, spacing=SPACING) -> Case:
    scene = phantom.draw(seed, ranges)
    origin, shape = phantom.field_of_view(seed, 1.0)
    shape = tuple(round(n / s) for n, s in zip(shape, spacing[::-1]))
    image, truth, brain = phantom.sample(scene, origin, spacing, shape)
    return Case(seed, ", ".join(lesion.kind for lesion in scene.lesions) or "none", image, truth, brain)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def largest_component(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else mask


def threshold_baseline(one: Case, share: float, within_brain: bool) -> np.ndarray:
    """The brightest share of voxels, its largest piece; `within_brain` gives it the true brain mask."""
    domain = one.image[one.brain] if within_brain else one.image
    mask = one.image > np.quantile(domain, 1 - share)
    return largest_component(mask & one.brain if within_brain else mask)


def best_share(within_brain: bool) -> float:
    """The share that does best on phantoms like the training's."""
    cases = [case(FIRST_SEED - 1 - i, phantom.TRAINING, (3.0, 3.0, 3.0)) for i in range(THRESHOLD_CASES)]
    cases = [one for one in cases if (one.truth == phantom.CORE).any()]

    def score(share: float) -> float:
        return float(np.mean([dice(threshold_baseline(one, share, within_brain), one.truth == phantom.CORE)
                              for one in cases]))
    return max((0.002, 0.005, 0.01, 0.02, 0.04, 0.08), key=score)


@dataclass
class Population:
    """What was measured on one population of phantoms."""

    rows: list[list]
    shown: list[tuple]
    said: list[np.ndarray]
    was: list[np.ndarray]
    false_ml: list[float]

    def mean(self, column: int) -> float:
        return float(np.nanmean([row[column] for row in self.rows]))


def measure(package: Reference, ranges: phantom.Ranges, count: int, shares: tuple[float, float]) -> Population:
    out = Population([], [], [], [], [])
    voxel_ml = float(np.prod(SPACING)) / 1000
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        one = case(seed, ranges)
        probability = package.probabilities(one.image, SPACING)
        found = probability.argmax(0)
        core = one.truth == phantom.CORE
        out.said.append(probability[phantom.CORE][one.brain][::7])
        out.was.append(core[one.brain][::7])
        if not core.any():
            out.false_ml.append(float((found == phantom.CORE).sum()) * voxel_ml)
            continue
        scores = [dice(found == phantom.CORE, core), dice(found == phantom.OEDEMA, one.truth == phantom.OEDEMA),
                  dice(threshold_baseline(one, shares[0], False), core),
                  dice(threshold_baseline(one, shares[1], True), core)]
        out.rows.append([seed, one.kinds, float(core.sum()) * voxel_ml, *scores])
        level = int(core.sum((1, 2)).argmax())
        out.shown.append((scores[0], f"{one.kinds}, core Dice {scores[0]:.2f}", one.image[level], one.truth[level],
                          found[level]))
    return out


def report(folder: Path, count: int) -> Section:
    package = Reference(folder)
    shares = best_share(False), best_share(True)
    populations = {"held-out ranges": measure(package, phantom.HELD_OUT, count, shares),
                   "training ranges, new seeds": measure(package, phantom.TRAINING, count, shares)}
    section = Section()
    section.lines += [f"Measured by `make models-report` on phantoms with seeds from {FIRST_SEED}, sampled at "
                      f"{SPACING[0]} × {SPACING[1]} × {SPACING[2]} mm, without post-processing.", ""]
    head = ["phantoms", "n with lesion", "core Dice", "oedema Dice", "threshold + largest component",
            "the same, given the brain mask"]
    section.lines += table(head, [[name, len(p.rows), p.mean(3), p.mean(4), p.mean(5), p.mean(6)]
                                  for name, p in populations.items()])
    far = populations["held-out ranges"]
    worst = min(row[3] for row in far.rows)
    near = populations["training ranges, new seeds"]
    section.lines.append(f"Worst core Dice on held-out ranges {worst:.3f}; falsely found core in heads without a lesion: "
                         + (", ".join(f"{ml:.1f}" for ml in near.false_ml) or "no such head drawn") + " ml.")
    section.bar("core Dice ≥ 0.85 on held-out ranges", far.mean(3) >= 0.85)
    section.bar("threshold + largest component ≤ 0.5 on held-out ranges", far.mean(5) <= 0.5)
    error = plots.calibration(np.concatenate(far.said), np.concatenate(far.was), folder / "card" / "calibration.png",
                              "lesion core")
    section.lines += ["", f"Calibration of the core's voxels in the brain, held-out ranges: expected error {error:.4f}.",
                      "", "![calibration](card/calibration.png)", "", "Worst, median and best of the held-out phantoms:",
                      "", "![overlays](card/overlays.png)"]
    ranked = sorted(far.shown, key=lambda shown: shown[0])
    plots.overlays([ranked[i][1:] for i in (0, len(ranked) // 2, -1)], folder / "card" / "overlays.png")
    section.lines += ["", "Each held-out phantom:", ""]
    section.lines += table(["seed", "lesions", "core, ml", "core Dice", "oedema Dice", "threshold", "in brain"], far.rows)
    return section
