"""Trains `mr-brain-seg` on phantoms that it makes itself, and exports the network to ONNX.

    python train_mr_brain_seg.py train  --steps 2400 --stop 600 --checkpoint build/mr-brain-seg.pt
    python train_mr_brain_seg.py train  --steps 1300 --checkpoint build/mr-brain-seg.pt
    python train_mr_brain_seg.py train  --steps 3600 --stop 1700 --checkpoint build/mr-brain-seg.pt
    python train_mr_brain_seg.py train  --steps 2800 --checkpoint build/mr-brain-seg.pt
    python train_mr_brain_seg.py export --checkpoint build/mr-brain-seg.pt --package ../mr-brain-seg

    GO="train --from ../mr-brain-seg/model.onnx --harder 0.5 --core-weight 1 --bfloat16 --threads 1"
    python train_mr_brain_seg.py $GO --peak 1.5e-3 --average 0.995 --steps-a-phantom 10 --seed 2 --checkpoint build/two.pt --steps 2600 --stop 700
    python train_mr_brain_seg.py $GO --peak 1.5e-3 --average 0.995 --steps-a-phantom 10 --seed 2 --checkpoint build/two.pt --steps 1700
    python train_mr_brain_seg.py export --checkpoint build/two.pt --package ../mr-brain-seg
    python train_mr_brain_seg.py $GO --peak 1e-3 --average 0.99 --steps-a-phantom 8 --seed 3 --checkpoint build/three.pt --steps 800 --stop 200
    python train_mr_brain_seg.py $GO --peak 1e-3 --average 0.99 --steps-a-phantom 8 --seed 3 --checkpoint build/three.pt --steps 550 --stop 300
    python train_mr_brain_seg.py export --checkpoint build/three.pt --package ../mr-brain-seg

These are the commands that made the weights that ship. `train` writes a checkpoint every 100 steps and goes on from an
existing one; `--from` begins with the weights of an exported package. The learning rate follows a cosine that ends at
`--steps`, so each second command cools down from where the one before stopped (the last one half of the way: what is exported
is the average of the weights). Only `phantom_mr.TRAINING` ranges (of which
`HARDER` is a part) and seeds below `HELD_OUT_SEED` are seen. All commands before `--seed 3` ran while the phantoms still let one
lesion's oedema hide another one's core; who runs all of them again gets weights that never saw that.
"""
from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import nn
from torch.nn import functional as F

import package
import phantom_mr as phantom

SPACING_MM = 2.0
ROI = 64
SMALL_ROI, SMALL_BATCH = 48, 3  # three steps of four see smaller patches, which cost less
HELD_OUT_SEED = 1_000_000
# The graph takes any size that sixteen divides; a small window keeps the package small and proves as much.
SELFTEST_ROI = 32
POOL = 48
POOL_AT_START = 12


def block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inside, outside, 3, padding=1, bias=False), nn.InstanceNorm3d(outside, affine=True),
        nn.LeakyReLU(0.01),
        nn.Conv3d(outside, outside, 3, padding=1, bias=False), nn.InstanceNorm3d(outside, affine=True),
        nn.LeakyReLU(0.01))


class UNet(nn.Module):
    """3D U-Net that works at half resolution and below; full resolution is seen by the first and the last layer only.

    On a CPU layers at full resolution cost most and add least: sixteen channels hold what the eight voxels of a
    half-resolution place have to say about a boundary, and the last layer spreads it back.
    """

    def __init__(self, channels=(16, 32, 48, 64), classes: int = len(phantom.LABELS)):
        super().__init__()
        self.stem = nn.Conv3d(1, channels[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(block(i, o) for i, o in zip((channels[0], *channels), channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(i, o, 2, stride=2)
                                for i, o in zip(channels[:0:-1], channels[-2::-1]))
        self.merge = nn.ModuleList(block(2 * o, o) for o in channels[-2::-1])
        self.head = nn.ConvTranspose3d(channels[0], classes, 4, stride=2, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, kept = self.stem(image), []
        for level, down in enumerate(self.down):
            x = down(F.max_pool3d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1]):
            x = merge(torch.cat((up(x), skip), 1))
        return self.head(x)


class Pool:
    """A window on the endless stream of phantoms: it fills, and then the oldest is replaced, as training goes on."""

    def __init__(self, first_seed: int, harder: float):
        self.next_seed, self.harder = first_seed, harder
        self.members = [self._make() for _ in range(POOL_AT_START)]

    def _make(self) -> tuple[np.ndarray, np.ndarray]:
        seed, self.next_seed = self.next_seed, self.next_seed + 1
        if seed >= HELD_OUT_SEED:
            raise ValueError("training must not reach the held-out seeds")
        is_harder = np.random.default_rng((seed, 3)).random() < self.harder
        scene = phantom.draw(seed, phantom.HARDER if is_harder else phantom.TRAINING)
        origin, shape = phantom.field_of_view(seed, SPACING_MM)
        volume, labels, _ = phantom.sample(scene, origin, (SPACING_MM,) * 3, shape)
        if seed % 4 == 0:
            volume = thick_slices(volume, axis=seed // 4 % 3)
        return phantom.normalise(volume), labels

    def renew(self) -> None:
        self.members.append(self._make())
        del self.members[:-POOL]

    def patch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        volume, labels = self.members[int(rng.integers(len(self.members)))]
        lesion = np.argwhere(labels) if rng.random() < 0.65 else ()
        if len(lesion):
            reach = size // 3
            centre = lesion[int(rng.integers(len(lesion)))] + rng.integers(-reach, reach + 1, 3)
        else:
            centre = rng.integers(0, volume.shape)
        start = [int(np.clip(c - size // 2, 0, n - size)) for c, n in zip(centre, volume.shape)]
        cut = tuple(slice(s, s + size) for s in start)
        x, y = volume[cut], labels[cut]
        if rng.random() < 0.5:  # left for right; the other axes have a meaning
            x, y = x[:, :, ::-1], y[:, :, ::-1]
        x = x * rng.uniform(0.85, 1.15) + rng.uniform(-0.15, 0.15)
        return np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.int64)


def thick_slices(volume: np.ndarray, axis: int) -> np.ndarray:
    """What resampling gives for a series with slices twice as far apart along one axis."""
    slices = np.moveaxis(volume, axis, 0).copy()
    between = slices[1:-1:2]
    between[...] = (slices[0:-2:2][:len(between)] + slices[2::2][:len(between)]) / 2
    return np.moveaxis(slices, 0, axis)


def loss(logits: torch.Tensor, target: torch.Tensor, core_weight: float) -> torch.Tensor:
    """Cross entropy plus soft Dice of each lesion label that the batch holds."""
    value = F.cross_entropy(logits, target)
    share = logits.softmax(1)
    for label, weight in ((phantom.CORE, core_weight), (phantom.OEDEMA, 0.5)):
        p, t = share[:, label], (target == label).float()
        # Where a label is absent, Dice would ask for nothing but ever smaller probabilities.
        if float(t.sum()) > 0:
            value = value + weight * (1 - (2 * (p * t).sum() + 50) / (p.sum() + t.sum() + 50))
    return value


def learning_rate(step: int, steps: int, peak: float) -> float:
    warm = min(1.0, (step + 1) / 50)
    return float(peak * warm * (0.02 + 0.49 * (1 + np.cos(np.pi * step / steps))))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The network's weights as an exported graph holds them, under the names that PyTorch gave them."""
    return {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
            for one in onnx.load(path).graph.initializer}


def blend(average: dict[str, torch.Tensor], net: nn.Module, share: float) -> None:
    """Moves the running average of the weights towards those of this step."""
    with torch.no_grad():
        for name, weight in net.state_dict().items():
            average[name].lerp_(weight, share)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    net = UNet()
    if args.begin_with:
        net.load_state_dict(weights_of(args.begin_with))
    layout = torch.contiguous_format if args.bfloat16 else torch.channels_last_3d
    net = net.to(memory_format=layout)
    optimiser = torch.optim.AdamW(net.parameters(), lr=args.peak, weight_decay=1e-4)
    average = {name: weight.clone() for name, weight in net.state_dict().items()}
    begin = 0
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        average, begin = saved["average"], saved["step"]
    pool = Pool(args.seed * 100_000 + begin, args.harder)
    rng = np.random.default_rng((args.seed, begin))
    args.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    clock, running = time.monotonic(), 0.0
    for step in range(begin, min(args.steps, args.stop or args.steps)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.peak)
        size, batch = (ROI, args.batch) if step % 4 == 0 else (SMALL_ROI, SMALL_BATCH)
        pairs = [pool.patch(rng, size) for _ in range(batch)]
        x = torch.from_numpy(np.stack([p[0] for p in pairs])[:, None]).to(memory_format=layout)
        y = torch.from_numpy(np.stack([p[1] for p in pairs]))
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            logits = net(x)
        value = loss(logits.float(), y, args.core_weight)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        blend(average, net, 1 - args.average)
        running += float(value.detach())
        if step % args.steps_a_phantom == 0:
            pool.renew()
        if step % 50 == 49:
            print(f"step {step + 1}/{args.steps} loss {running / 50:.4f} {time.monotonic() - clock:.0f} s", flush=True)
            running = 0.0
        if step % 100 == 99 or step + 1 == args.steps:
            torch.save({"net": net.state_dict(), "average": average, "optimiser": optimiser.state_dict(),
                        "step": step + 1}, args.checkpoint)


def export(args: argparse.Namespace) -> None:
    net = UNet()
    net.load_state_dict(torch.load(args.checkpoint, weights_only=True)["average"])
    net.eval()
    path = args.package / "model.onnx"
    torch.onnx.export(net, (torch.zeros(1, 1, ROI, ROI, ROI),), str(path), input_names=["input"],
                      output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={name: {2: "z", 3: "y", 4: "x"} for name in ("input", "logits")})
    onnx.checker.check_model(onnx.load(path), full_check=True)
    given = selftest_window()
    expected, = package.run(path, {"input": given}, ["logits"])
    with torch.no_grad():
        drift = float(np.abs(net(torch.from_numpy(given)).numpy() - expected).max())
    if drift > 1e-3:
        raise ValueError(f"the exported graph differs from the network by {drift}")
    package.record(args.package, given, expected)
    package.stamp(args.package)
    print(f"{path}: {path.stat().st_size} bytes, {drift:.1e} from the network")


def selftest_window() -> np.ndarray:
    """A window around a lesion of a phantom that training did not see."""
    seed = HELD_OUT_SEED
    scene = phantom.draw(seed)
    origin, shape = phantom.field_of_view(seed, SPACING_MM)
    volume, labels, _ = phantom.sample(scene, origin, (SPACING_MM,) * 3, shape)
    middle = np.argwhere(labels == phantom.CORE).mean(0)
    start = [int(np.clip(m - SELFTEST_ROI // 2, 0, n - SELFTEST_ROI)) for m, n in zip(middle, volume.shape)]
    cut = tuple(slice(s, s + SELFTEST_ROI) for s in start)
    return phantom.normalise(volume)[cut][None, None].copy()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)
    t = modes.add_parser("train")
    t.add_argument("--steps", type=int, default=2400)
    t.add_argument("--stop", type=int, help="ends here, in the middle of the schedule")
    t.add_argument("--batch", type=int, default=2)
    t.add_argument("--peak", type=float, default=3e-3)
    t.add_argument("--seed", type=int, default=1)
    t.add_argument("--threads", type=int, default=1)
    t.add_argument("--from", type=Path, dest="begin_with", metavar="MODEL.ONNX",
                   help="starts from the weights of an exported package instead of from chance")
    t.add_argument("--harder", type=float, default=0.0, help="share of phantoms from the hard part of the ranges")
    t.add_argument("--steps-a-phantom", type=int, default=14, help="after so many the oldest gives way to a new one")
    t.add_argument("--core-weight", type=float, default=0.5, help="of the core's Dice in the loss")
    t.add_argument("--average", type=float, default=0.0,
                   help="keeps a running average of the weights with this decay, and that is what is exported")
    t.add_argument("--bfloat16", action="store_true", help="convolves in bfloat16: faster where the CPU can")
    t.add_argument("--checkpoint", type=Path, required=True)
    t.set_defaults(run=train)
    e = modes.add_parser("export")
    e.add_argument("--checkpoint", type=Path, required=True)
    e.add_argument("--package", type=Path, required=True)
    e.set_defaults(run=export)
    return parser.parse_args()


if __name__ == "__main__":
    options = arguments()
    options.run(options)
