"""Trains `ct-brain-class` on phantoms that it makes itself, and exports it with the outputs of Grad-CAM.

    python train_ct_brain_class.py ../ct-brain-class

The same seed, thread count and library versions give the same weights. Only `phantom_ct.TRAINING` ranges are seen.
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import grad_cam_onnx
import package
import phantom_ct as phantom

SEED = 3
HEADS = 560
EPOCHS = 14
BATCH = 32
FIRST_SEED = 500_000
SELFTEST_SEED = 1_200_001
VISIBLE_MM2 = 120.0


def layer(inside: int, outside: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


class Net(nn.Module):
    """Eight convolutions down to an eighth of the size, global average pooling, one linear layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*layer(1, 16, 2), *layer(16, 24), *layer(24, 32, 2), *layer(32, 32),
                                  *layer(32, 64, 2), *layer(64, 64), *layer(64, 64), *layer(64, 64))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(phantom.CLASSES)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def examples(heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices that show a tumour, by its class, and slices that show none, from heads with and without one."""
    images, labels = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + heads):
        g = np.random.default_rng((seed, 9))
        head = phantom.draw(seed)
        levels = g.uniform(-62, 68, 6)
        if head.kind != phantom.NONE:
            level = float((head.turn @ head.tumour + head.centre)[2])
            levels = np.concatenate((levels[:3], level + g.uniform(-0.8, 0.8, 5) * float(head.radii.mean())))
        volume, area = phantom.slices(head, levels)
        for image, mm2 in zip(phantom.windowed(volume), area):
            if mm2 == 0 or mm2 >= VISIBLE_MM2:
                images.append((image * 255).astype(np.uint8))
                labels.append(head.kind if mm2 else phantom.NONE)
    return np.stack(images), np.array(labels)


def batches(labels: np.ndarray, g: np.random.Generator):
    """Each batch holds every class alike."""
    members = [np.flatnonzero(labels == k) for k in range(len(phantom.CLASSES))]
    for _ in range(len(labels) // BATCH):
        yield np.concatenate([g.choice(m, BATCH // len(members)) for m in members])


def augmented(images: np.ndarray, g: np.random.Generator) -> np.ndarray:
    x = images.astype(np.float32) / 255
    flip = g.random(len(x)) < 0.5
    x[flip] = x[flip, :, ::-1]
    for i in range(len(x)):
        x[i] = np.roll(x[i], g.integers(-5, 6, 2), (0, 1))
    return x * g.uniform(0.9, 1.1, (len(x), 1, 1)).astype(np.float32)


def train() -> Net:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    images, labels = examples(HEADS)
    print(f"{len(labels)} slices: {np.bincount(labels).tolist()}", flush=True)
    net = Net().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = EPOCHS * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    g = np.random.default_rng(SEED)
    for epoch in range(EPOCHS):
        net.train()
        total, right, seen = 0.0, 0, 0
        for chosen in batches(labels, g):
            x = torch.from_numpy(augmented(images[chosen], g))[:, None].contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(labels[chosen])
            logits = net(x)
            value = F.cross_entropy(logits, y, label_smoothing=0.03)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += float(value.detach())
            right += int((logits.argmax(1) == y).sum())
            seen += len(y)
        print(f"epoch {epoch + 1}/{EPOCHS} loss {total * BATCH / seen:.4f} accuracy {right / seen:.4f}", flush=True)
    return net.eval().to(memory_format=torch.contiguous_format)


def main(folder: Path) -> None:
    net = train()
    outputs = grad_cam_onnx.export(net.body, net.head, torch.zeros(1, 1, phantom.SIZE, phantom.SIZE),
                                   folder / "model.onnx")
    head = phantom.draw(SELFTEST_SEED)
    volume, area = phantom.slices(head)
    given = phantom.windowed(volume[int(area.argmax())])[None, None]
    expected = package.run(folder / "model.onnx", {"input": given}, ["logits"])[0]
    with torch.no_grad():
        drift = float(np.abs(net(torch.from_numpy(given)).numpy() - expected).max())
    if drift > 1e-4:
        raise ValueError(f"the exported graph differs from the network by {drift}")
    package.record(folder, given, expected)
    package.stamp(folder)
    print(f"{folder}: outputs {outputs}, {drift:.1e} from the network, "
          f"{(folder / 'model.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
