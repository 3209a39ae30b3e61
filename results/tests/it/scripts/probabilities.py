"""Reads a FRACTIONAL SEG and the parametric maps beside it with highdicom and compares their numbers.

    probabilities.py SOURCE_FOLDER PROBABILITIES SEG MAP...
        probabilities: raw float32, segment-slice-row-column, slices along the normal; a map for each segment
"""
import pathlib
import sys

import highdicom as hd
import numpy as np
import pydicom

LABELS = ["Lesion", "Brain", "Never there", "Kidney"]

folder, raw, seg_path, *map_paths = map(pathlib.Path, sys.argv[1:])
places = []
for dataset in (pydicom.dcmread(path) for path in folder.iterdir()):
    if "NumberOfFrames" in dataset:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, 1):
            plane = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
            position = group.PlanePositionSequence[0].ImagePositionPatient
            places.append((plane.ImageOrientationPatient, position, (dataset.SOPInstanceUID, number)))
    else:
        place = (dataset.SOPInstanceUID, None)
        places.append((dataset.ImageOrientationPatient, dataset.ImagePositionPatient, place))
orientation = np.array(places[0][0], float)
normal = np.cross(orientation[:3], orientation[3:])
places.sort(key=lambda place: float(np.dot(normal, np.array(place[1], float))))
slice_of = {place: index for index, (_, _, place) in enumerate(places)}
rows, columns = int(dataset.Rows), int(dataset.Columns)
want = np.fromfile(raw, "<f4").reshape(len(LABELS), len(places), rows, columns)


def slices(dataset):
    """For each frame its slice of the source."""
    for group in dataset.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        at = slice_of[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
        mine = group.PlanePositionSequence[0].ImagePositionPatient
        assert [v.original_string for v in mine] == [v.original_string for v in places[at][1]], "position"
        yield at, group


seg = hd.seg.segread(seg_path)
assert seg.segmentation_type.value == "FRACTIONAL"
assert seg.SegmentationFractionalType == "PROBABILITY" and seg.MaximumFractionalValue == 255
labels = {segment.SegmentNumber: LABELS.index(segment.SegmentLabel) for segment in seg.SegmentSequence}
got = np.zeros(want.shape, np.uint8)
for frame, (at, group) in zip(seg.pixel_array, slices(seg)):
    got[labels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber], at] = frame
assert (got == np.floor(want * np.float32(255) + np.float32(0.5))).all(), "fractions"

for index, path in enumerate(map_paths):
    pm = hd.pm.ParametricMap.from_file(path)
    assert pm.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    ordered = [at for at, _ in slices(pm)]
    assert ordered == list(range(len(places))), "frames"
    frames = np.frombuffer(pm.FloatPixelData, "<f4").reshape(len(places), rows, columns)
    assert (frames == want[index]).all(), "numbers"
    # pydicom decodes the floats: highdicom 0.28 reads them as whole numbers
    assert (pm.pixel_array == frames).all(), "decoded numbers"
    mapping = pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    mapping.__class__ = hd.pm.RealWorldValueMapping
    assert mapping.is_floating_point() and mapping.value_range == (0.0, 1.0)
    assert (np.stack([mapping.apply(frame) for frame in pm.pixel_array]) == want[index]).all(), "real world values"
print("the same probabilities")
