"""What every package needs at the end: digests in model.toml, and a self-test recorded with ONNX Runtime.

    python package.py stamp ../mr-brain-seg        # after new weights: digest of each file under [[weights]]
"""
from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np

# One [[weights]] table as our packages write it: file, then digest.
WEIGHTS = re.compile(r'(file = "(?P<file>[^"]+)"\nsha256 = ")[0-9a-f]*(")')


def stamp(folder: Path) -> None:
    """Writes the digest of each weights file into model.toml."""
    description = folder / "model.toml"
    text = description.read_text()

    def digest(match: re.Match[str]) -> str:
        return match[1] + hashlib.sha256((folder / match["file"]).read_bytes()).hexdigest() + match[3]

    text, count = WEIGHTS.subn(digest, text)
    if count == 0:
        raise ValueError(f"{description} has no weights with file and sha256 on successive lines")
    description.write_text(text)


def run(model: Path | bytes, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """Runs a graph on the CPU with one thread, the way in which expected outputs are recorded."""
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(outputs, inputs)


def record(folder: Path, given: np.ndarray, expected: np.ndarray) -> None:
    """Keeps the pair that the self-test compares, and refuses one that proves nothing."""
    if not np.isfinite(expected).all() or float(np.ptp(expected)) == 0:
        raise ValueError("the expected output is constant or not finite")
    place = folder / "selftest"
    place.mkdir(exist_ok=True)
    np.save(place / "input.npy", np.ascontiguousarray(given))
    np.save(place / "expected.npy", np.ascontiguousarray(expected))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    one = modes.add_parser("stamp")
    one.add_argument("folder", type=Path, nargs="+")
    for folder in parser.parse_args().folder:
        stamp(folder)
