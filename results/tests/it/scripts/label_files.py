"""Writes one label map as .npy and NIfTI files of several kinds.

    label_files.py SOURCE_FOLDER LABELS OUT     labels: raw uint8, slice-row-column, slices along the normal
"""
import pathlib
import sys

import nibabel
import numpy as np
import pydicom

folder, labels_path, out = map(pathlib.Path, sys.argv[1:])
sources = [pydicom.dcmread(path) for path in folder.iterdir()]
orientation = np.array(sources[0].ImageOrientationPatient, float)
row_direction, column_direction = orientation[:3], orientation[3:]
normal = np.cross(row_direction, column_direction)
sources.sort(key=lambda dataset: float(np.dot(normal, np.array(dataset.ImagePositionPatient, float))))
rows, columns = int(sources[0].Rows), int(sources[0].Columns)
labels = np.fromfile(labels_path, np.uint8).reshape(len(sources), rows, columns)

np.save(out / "uint8.npy", labels)
np.save(out / "int16.npy", labels.astype(np.int16))
np.save(out / "big-endian.npy", labels.astype(">i4"))
np.save(out / "float64.npy", labels.astype(float))

row_spacing, column_spacing = map(float, sources[0].PixelSpacing)
first, second = (np.array(dataset.ImagePositionPatient, float) for dataset in sources[:2])
lps = np.eye(4)
lps[:3, 0] = row_direction * column_spacing
lps[:3, 1] = column_direction * row_spacing
lps[:3, 2] = second - first
lps[:3, 3] = first
ras = np.diag([-1, -1, 1, 1]) @ lps
volume = labels.transpose(2, 1, 0)


def save(name, array, affine, kind=None):
    image = nibabel.Nifti1Image(array.astype(kind) if kind else array, affine)
    nibabel.save(image, out / name)


save("uint8.nii", volume, ras)
save("int16.nii.gz", volume, ras, np.int16)
save("float32.nii", volume, ras, np.float32)
flip = np.eye(4)
flip[0, 0], flip[0, 3] = -1, columns - 1
flip[2, 2], flip[2, 3] = -1, len(sources) - 1
save("flipped.nii.gz", volume[::-1, :, ::-1], ras @ flip)
swap = np.eye(4)[[2, 0, 1, 3]]
save("transposed.nii", volume.transpose(2, 0, 1), ras @ swap.T)
shifted = ras.copy()
shifted[:3, 3] += 0.4 * ras[:3, 0]
save("shifted.nii", volume, shifted)
by_quaternion = nibabel.Nifti1Image(volume, None)
by_quaternion.header.set_qform(ras, code=1)
by_quaternion.header.set_sform(None, code=0)
nibabel.save(by_quaternion, out / "qform.nii.gz")
