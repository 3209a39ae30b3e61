#!/usr/bin/env python3
"""Tabular predictions in process: rows by name in, probabilities out, through derivation and graph.

`meso` is a forest of 300 trees in float64. The median of 2000 calls on one thread; bars: a row in at most 50 µs, a hundred
rows in at most 1 ms.
"""

import json
import os
import subprocess

from site_under_test import ROOT, onnxruntime

BARS = {1: 50.0, 100: 1000.0}


def main():
    command = [ROOT / "target/release/examples/tabular", ROOT / "models/meso"]
    environment = os.environ | {"ORT_DYLIB_PATH": onnxruntime()}
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    print("tabular predictions in process, one thread,", said[0])
    for line in map(json.loads, said[1:]):
        bar = BARS[line["rows"]]
        verdict = "met" if line["median_us"] <= bar else "MISSED"
        print(
            f"  {line['rows']:3} row(s)  median {line['median_us']:7.1f} µs  best {line['best_us']:7.1f} µs  "
            f"(bar {bar:.0f} µs: {verdict})"
        )


if __name__ == "__main__":
    main()
