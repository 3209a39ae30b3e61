#!/usr/bin/env python3
"""Sliding-window segmentation: ours beside bare ONNX Runtime, the same graph, the same windows, one after the other.

The graph is that of models/mr-brain-seg; the volume a head-like object in air. `bare` only runs the windows: nothing
is blended, so its CPU time is the floor. Each run is a process of its own and rotates within a round; CPU seconds of the
run itself (start and loading left out) are compared round by round. Before anything is printed the label map is
compared with that of a plain numpy loop around the same session.

What skipping empty windows gains is measured apart, on the same head with wide borders of air: `wide` runs all of its
windows, `skip-empty` only those that hold something.

  --monai PYTHON   an interpreter with torch, monai and onnxruntime: adds MONAI and its peak memory
                   (the default is .tools/monai, when it is there; benches/requirements-monai.txt says what goes in)
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from site_under_test import ROOT, onnxruntime

EXAMPLE = ROOT / "target/release/examples/sliding_window"
PEER = ROOT / "benches/sliding_peer.py"
GRAPH = ROOT / "models/mr-brain-seg/model.onnx"
SHAPE, ROI, OVERLAP, CLASSES = (160, 224, 224), 64, 0.25, 3
AIR = -0.7
# Of air, around the head, for what skipping gains.
BORDERS = ((0, 0), (64, 64), (64, 64))


def head():
    """A textured ball with air around it, z-scored as the graph wants it; the air has one value."""
    rng = np.random.default_rng(1)
    z, y, x = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    inside = (z / 0.6) ** 2 + (y / 0.62) ** 2 + (x / 0.5) ** 2 < 1
    texture = rng.normal(0.8, 0.3, SHAPE).astype(np.float32)
    return np.where(inside, texture + 0.5 * np.sin(9 * x * y + 5 * z), AIR).astype(np.float32)


def measure(command):
    """What the run says of itself, and its peak memory in MB."""
    environment = os.environ | {"ORT_DYLIB_PATH": onnxruntime()}
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, env=environment)
    said = child.stdout.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status != 0:
        raise SystemExit(f"{command[0]} failed: {said[-2000:]}")
    return json.loads(said.strip().splitlines()[-1]) | {"peak_mb": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--monai", type=pathlib.Path, default=ROOT / ".tools/monai/bin/python")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overread-sliding-") as folder:
        compare(options, pathlib.Path(folder))


def compare(options, folder):
    volume, out = folder / "volume.npy", folder / "out.npy"
    wide = folder / "wide.npy"
    np.save(volume, head())
    np.save(wide, np.pad(head(), BORDERS, constant_values=AIR))
    rest = [OVERLAP, ROI, options.threads, CLASSES, out]
    peer = lambda python, how: [python, PEER, how, GRAPH, volume, *rest]
    ours = lambda over: [EXAMPLE, GRAPH, "input", over, *rest]
    commands = {"bare": peer(sys.executable, "bare"), "overread": ours(volume)}
    commands |= {"wide": ours(wide), "skip-empty": [*ours(wide), AIR]}
    if options.monai.is_file():
        commands["monai"] = peer(options.monai, "monai")
    measure(peer(sys.executable, "numpy"))
    expected = np.load(out)
    runs, maps = {name: [] for name in commands}, {}
    for round_number in range(options.rounds):
        names = list(commands)
        for name in names[round_number % len(names) :] + names[: round_number % len(names)]:
            out.unlink(missing_ok=True)
            runs[name].append(measure(commands[name]))
            if name in ("overread", "monai"):
                check(name, np.load(out), expected)
            if name in ("wide", "skip-empty"):
                maps[name] = np.load(out)
    report(runs, options)
    different = int(np.count_nonzero(maps["wide"] != maps["skip-empty"]))
    print(f"  skipping changed {different} of {maps['wide'].size} voxels: what the graph says of air alone, and its part in blends")


def check(name, found, expected):
    different = int(np.count_nonzero(found != expected))
    print(f"  {name}: {different} of {expected.size} voxels differ from the plain loop", flush=True)
    if name == "overread" and different:
        raise SystemExit("the label map is not that of the plain loop")


def ratio(runs, one, other, key):
    return statistics.median(a[key] / b[key] for a, b in zip(runs[one], runs[other]))


def report(runs, options):
    print(f"sliding window, {'x'.join(map(str, SHAPE))}, windows {ROI}, overlap {OVERLAP}, {options.threads} thread(s)")
    for name, values in runs.items():
        middle = lambda key: statistics.median(value[key] for value in values)
        print(
            f"  {name:12} {middle('infer_cpu_s'):7.2f} CPU s  {middle('infer_s'):7.2f} s  {middle('peak_mb'):6.0f} MB  "
            f"{values[0]['patches']} windows"
        )
    over = ratio(runs, "overread", "bare", "infer_cpu_s")
    print(f"  overread / bare, CPU seconds: median {over:.3f} of {options.rounds} rounds (bar 1.05: {verdict(over, 1.05)})")
    print(f"  skip-empty / wide, CPU seconds: median {ratio(runs, 'skip-empty', 'wide', 'infer_cpu_s'):.3f}")
    if "monai" in runs:
        memory = ratio(runs, "overread", "monai", "peak_mb")
        print(f"  overread / MONAI, peak memory: median {memory:.3f} (bar 0.6: {verdict(memory, 0.6)})")
        print(f"  overread / MONAI, CPU seconds: median {ratio(runs, 'overread', 'monai', 'infer_cpu_s'):.3f}")
    else:
        print("  MONAI is not here: its memory was not compared")


def verdict(value, bar):
    return "met" if value <= bar else "MISSED"


if __name__ == "__main__":
    main()
