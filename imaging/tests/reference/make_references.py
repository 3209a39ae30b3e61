"""Writes what pydicom and SimpleITK make of the files in tests/data.

    pip install pydicom SimpleITK numpy pillow pillow-jxl-plugin pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg \\
        pylibjpeg-rle
    python imaging/tests/reference/make_references.py

The tests read the JSON files beside this script; they do not run it.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401, teaches Pillow JPEG XL
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "tests" / "data"
POINTS = 64
JPEG_XL = "1.2.840.10008.1.2.4.11"


def pixels():
    """One entry for each file: its first and last frame as numbers."""
    out = {}
    for path in sorted((DATA / "syntaxes").iterdir()):
        out[path.name] = frames_of(path)
    return out


def frames_of(path):
    dataset = pydicom.dcmread(path, force=True)
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    array = frames_of_jpeg_xl(dataset) if dataset.file_meta.TransferSyntaxUID.startswith(JPEG_XL) else dataset.pixel_array
    count = int(dataset.get("NumberOfFrames", 1))
    if count == 1:
        array = array[np.newaxis]
    is_colour = dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR"
    entry = {"syntax": str(dataset.file_meta.TransferSyntaxUID), "frames": count, "is_colour": is_colour, "frame": {}}
    for number in sorted({1, count}):
        frame = array[number - 1]
        values = colour(dataset, frame) if is_colour else grey(dataset, frame, number)
        entry["frame"][str(number)] = describe(values)
    return entry


def frames_of_jpeg_xl(dataset):
    """pydicom has no decoder for it; Pillow has."""
    frames = generate_frames(dataset.PixelData, number_of_frames=dataset.NumberOfFrames)
    return np.stack([np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in frames])


def colour(dataset, frame):
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
    return frame.astype(np.float32)


def grey(dataset, frame, number):
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = dataset.get(groups) or []
        item = items[min(number, len(items)) - 1] if items else None
        if item is not None and "PixelValueTransformationSequence" in item:
            values = item.PixelValueTransformationSequence[0]
            slope, intercept = float(values.RescaleSlope), float(values.RescaleIntercept)
    values = frame.astype(np.float64) * slope + intercept
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        largest = 2 ** dataset.BitsStored - 1
        values = (largest * slope + intercept) + intercept - values
    return values.astype(np.float32)


def describe(values):
    flat = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
    places = np.linspace(0, flat.size - 1, POINTS).astype(int)
    return {
        "shape": list(values.shape),
        "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        "mean": float(flat.astype(np.float64).mean()),
        "places": places.tolist(),
        "values": [float(flat[place]) for place in places],
    }


def names():
    """The patient's name in each file of the character set samples."""
    out = {}
    for path in sorted((DATA / "charsets").iterdir()):
        dataset = pydicom.dcmread(path)
        if "PatientName" in dataset:
            out[path.name] = str(dataset.PatientName)
    return out


def geometry():
    """What SimpleITK makes of the real series."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for archive in sorted(DATA.glob("*/*.tar.xz")):
            with tarfile.open(archive, "r:xz") as packed:
                packed.extractall(folder, filter="data")
            series = Path(folder) / archive.name.removesuffix(".tar.xz")
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
            out[archive.name.removesuffix(".tar.xz")] = image(reader.Execute())
        enhanced = DATA / "mr-enhanced" / "siemens-xa30-t1w-enhanced.dcm"
        out[enhanced.name] = image(sitk.ReadImage(str(enhanced)))
    return out


def image(read):
    values = sitk.GetArrayFromImage(read).astype(np.float64)
    return {
        "size": list(read.GetSize()),
        "origin": list(read.GetOrigin()),
        "spacing": list(read.GetSpacing()),
        "direction": list(read.GetDirection()),
        "corner": list(read.TransformIndexToPhysicalPoint([edge - 1 for edge in read.GetSize()])),
        "slice_means": [float(plane.mean()) for plane in values],
    }


def write(name, content):
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("pixels.json", pixels())
    write("names.json", names())
    write("geometry.json", geometry())
