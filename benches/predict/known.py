"""What both services of the bench know of the model: its features, its threshold, the shape of an answer."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "models/scripts"))
from meso_features import BASE  # noqa: E402

THRESHOLD = 0.29
NAN = float("nan")


def values(row):
    """A row in the order of the features; what is missing is NaN."""
    return [NAN if (value := row.get(name)) is None else value for name in BASE]


def answer(probabilities):
    return {
        "base_features": BASE,
        "threshold": THRESHOLD,
        "pred_proba": probabilities,
        "pred_label": [int(one >= THRESHOLD) for one in probabilities],
    }
