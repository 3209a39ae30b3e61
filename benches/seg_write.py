#!/usr/bin/env python3
"""A ready label map to a DICOM SEG: `overread seg` beside highdicom and dcmqi, each as a whole command, alternating.

Wall seconds, CPU seconds and peak memory; the median of the per-round ratios decides. What each writes is read
back by highdicom and compared voxel by voxel with the label map before any figure is printed.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import highdicom
import nibabel
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/overread"
SIZES = [(256, 256, 150), (512, 512, 300), (512, 512, 600)]
SEGMENTS = 3
# A whole body, as TotalSegmentator gives it.
MANY_SIZE, MANY_SEGMENTS = (512, 512, 366), 104


def write_source(folder, rows, columns, slices):
    """Axial MR, 1 mm, with nothing in its pixels: only the heads are read by any of the peers."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "BENCH", "BENCH", "", ""
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260101", "120000", "1", ""
        image.ReferringPhysicianName = ""
        image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 1, index + 1
        image.Manufacturer, image.PositionReferenceIndicator = "BENCH", ""
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [1, 1], 1, 1
        image.Rows, image.Columns, image.SamplesPerPixel = rows, columns, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.PixelData = bytes(2 * rows * columns)
        image.save_as(folder / f"{index:04}.dcm", enforce_file_format=True)


def make_labels(rows, columns, slices):
    """Three balls, one in the other's shadow, over most of the slices."""
    z, y, x = np.ogrid[:slices, :rows, :columns]
    labels = np.zeros((slices, rows, columns), np.uint8)
    for value, (cz, cy, cx, radius) in enumerate([(0.5, 0.5, 0.5, 0.42), (0.5, 0.45, 0.5, 0.25), (0.4, 0.6, 0.55, 0.12)], 1):
        distance = ((z / slices - cz) / radius) ** 2 + ((y / rows - cy) / radius) ** 2 + ((x / columns - cx) / radius) ** 2
        labels[distance < 1] = value
    return labels


def make_many_labels(rows, columns, slices):
    """104 boxes side by side that fill most of the volume."""
    z, y, x = np.ogrid[:slices, :rows, :columns]
    box = 1 + (z * 4 // slices) * 26 + (y * 13 // rows) * 2 + x * 2 // columns
    inside = (np.abs(x - columns / 2) < columns * 0.48) & (np.abs(y - rows / 2) < rows * 0.48) & (z >= 0)
    return np.where(inside, box, 0).astype(np.uint8)


def describe(folder, count=SEGMENTS):
    code = lambda value, meaning: {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}
    segments = [
        {
            "labelID": value,
            "SegmentLabel": f"Part {value}",
            "SegmentDescription": f"Part {value}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "bench",
            "SegmentedPropertyCategoryCodeSequence": code("49755003", "Morphologically Abnormal Structure"),
            "SegmentedPropertyTypeCodeSequence": code("52988006", "Lesion"),
            "recommendedDisplayRGBValue": [255, 60 * value % 256, 20],
        }
        for value in range(1, count + 1)
    ]
    meta = {
        "ContentCreatorName": "Bench",
        "ClinicalTrialSeriesID": "1",
        "ClinicalTrialTimePointID": "1",
        "SeriesDescription": "Segmentation",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": [segments],
    }
    (folder / "labels.json").write_text(json.dumps(meta))


def commands(work):
    scripts = pathlib.Path(sys.executable).parent
    source, out = work / "source", work / "out"
    ours = lambda kind, *more: [
        BINARY, "seg", "--source", source, "--labels", work / "labels.npy",
        "--describe", work / "labels.json", "--kind", kind, *more, "--out", out / f"overread-{kind}{''.join(more)}.dcm",
    ]  # fmt: skip
    return {
        "overread": (ours("binary"), out / "overread-binary.dcm"),
        "overread labelmap": (ours("labelmap"), out / "overread-labelmap.dcm"),
        "overread labelmap RLE": (ours("labelmap", "--rle"), out / "overread-labelmap--rle.dcm"),
        "highdicom": (
            [sys.executable, ROOT / "benches/highdicom_seg.py", source, work / "labels.npy", out / "highdicom.dcm"],
            out / "highdicom.dcm",
        ),
        "dcmqi": (
            [scripts / "itkimage2segimage", "--inputImageList", work / "labels.nii", "--inputDICOMDirectory", source,
             "--inputMetadata", work / "labels.json", "--outputDICOM", out / "dcmqi.dcm", "--skip"],
            out / "dcmqi.dcm",
        ),
    }  # fmt: skip


def measure(command):
    """Wall seconds, CPU seconds, peak MB of one command."""
    runner = [sys.executable, "-S", "-E", ROOT / "benches/run_measured.py"]
    ran = subprocess.run(list(map(str, [*runner, *command])), capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {ran.stderr[-2000:]}")
    cost = json.loads(ran.stdout)
    return cost["wall"], cost["cpu"], cost["peak_mb"]


def check(file, labels):
    """The voxels at their places, by the plane positions that the file states."""
    seg = highdicom.seg.segread(file)
    read = np.zeros_like(labels)
    if seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7":
        for frame, groups in zip(iter_pixels(seg), seg.PerFrameFunctionalGroupsSequence):
            read[round(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]))] = frame
    else:
        for frame, groups in zip(iter_pixels(seg), seg.PerFrameFunctionalGroupsSequence):
            place = round(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]))
            read[place][frame == 1] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    if not np.array_equal(read, labels):
        raise SystemExit(f"{file.name}: {np.count_nonzero(read != labels)} voxels are not those of the label map")


def bench_many(rounds):
    """Ours alone, for each kind: the figures say whether a whole body is a matter of seconds."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="overread-seg-"))
    try:
        (work / "source").mkdir()
        (work / "out").mkdir()
        write_source(work / "source", *MANY_SIZE)
        labels = make_many_labels(*MANY_SIZE)
        present = len(np.unique(labels)) - 1
        if present != MANY_SEGMENTS:
            raise SystemExit(f"the label map has {present} segments, {MANY_SEGMENTS} were wanted")
        np.save(work / "labels.npy", labels)
        describe(work, MANY_SEGMENTS)
        ours = [name for name in commands(work) if name.startswith("overread")]
        figures = {name: [] for name in ours}
        for _ in range(rounds):
            for name in ours:
                command, out = commands(work)[name]
                out.unlink(missing_ok=True)
                figures[name].append(measure(command))
        sizes = {name: commands(work)[name][1].stat().st_size / 1e6 for name in ours}
        for name in ours:
            check(commands(work)[name][1], labels)
        return figures, sizes
    finally:
        shutil.rmtree(work)


def bench(size, rounds):
    rows, columns, slices = size
    work = pathlib.Path(tempfile.mkdtemp(prefix="overread-seg-"))
    try:
        (work / "source").mkdir()
        (work / "out").mkdir()
        write_source(work / "source", rows, columns, slices)
        labels = make_labels(rows, columns, slices)
        np.save(work / "labels.npy", labels)
        # NIfTI is RAS: the first two axes of LPS change their sign.
        nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])), work / "labels.nii")
        describe(work)
        figures = {name: [] for name in commands(work)}
        for _ in range(rounds):
            for name, (command, out) in commands(work).items():
                out.unlink(missing_ok=True)
                figures[name].append(measure(command))
        for name, (_, out) in commands(work).items():
            check(out, labels)
        return figures
    finally:
        shutil.rmtree(work)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(f"SEG, {SEGMENTS} segments, whole command, medians of {rounds} rounds: wall s / CPU s / peak MB")
    for size in SIZES:
        figures = bench(size, rounds)
        print("  " + "x".join(map(str, size)))
        for name, rows in figures.items():
            wall, cpu, memory = (statistics.median(column) for column in zip(*rows))
            print(f"    {name:22} {wall:7.2f} {cpu:7.2f} {memory:7.0f}")
        ratios = [
            ours[0] / min(one[0], other[0])
            for ours, one, other in zip(figures["overread"], figures["highdicom"], figures["dcmqi"])
        ]
        memory = [ours[2] / peer[2] for ours, peer in zip(figures["overread"], figures["highdicom"])]
        print(
            f"    wall beside the faster peer: {statistics.median(ratios):.2f}   (goal 0.25 or less)\n"
            f"    memory beside highdicom:     {statistics.median(memory):.2f}   (goal 0.5 or less)"
        )
    print(f"  {MANY_SEGMENTS} segments, {'x'.join(map(str, MANY_SIZE))}   (goals: 1 s as label map, 3 s as bits)")
    figures, sizes = bench_many(rounds)
    for name, rows in figures.items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*rows))
        print(f"    {name:22} {wall:7.2f} {cpu:7.2f} {memory:7.0f}   file {sizes[name]:.0f} MB")


if __name__ == "__main__":
    main()
