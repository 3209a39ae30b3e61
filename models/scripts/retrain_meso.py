"""Makes a new version of `meso` from reviewed rows; the command that its package names.

    python3 retrain_meso.py PACKAGE CASES OUT VERSION

PACKAGE is the version that is there, CASES a folder as `GET /v1/feedback/export` packs it, OUT an empty folder. The
forest is fitted on the invented rows that the first version was made of and on the reviewed rows, each of which counts
as several of them. Needs numpy, onnx, onnxruntime and scikit-learn.
"""
from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx

import forest_onnx
import package
import train_meso
from meso_features import BASE

# An invented row is worth less than one that a doctor looked at.
WEIGHT = 4


def reviewed(cases: Path) -> tuple[np.ndarray, np.ndarray]:
    """Base features, NaN for what is missing, and what was true; rows of unknown truth are left out."""
    with (cases / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["truth"] in ("0", "1")]
    if not rows:
        raise SystemExit("no reviewed row says what is true")
    table = [[float(row.get(name) or "nan") for name in BASE] for row in rows]
    return np.array(table), np.array([int(row["truth"]) for row in rows])


def main(old: Path, cases: Path, out: Path, version: str) -> None:
    table, labels = reviewed(cases)
    own, own_labels = train_meso.rows(400, train_meso.SEED)
    own = train_meso.with_gaps(own, train_meso.SEED + 1)
    weights = np.concatenate([np.ones(len(own)), np.full(len(table), WEIGHT)])
    pipeline = train_meso.untrained()
    pipeline.fit(np.concatenate([own, table]), np.concatenate([own_labels, labels]), forest__sample_weight=weights)

    scale = pipeline.named_steps["scale"]
    forest = forest_onnx.of_random_forest(pipeline.named_steps["forest"])
    onnx.save(forest_onnx.graph(forest, len(scale.mean_), scale.mean_, scale.scale_), out / "model.onnx")
    test = train_meso.with_gaps(train_meso.rows(200, train_meso.SEED + 2)[0], train_meso.SEED + 3, 0.15)
    reference = pipeline.predict_proba(test)[:, 1]
    answer = package.run(out / "model.onnx", {"selected": pipeline.named_steps["features"].transform(test)},
                         ["probability"])[0][:, 0]
    if not np.array_equal(reference, answer):
        raise SystemExit(f"{int((reference != answer).sum())} of {len(test)} rows differ from scikit-learn")
    package.record(out, test, reference)

    text, count = re.subn(r'(?m)^version = "[^"]*"$', f'version = "{version}"', (old / "model.toml").read_text())
    if count != 1:
        raise SystemExit("model.toml has no one line with its version")
    (out / "model.toml").write_text(text)
    package.stamp(out)
    if (old / "MODEL_CARD.md").exists():
        shutil.copy(old / "MODEL_CARD.md", out)
        with (out / "MODEL_CARD.md").open("a") as card:
            card.write(f"\n## Version {version}\n\nFitted anew with {len(table)} reviewed rows, each counting as "
                       f"{WEIGHT} invented ones. The figures above are of the first version.\n")
    print(f"fitted with {len(table)} reviewed rows, {int(labels.sum())} of them positive")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
