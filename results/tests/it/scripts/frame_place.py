"""Prints the position of a colour image's first frame, after its pixels were decoded."""
import sys

import pydicom

dataset = pydicom.dcmread(sys.argv[1])
pixels = dataset.pixel_array
assert pixels.shape == (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns, 3), pixels.shape
position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
print("\\".join(value.original_string for value in position))
