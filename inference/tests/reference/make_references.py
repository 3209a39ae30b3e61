#!/usr/bin/env python3
"""Writes what Python gives for the inputs that the tests use: SimpleITK, NumPy and ONNX Runtime 1.31.1.

Needs numpy, SimpleITK, onnxruntime and ../models/*.onnx (make_models.py). Each expected array is made by the
documented convention (docs/MODELS.md), with other people's code where there is some.

  volume.npy            (14,12,10) a smooth volume with zeros outside a ball; spacing 0.9, 1.1, 2.5 mm
  resampled.npy         by SimpleITK at 1 mm, linear, onto round((n-1)*old/new)+1 voxels from the same first centre
  zscore.npy            of volume over its nonzero voxels
  percentile.npy        of volume clipped at its 2nd and 97th percentile over nonzero voxels
  windows_input.npy     (30,36,28); windows_25.npy, windows_50.npy: labels of conv.onnx by Gaussian windows of 16
  flips.npy             labels of windows_input at overlap 0.25 when each window is also run flipped along x, z and both
  small_input.npy       (9,20,12): smaller than a window along two axes; small.npy: its labels
  slice.npy             (20,24); cam.npy: Grad-CAM of the winning class at 20 × 24; scores.npy: its probabilities
  rows.npy              (200,2) with missing values; probabilities.npy: of forest.onnx after derivation
"""
import os
import sys

import numpy as np
import onnxruntime as ort
import SimpleITK as sitk

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "models")
sys.path.insert(0, MODELS)
from make_models import TREES  # noqa: E402


def save(name, array):
    np.save(os.path.join(HERE, name + ".npy"), np.ascontiguousarray(array))


def session(name):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(os.path.join(MODELS, name + ".onnx"), options, providers=["CPUExecutionProvider"])


def smooth(shape, seed):
    g = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    v = np.zeros(shape)
    for _ in range(6):
        c, k, a = g.uniform(-0.6, 0.6, 3), g.uniform(2, 7), g.uniform(0.3, 1.5)
        v += a * np.exp(-k * ((z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2))
    return v + g.normal(0, 0.02, shape), z, y, x


def resampling():
    v, z, y, x = smooth((14, 12, 10), 3)
    v = np.where(z * z + y * y + x * x < 0.9, 100 * v + 20, 0).astype(np.float32)
    old, new = np.array([0.9, 1.1, 2.5]), np.array([1.0, 1.0, 1.0])
    image = sitk.GetImageFromArray(v)
    image.SetSpacing(old.tolist())
    size = (np.round((np.array(image.GetSize()) - 1) * old / new).astype(int) + 1).tolist()
    out = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), new.tolist(),
                        image.GetDirection(), 0.0, sitk.sitkFloat32)
    save("volume", v)
    save("resampled", sitk.GetArrayFromImage(out))
    inside = v[v != 0].astype(np.float64)
    save("zscore", np.where(v != 0, (v - inside.mean()) / inside.std(), 0).astype(np.float32))
    low, high = np.percentile(inside, [2, 97])
    save("percentile", np.where(v != 0, np.clip(v.astype(np.float64), low, high), 0).astype(np.float32))


def starts(size, roi, overlap):
    step, out, at = max(int(roi * (1 - overlap)), 1), [], 0
    while True:
        out.append(min(at, size - roi))
        if at + roi >= size:
            return out
        at += step


def gaussian(roi):
    x = np.arange(roi, dtype=np.float32) - (roi - 1) / 2
    g = np.exp(-x ** 2 / (2 * (roi * 0.125) ** 2)).astype(np.float32)
    w = g[:, None, None] * g[None, :, None] * g[None, None, :]
    return np.maximum(w, max(w[w > 0].min(), 1e-3)).astype(np.float32)


def sliding(run, v, roi, overlap):
    pads = [max(roi - n, 0) for n in v.shape]
    p = np.pad(v, [(n // 2, n - n // 2) for n in pads])
    w = gaussian(roi)
    acc, norm = np.zeros((3,) + p.shape, np.float32), np.zeros(p.shape, np.float32)
    for z in starts(p.shape[0], roi, overlap):
        for y in starts(p.shape[1], roi, overlap):
            for x in starts(p.shape[2], roi, overlap):
                s = (slice(z, z + roi), slice(y, y + roi), slice(x, x + roi))
                acc[(slice(None),) + s] += run(np.ascontiguousarray(p[s])[None, None])[0] * w
                norm[s] += w
    label = (acc / norm).argmax(0).astype(np.uint8)
    return label[tuple(slice(n // 2, n // 2 + m) for n, m in zip(pads, v.shape))]


def flipped(run, x):
    """The mean over a window's flips, each turned back."""
    total = np.zeros((1, 3) + x.shape[2:], np.float32)
    for axes in ((), (4,), (2,), (4, 2)):
        total = total + np.flip(run(np.ascontiguousarray(np.flip(x, axes))), axes)
    return total / np.float32(4)


def windows():
    s = session("conv")
    run = lambda x: s.run(["logits"], {"input": x})[0]
    for name, shape, seed in (("windows", (30, 36, 28), 4), ("small", (9, 20, 12), 5)):
        v = smooth(shape, seed)[0].astype(np.float32)
        save(name + "_input", v)
        if name == "small":
            save("small", sliding(run, v, 16, 0.25))
        else:
            save("windows_25", sliding(run, v, 16, 0.25))
            save("windows_50", sliding(run, v, 16, 0.5))
            save("flips", sliding(lambda x: flipped(run, x), v, 16, 0.25))


def cam():
    v = smooth((3, 20, 24), 6)[0][1].astype(np.float32)
    s = session("classify")
    scores, features, gradients = s.run(["scores", "features", "gradients"], {"input": v[None, None]})
    e = np.exp(scores[0].astype(np.float64) - scores.max())
    winner = int(scores[0].argmax())
    alpha = gradients[0, winner].astype(np.float64).mean((1, 2))
    c = np.maximum((alpha[:, None, None] * features[0]).sum(0), 0)
    c /= c.max()

    def enlarge(a, n, axis):  # PyTorch, align_corners=False
        m = a.shape[axis]
        at = np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
        low = np.floor(at).astype(int)
        high, w = np.minimum(low + 1, m - 1), at - low
        w = w[:, None] if axis == 0 else w[None, :]
        return np.take(a, low, axis) * (1 - w) + np.take(a, high, axis) * w
    save("slice", v)
    save("scores", e / e.sum())
    save("cam", enlarge(enlarge(c, 20, 0), 24, 1).astype(np.float32))


def rows():
    g = np.random.default_rng(7)
    base = np.stack([g.uniform(0, 40, 200), g.integers(20, 90, 200).astype(float)], 1)
    base[g.random((200, 2)) < 0.15] = np.nan
    base[0] = [0.3 * (50 + 1e-6), 50]
    ratio = base[:, 0] / (base[:, 1] + 1e-6)
    selected = np.stack([ratio, base[:, 1], base[:, 0]], 1)
    x = selected.astype(np.float32)
    total = np.zeros(200, np.float32)
    for feature, threshold, missing, low, high in TREES:
        at_most = np.where(np.isnan(x[:, feature]), missing, x[:, feature] <= np.float32(threshold))
        total += np.where(at_most, low, high).astype(np.float32)
    save("rows", base)
    save("probabilities", total.astype(np.float64) / len(TREES))
    got = session("forest").run(None, {"selected": selected})[0]
    assert (got == total.astype(np.float64) / len(TREES)).all()


if __name__ == "__main__":
    resampling()
    windows()
    cam()
    rows()
