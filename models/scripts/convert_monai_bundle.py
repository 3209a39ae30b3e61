"""Makes a model package of a MONAI bundle for segmentation.

    python convert_monai_bundle.py BUNDLE --id spleen-ct --out models/spleen-ct [--modality CT] [--codes codes.json]

Read are `configs/metadata.json` and `configs/inference.json` (or `--config FILE`); the weights are `models/model.onnx`, or are
exported from `models/model.ts` where PyTorch is installed. What preprocessing, inferer and postprocessing say is
written as `model.toml`; a transform that has no counterpart there is refused by name, and nothing is written.

A bundle names its classes, it does not code them. `--codes` gives the codes (`{"spleen": {"category": [value, scheme,
meaning], "type": [...], "color": "#rrggbb"}}`); without it a class gets a local code (scheme 99LOCAL, as PS3.16 §8
provides), which every archive takes and no other system understands.

Known differences: `Spacingd` without `align_corners=True` places voxels up to half a step elsewhere than ours (docs/MODELS.md,
"Spacing"); `sigma_scale` other than 0.125 is refused.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

import package

CATEGORY = ["123037004", "SCT", "Anatomical Structure"]
COLOURS = ("#d7301f", "#2b8cbe", "#31a354", "#756bb1", "#fe9929", "#636363")
# They load, cast and shape what a package has anyway.
SILENT = {"LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "CastToTyped", "ToTensord", "Compose", "ToDeviced",
          "Invertd", "SaveImaged"}


class Refused(Exception):
    """The bundle cannot become a package; the text says why."""


@dataclass
class Recipe:
    """What a bundle says, in the words of model.toml."""

    orientation: str = "acquired"
    spacing: list[float] | None = None
    intensity: list[str] = field(default_factory=list)
    roi: list[int] = field(default_factory=list)
    overlap: float = 0.25
    blend: str = "constant"
    activation: str = "none"
    decision: str = "argmax"


class Config:
    """An inference configuration whose `@references` are followed."""

    def __init__(self, told: dict):
        self.told = told

    def resolved(self, value):
        if isinstance(value, dict):
            return {key: self.resolved(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.resolved(one) for one in value]
        if isinstance(value, str) and value.startswith("@"):
            found = self.told
            for part in value[1:].replace("#", "::").split("::"):
                try:
                    found = found[int(part)] if isinstance(found, list) else found[part]
                except (KeyError, IndexError, ValueError):
                    return value
            return self.resolved(found)
        return value

    def part(self, name: str) -> dict:
        if name not in self.told:
            raise Refused(f"the configuration has no {name!r}")
        return self.told[name]

    def transforms(self, name: str) -> list[dict]:
        part = self.part(name)
        return [self.resolved_safely(one) for one in part.get("transforms", [part])]

    def resolved_safely(self, one: dict) -> dict:
        # An inverse transform refers to the whole of the preprocessing; it is not read.
        if one.get("_target_", "").endswith("Invertd"):
            return {"_target_": "Invertd"}
        return self.resolved(one)


def number(transform: dict, key: str, default=None) -> float:
    value = transform.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(f"{transform['_target_']}: {key} is {value!r}, not a number; expressions are not evaluated")
    return float(value)


def kind_of(transform: dict) -> str:
    return str(transform.get("_target_", "")).rsplit(".", 1)[-1]


def scale_range(t: dict) -> list[str]:
    low, high = number(t, "a_min"), number(t, "a_max")
    to_low, to_high = number(t, "b_min", 0.0), number(t, "b_max", 1.0)
    divide = (high - low) / (to_high - to_low)
    steps = [f'{{ kind = "clip", min = {low!r}, max = {high!r} }}'] if t.get("clip", False) else []
    return [*steps, f'{{ kind = "scale", subtract = {low - to_low * divide!r}, divide = {divide!r} }}']


def normalise(t: dict) -> list[str]:
    if t.get("subtrahend") is not None or t.get("divisor") is not None:
        return [f'{{ kind = "scale", subtract = {number(t, "subtrahend", 0.0)!r}, divide = {number(t, "divisor", 1.0)!r} }}']
    return [f'{{ kind = "z-score", over = "{"nonzero" if t.get("nonzero", False) else "all"}" }}']


def percentiles(t: dict) -> list[str]:
    if (number(t, "b_min"), number(t, "b_max")) != (0.0, 1.0) or not t.get("clip", False):
        raise Refused("ScaleIntensityRangePercentilesd: only clip=True from 0 to 1 has a counterpart")
    return [f'{{ kind = "percentile-clip", low = {number(t, "lower")!r}, high = {number(t, "upper")!r}, over = "all" }}',
            '{ kind = "min-max", over = "all" }']


def rescale(t: dict) -> list[str]:
    if (number(t, "minv", 0.0), number(t, "maxv", 1.0)) != (0.0, 1.0) or t.get("factor") is not None:
        raise Refused("ScaleIntensityd: only 0 to 1 has a counterpart")
    return ['{ kind = "min-max", over = "all" }']


INTENSITY = {"ScaleIntensityRanged": scale_range, "NormalizeIntensityd": normalise,
             "ScaleIntensityRangePercentilesd": percentiles, "ScaleIntensityd": rescale}


def preprocessing(config: Config, recipe: Recipe) -> None:
    seen_intensity = False
    for transform in config.transforms("preprocessing"):
        kind = kind_of(transform)
        if kind == "Orientationd":
            recipe.orientation = str(transform["axcodes"])
        elif kind == "Spacingd":
            if seen_intensity:
                raise Refused("Spacingd after an intensity transform has no counterpart: ours resamples first")
            recipe.spacing = [number({**transform, "pixdim": one}, "pixdim") for one in transform["pixdim"]]
        elif kind in INTENSITY:
            seen_intensity = True
            recipe.intensity += INTENSITY[kind](transform)
        elif kind not in SILENT:
            raise Refused(f"the transform {kind} has no counterpart in model.toml")


def inferer(config: Config, recipe: Recipe) -> None:
    told = config.resolved(config.part("inferer"))
    if kind_of(told) != "SlidingWindowInferer":
        raise Refused(f"the inferer is {kind_of(told)}: expected SlidingWindowInferer")
    recipe.roi = [int(one) for one in told["roi_size"]]
    recipe.overlap = number(told, "overlap", 0.25)
    recipe.blend = str(told.get("mode", "constant"))
    if recipe.blend == "gaussian" and number(told, "sigma_scale", 0.125) != 0.125:
        raise Refused("sigma_scale is not 0.125")
    if len(recipe.roi) != 3 or recipe.blend not in ("constant", "gaussian"):
        raise Refused(f"roi_size {recipe.roi} and mode {recipe.blend!r} have no counterpart")


def postprocessing(config: Config, recipe: Recipe) -> None:
    for transform in config.transforms("postprocessing"):
        kind = kind_of(transform)
        if kind == "Activationsd":
            recipe.activation = "softmax" if transform.get("softmax") else "sigmoid" if transform.get("sigmoid") else "none"
        elif kind == "AsDiscreted":
            if not transform.get("argmax"):
                recipe.decision = "threshold"
        elif kind == "KeepLargestConnectedComponentd":
            raise Refused("KeepLargestConnectedComponentd: set largest_component on the labels by hand, see docs/MODELS.md")
        elif kind not in SILENT:
            raise Refused(f"the transform {kind} has no counterpart in model.toml")


def labels(metadata: dict, codes: dict) -> list[str]:
    try:
        defined = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    except KeyError as missing:
        raise Refused(f"metadata.json has no network_data_format.outputs.pred.channel_def ({missing})") from missing
    out = []
    for value, name in sorted((int(key), str(name)) for key, name in defined.items()):
        if value == 0:
            continue
        code = codes.get(name, {})
        out.append("\n".join([
            "[[output.label]]", f"value = {value}", f"name = {json.dumps(name.capitalize())}",
            f"category = {json.dumps(code.get('category', CATEGORY))}",
            f"type = {json.dumps(code.get('type', [str(value), '99LOCAL', name.capitalize()]))}",
            f'color = "{code.get("color", COLOURS[(value - 1) % len(COLOURS)])}"', ""]))
    return out


def weights(bundle: Path, out: Path, roi: list[int], channels: int) -> None:
    ready = bundle / "models" / "model.onnx"
    if ready.is_file():
        shutil.copyfile(ready, out)
        return
    script = bundle / "models" / "model.ts"
    if not script.is_file():
        raise Refused(f"there is neither {ready} nor {script}")
    import torch
    net = torch.jit.load(str(script), map_location="cpu").eval()
    torch.onnx.export(net, (torch.zeros(1, channels, *roi),), str(out), input_names=["image"], output_names=["pred"],
                      opset_version=17, dynamo=False)


def description(args: argparse.Namespace, recipe: Recipe, metadata: dict, ports: tuple[str, str], parts: list[str]) -> str:
    spacing = f"spacing_mm = {recipe.spacing}\n" if recipe.spacing else ""
    threshold = "threshold = 0.5\n" if recipe.decision == "threshold" else ""
    steps = ",\n".join(f"  {step}" for step in recipe.intensity)
    intensity = f"intensity = [\n{steps},\n]\n" if steps else ""
    return f'''format = 1
id = {json.dumps(args.id)}
version = "{version(metadata)}"
name = {json.dumps(str(metadata.get("name", args.id)))}
task = "segmentation"
intended_use = "demonstration"
description = {json.dumps(str(metadata.get("description", "")))}

[[weights]]
file = "model.onnx"
sha256 = "SHA256"

[applies_to]
modality = [{json.dumps(args.modality)}]

[input]
tensor = {json.dumps(ports[0])}
dimensions = 3
orientation = "{recipe.orientation}"
{spacing}tensor_axes = "xyz"

[[input.channel]]
name = {json.dumps(args.modality)}
{intensity}
[window]
roi = {recipe.roi}
overlap = {recipe.overlap!r}
blend = "{recipe.blend}"

[output]
tensor = {json.dumps(ports[1])}
activation = "{recipe.activation}"
decision = "{recipe.decision}"
{threshold}
{"".join(part + chr(10) for part in parts)}[writes]
seg = "binary"
sr = true
policy = "hold-for-review"

[selftest]
input = "selftest/input.npy"
expected = "selftest/expected.npy"
tolerance = 1e-3
'''


def version(metadata: dict) -> str:
    parts = str(metadata.get("version", "0.1.0")).split(".")
    return ".".join((parts + ["0", "0"])[:3]) if all(part.isdigit() for part in parts) else "0.1.0"


def convert(args: argparse.Namespace) -> Path:
    metadata = json.loads((args.bundle / "configs" / "metadata.json").read_text())
    config = Config(json.loads((args.config or args.bundle / "configs" / "inference.json").read_text()))
    image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    if int(image.get("num_channels", 1)) != 1:
        raise Refused(f"the network takes {image['num_channels']} channels: which series each is must be said by hand")
    recipe = Recipe()
    preprocessing(config, recipe)
    inferer(config, recipe)
    postprocessing(config, recipe)
    codes = json.loads(args.codes.read_text()) if args.codes else {}
    parts = labels(metadata, codes)
    args.out.mkdir(parents=True, exist_ok=False)
    try:
        graph = args.out / "model.onnx"
        weights(args.bundle, graph, recipe.roi, 1)
        opened = onnx.load(graph).graph
        ports = opened.input[0].name, opened.output[0].name
        text = description(args, recipe, metadata, ports, parts)
        digest = hashlib.sha256(graph.read_bytes()).hexdigest()
        (args.out / "model.toml").write_text(text.replace("SHA256", digest))
        given = np.random.default_rng(0).normal(0, 1, (1, 1, *recipe.roi)).astype(np.float32)
        package.record(args.out, given, package.run(graph, {ports[0]: given}, [ports[1]])[0])
    except BaseException:
        shutil.rmtree(args.out)
        raise
    return args.out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--id", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--modality", default="CT")
    parser.add_argument("--config", type=Path, help="instead of configs/inference.json")
    parser.add_argument("--codes", type=Path, help="codes of the classes")
    try:
        print(convert(parser.parse_args()))
    except Refused as refused:
        print(f"not converted: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
