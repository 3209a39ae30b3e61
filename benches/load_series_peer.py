#!/usr/bin/env python3
"""A folder with one CT series to float32 values: `load_series_peer.py simpleitk|pydicom FOLDER ROUNDS OUT.npy`.

Prints one line of JSON for each round: seconds from the folder's name to the array, slices in order, values rescaled.
"""

import json
import pathlib
import sys
import time

import numpy as np


def simpleitk(folder):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return sitk.GetArrayFromImage(reader.Execute()).astype(np.float32)


def pydicom(folder):
    import pydicom

    files = [pydicom.dcmread(path) for path in pathlib.Path(folder).iterdir()]
    orientation = np.array(files[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    files.sort(key=lambda one: float(np.dot(normal, np.array(one.ImagePositionPatient, float))))
    return np.stack(
        [one.pixel_array.astype(np.float32) * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in files]
    )


def main():
    how, folder, rounds, out = sys.argv[1:]
    load = {"simpleitk": simpleitk, "pydicom": pydicom}[how]
    load(folder)  # imports, and the page cache
    for _ in range(int(rounds)):
        begin, cpu = time.perf_counter(), time.process_time()
        volume = load(folder)
        print(json.dumps({"s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}), flush=True)
    np.save(out, volume)


if __name__ == "__main__":
    main()
