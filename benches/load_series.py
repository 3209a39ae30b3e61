#!/usr/bin/env python3
"""300 CT slices to a volume in Hounsfield units: ours beside SimpleITK and pydicom + numpy, alternating.

Each process reads the same folder once to warm up, then several times; the fastest of a process counts, the ratio is
the median over the rounds. Every voxel of ours is compared with both peers' before anything is printed: values outside
the circle of reconstruction (Pixel Padding Value) become the lowest measured value in ours and stay what they are
in the peers', so they are compared apart.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from site_under_test import ROOT

EXAMPLE = ROOT / "target/release/examples/load_series"
PEER = ROOT / "benches/load_series_peer.py"
SIDE, SLICES, PADDING, INTERCEPT = 512, 300, -2000, -1024


def write_series(folder):
    """Noise within a circle, padding without; stored in an order of its own."""
    rng = np.random.default_rng(1)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    y, x = np.ogrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    outside = x**2 + y**2 > 0.98
    for number in range(SLICES):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientName = image.PatientID = "BENCH"
        image.Modality, image.InstanceNumber = "CT", number + 1
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.ImagePositionPatient, image.ImageOrientationPatient = [-180, -180, number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [0.7, 0.7], 1
        image.Rows, image.Columns, image.SamplesPerPixel = SIDE, SIDE, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept, image.PixelPaddingValue = 1, INTERCEPT, PADDING
        pixels = rng.integers(0, 3000, (SIDE, SIDE), np.int16)
        pixels[outside] = PADDING
        image.PixelData = pixels.tobytes()
        image.save_as(folder / f"{number * 7 % SLICES:04}.dcm", enforce_file_format=True)
    return np.broadcast_to(outside, (SLICES, SIDE, SIDE))


def measure(command):
    said = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True).stdout.decode()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return min(lines, key=lambda line: line["s"])


def compare(ours, peer, outside, name):
    if ours.shape != peer.shape:
        raise SystemExit(f"{name} has {peer.shape}, ours {ours.shape}")
    inside = ~outside
    different = int(np.count_nonzero(ours[inside] != peer[inside]))
    lowest = float(ours[inside].min())
    padded = bool((ours[outside] == lowest).all() and (peer[outside] == PADDING + INTERCEPT).all())
    print(
        f"  beside {name}: {different} of {int(inside.sum())} measured voxels differ; {outside.mean():.1%} are padding, "
        f"{lowest:.0f} in ours and {PADDING + INTERCEPT} there ({'as documented' if padded else 'NOT as documented'}); "
        f"means {ours.mean(dtype=np.float64):.2f} and {peer.mean(dtype=np.float64):.2f}"
    )
    if different or not padded:
        raise SystemExit("the volumes are not the same")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / ".tools/bench/bin/python", help="Python with both")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overread-series-") as work:
        work = pathlib.Path(work)
        folder = work / "series"
        folder.mkdir()
        outside = write_series(folder)
        commands = {"overread": [EXAMPLE, folder, 3, work / "overread.npy"]}
        for name in ("simpleitk", "pydicom"):
            commands[name] = [options.peers, PEER, name, folder, 3, work / f"{name}.npy"]
        runs = {name: [] for name in commands}
        for number in range(options.rounds):
            names = list(commands)
            for name in names[number % 3 :] + names[: number % 3]:
                runs[name].append(measure(commands[name]))
        print(f"{SLICES} CT slices of {SIDE}x{SIDE} to a volume, {os.cpu_count()} cores, files in the page cache")
        ours = np.load(work / "overread.npy")
        for name in ("simpleitk", "pydicom"):
            compare(ours, np.load(work / f"{name}.npy"), outside, name)
        report(runs, options.rounds)


def report(runs, rounds):
    for name, values in runs.items():
        middle = lambda key: statistics.median(value[key] for value in values)
        print(f"  {name:12} {middle('s') * 1e3:7.0f} ms  {middle('cpu_s') * 1e3:7.0f} CPU ms")
    for name in ("simpleitk", "pydicom"):
        times = statistics.median(peer["s"] / ours["s"] for ours, peer in zip(runs["overread"], runs[name]))
        bar = "met" if times > 1 else "MISSED"
        print(f"  {name} / overread: median {times:.2f} of {rounds} rounds (bar: more than 1: {bar})")


if __name__ == "__main__":
    main()
