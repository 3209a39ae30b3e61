"""Prints the number of frames of a file whose pixel data can be decoded."""
import sys

import pydicom

dataset = pydicom.dcmread(sys.argv[1])
assert len(dataset.pixel_array) == dataset.NumberOfFrames
print(dataset.NumberOfFrames)
