"""Reads a SEG with highdicom beside its source images, and prints what another program sees in it."""

import json
import pathlib
import sys

import highdicom
import numpy as np
import pydicom


def rgb(stored):
    """sRGB of a CIELab value as DICOM stores it (PS3.3 C.10.7.1.1), white point D65 or D50 within rounding."""
    lightness, a, b = stored[0] / 65535 * 100, stored[1] / 257 - 128, stored[2] / 257 - 128
    fy = (lightness + 16) / 116
    cube = [v**3 if v**3 > 0.008856 else (v - 16 / 116) / 7.787 for v in (fy + a / 500, fy, fy - b / 200)]
    x, y, z = (value * white for value, white in zip(cube, (0.95047, 1.0, 1.08883)))
    linear = (
        3.2404542 * x - 1.5371385 * y - 0.4985314 * z,
        -0.9692660 * x + 1.8760108 * y + 0.0415560 * z,
        0.0556434 * x - 0.2040259 * y + 1.0572252 * z,
    )
    gamma = [1.055 * max(v, 0) ** (1 / 2.4) - 0.055 if v > 0.0031308 else 12.92 * v for v in linear]
    return [round(255 * min(max(v, 0), 1)) for v in gamma]


def segments_of(seg, frame, groups):
    """Numbers of the segments of a frame, each with its voxels."""
    if seg.SegmentationType == "LABELMAP":
        return [(int(number), frame == number) for number in np.unique(frame) if number != 0]
    return [(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber, frame)]


def main(seg_file, source_folder):
    seg = highdicom.seg.segread(seg_file)
    sources = {}
    for file in pathlib.Path(source_folder).glob("*.dcm"):
        image = pydicom.dcmread(file, stop_before_pixels=True)
        sources[image.SOPInstanceUID] = image
    shared = seg.SharedFunctionalGroupsSequence[0]
    rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    orientation = [float(value) for value in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    pixels = np.atleast_3d(seg.pixel_array)
    if pixels.shape[:2] == (seg.Rows, seg.Columns):
        pixels = np.moveaxis(pixels, 2, 0)

    without_source = 0
    points = {}
    on_images = {}
    for frame, groups in zip(pixels, seg.PerFrameFunctionalGroupsSequence):
        named = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = [float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient]
        source = sources.get(named)
        if source is None or not np.allclose(position, [float(v) for v in source.ImagePositionPatient], atol=1e-3):
            without_source += 1
        for number, voxels in segments_of(seg, frame, groups):
            row, column = np.nonzero(voxels)
            lps = np.array(position) + np.outer(column * columns, along_row) + np.outer(row * rows, along_column)
            points.setdefault(number, []).append(lps)
            if len(row):
                counts = on_images.setdefault(number, {})
                counts[f"{named}#1"] = counts.get(f"{named}#1", 0) + len(row)

    segments = []
    for item in seg.SegmentSequence:
        voxels = np.concatenate(points.get(item.SegmentNumber, [np.zeros((0, 3))]))
        segments.append(
            {
                "number": int(item.SegmentNumber),
                "label": item.SegmentLabel,
                "voxels": len(voxels),
                "voxels_on_images": on_images.get(item.SegmentNumber, {}),
                "rgb": rgb(item.RecommendedDisplayCIELabValue),
                "centroid_lps_mm": voxels.mean(axis=0).tolist() if len(voxels) else None,
            }
        )
    print(
        json.dumps(
            {"study_uid": seg.StudyInstanceUID, "frames_without_source": without_source, "segments": segments}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
