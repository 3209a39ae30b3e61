#!/usr/bin/env python3
"""One run of a peer over a volume: `sliding_peer.py bare|numpy|monai GRAPH VOLUME.npy OVERLAP ROI THREADS CLASSES OUT.npy`.

bare: every window through the session, nothing kept. numpy: windows blended with MONAI's Gaussian, then arg-max.
monai: MONAI's sliding_window_inference around the same session. Prints JSON: seconds, CPU seconds, windows.
"""

import json
import sys
import time

import numpy as np
import onnxruntime as ort


def starts(length, roi, overlap):
    step = max(1, int(roi * (1 - overlap)))
    return [min(at, length - roi) for at in range(0, length - roi + step, step)]


def windows(volume, roi, overlap):
    for z in starts(volume.shape[0], roi, overlap):
        for y in starts(volume.shape[1], roi, overlap):
            for x in starts(volume.shape[2], roi, overlap):
                yield np.s_[z : z + roi, y : y + roi, x : x + roi]


def importance(roi):
    axis = np.exp(-((np.arange(roi) - (roi - 1) / 2) ** 2) / (2 * (roi / 8) ** 2))
    weight = axis[:, None, None] * axis[None, :, None] * axis[None, None, :]
    return np.maximum(weight, 1e-3).astype(np.float32)


def main():
    how, graph, volume, overlap, roi, threads, classes, out = sys.argv[1:]
    overlap, roi, classes = float(overlap), int(roi), int(classes)
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    volume = np.load(volume)
    count, labels = 0, None
    if how == "monai":
        import torch
        from monai.inferers import sliding_window_inference

        torch.set_num_threads(int(threads))

        def predict(batch):
            nonlocal count
            count += len(batch)
            return torch.from_numpy(session.run(["logits"], {name: batch.numpy()})[0])

        begin, cpu = time.perf_counter(), time.process_time()
        logits = sliding_window_inference(
            torch.from_numpy(volume)[None, None], (roi,) * 3, 1, predict, overlap, "gaussian", 0.125
        )
        labels = logits.argmax(1)[0].numpy()
    elif how == "numpy":
        begin, cpu = time.perf_counter(), time.process_time()
        weight = importance(roi)
        total, sums = np.zeros((classes, *volume.shape), np.float32), np.zeros(volume.shape, np.float32)
        for cut in windows(volume, roi, overlap):
            total[(slice(None), *cut)] += session.run(["logits"], {name: volume[cut][None, None]})[0][0] * weight
            sums[cut] += weight
            count += 1
        labels = (total / sums).argmax(0)
    else:
        begin, cpu = time.perf_counter(), time.process_time()
        for cut in windows(volume, roi, overlap):
            session.run(["logits"], {name: volume[cut][None, None]})
            count += 1
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    if labels is not None:
        np.save(out, labels.astype(np.uint8))
    print(json.dumps({"infer_s": seconds, "infer_cpu_s": cpu, "patches": count}))


if __name__ == "__main__":
    main()
