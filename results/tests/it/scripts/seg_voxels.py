"""Reads a SEG with highdicom and pydicom and compares it with the label map that it was made of.

    seg_voxels.py SEG SOURCE_FOLDER LABELS
        labels: raw uint8, or uint16 in a file `.u16`; slice-row-column, slices along the normal
"""
import pathlib
import sys

import highdicom as hd
import numpy as np
import pydicom

VALUES = {"Lesion": 1, "Brain": 2, "Kidney": 7}

seg_path, folder, labels_path = map(pathlib.Path, sys.argv[1:])
sources = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
frames = []  # (distance along the normal, position text, SOP instance, frame number)
for dataset in sources:
    if "NumberOfFrames" in dataset:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, 1):
            plane = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
            position = group.PlanePositionSequence[0].ImagePositionPatient
            frames.append((plane.ImageOrientationPatient, position, dataset.SOPInstanceUID, number))
    else:
        frames.append((dataset.ImageOrientationPatient, dataset.ImagePositionPatient, dataset.SOPInstanceUID, None))
orientation = np.array(frames[0][0], float)
normal = np.cross(orientation[:3], orientation[3:])
frames.sort(key=lambda frame: float(np.dot(normal, np.array(frame[1], float))))
rows, columns = int(sources[0].Rows), int(sources[0].Columns)
want = np.fromfile(labels_path, "<u2" if labels_path.suffix == ".u16" else np.uint8).reshape(len(frames), rows, columns)
slice_of = {(uid, number): index for index, (_, _, uid, number) in enumerate(frames)}

seg = hd.seg.segread(seg_path)
numbers = {segment.SegmentNumber: VALUES.get(segment.SegmentLabel) or int(segment.SegmentLabel.split()[-1])
           for segment in seg.SegmentSequence if segment.SegmentNumber != 0}
pixels = seg.pixel_array.reshape(int(seg.NumberOfFrames), rows, columns)
got = np.zeros_like(want)
for index, group in enumerate(seg.PerFrameFunctionalGroupsSequence):
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    at = slice_of[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
    mine, theirs = group.PlanePositionSequence[0].ImagePositionPatient, frames[at][1]
    assert [v.original_string for v in mine] == [v.original_string for v in theirs], f"frame {index}: position"
    if seg.SegmentationType == "LABELMAP":
        for number, value in numbers.items():
            got[at][pixels[index] == number] = value
    else:
        value = numbers[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        assert pixels[index].any(), f"frame {index} is empty"
        got[at][pixels[index] > 0] = value
assert (got == want).all(), f"{(got != want).sum()} voxels differ"
plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
assert [v.original_string for v in plane] == [v.original_string for v in frames[0][0]], "orientation"

# the same through highdicom's own view of the frames
if seg.SegmentationType == "BINARY" and not any("NumberOfFrames" in dataset for dataset in sources):
    uids = [uid for _, _, uid, _ in frames]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    again = np.zeros_like(want)
    for number, value in numbers.items():
        again[read == number] = value
    assert (again == want).all(), "highdicom's frames by source instance"
print("same voxels at the same positions")
