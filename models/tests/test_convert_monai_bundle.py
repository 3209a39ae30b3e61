"""A MONAI bundle becomes a package that says what the bundle said; what it cannot say is refused by name."""
from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import convert_monai_bundle as converter  # noqa: E402

METADATA = {"name": "Spleen CT", "version": "0.5.9", "description": "Spleen on abdominal CT",
            "network_data_format": {
                "inputs": {"image": {"num_channels": 1}},
                "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}}}}
INFERENCE = {
    "pixdim": [1.5, 1.5, 2.0],
    "preprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
         "clip": True}]},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 4], "sw_batch_size": 4, "overlap": 0.5,
                "mode": "gaussian"},
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]},
}


def graph(path: Path) -> None:
    tensors = {"w": np.array([-1, 1], np.float32).reshape(2, 1, 1, 1, 1), "b": np.zeros(2, np.float32)}
    made = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["pred"], kernel_shape=[1, 1, 1])], "bundle",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "x", "y", "z"])],
        [helper.make_tensor_value_info("pred", TensorProto.FLOAT, [1, 2, "x", "y", "z"])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Conversion(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.bundle = Path(self.folder.name) / "bundle"
        (self.bundle / "configs").mkdir(parents=True)
        (self.bundle / "models").mkdir()
        graph(self.bundle / "models" / "model.onnx")

    def convert(self, change=lambda inference: None, **options) -> Path:
        inference = copy.deepcopy(INFERENCE)
        change(inference)
        (self.bundle / "configs" / "metadata.json").write_text(json.dumps(METADATA))
        (self.bundle / "configs" / "inference.json").write_text(json.dumps(inference))
        args = argparse.Namespace(bundle=self.bundle, id="spleen-ct", out=Path(self.folder.name) / "spleen-ct",
                                  modality="CT", config=None, codes=None)
        return converter.convert(argparse.Namespace(**{**vars(args), **options}))

    def test_package_says_what_the_bundle_said(self):
        out = self.convert()
        told = tomllib.loads((out / "model.toml").read_text())
        self.assertEqual(told["input"]["orientation"], "RAS")
        self.assertEqual(told["input"]["spacing_mm"], [1.5, 1.5, 2.0])
        self.assertEqual((told["input"]["tensor"], told["output"]["tensor"]), ("image", "pred"))
        clip, scale = told["input"]["channel"][0]["intensity"]
        self.assertEqual(clip, {"kind": "clip", "min": -57.0, "max": 164.0})
        self.assertAlmostEqual((0.0 - scale["subtract"]) / scale["divide"], 57 / 221)
        self.assertEqual(told["window"], {"roi": [8, 8, 4], "overlap": 0.5, "blend": "gaussian"})
        self.assertEqual((told["output"]["activation"], told["output"]["decision"]), ("softmax", "argmax"))
        self.assertEqual([one["name"] for one in told["output"]["label"]], ["Spleen"])
        self.assertEqual(np.load(out / "selftest" / "expected.npy").shape, (1, 2, 8, 8, 4))

    def test_what_has_no_counterpart_is_refused_and_nothing_is_left(self):
        def strange(inference):
            inference["preprocessing"]["transforms"].append({"_target_": "CropForegroundd", "keys": "image"})

        def computed(inference):
            inference["inferer"]["overlap"] = "$0.25 * 2"

        def late_spacing(inference):
            transforms = inference["preprocessing"]["transforms"]
            transforms.append(transforms.pop(3))

        for change, word in ((strange, "CropForegroundd"), (computed, "not a number"), (late_spacing, "Spacingd after")):
            with self.assertRaisesRegex(converter.Refused, word):
                self.convert(change)
            self.assertFalse((Path(self.folder.name) / "spleen-ct").exists())

    def test_codes_are_taken_from_the_person_who_knows_them(self):
        codes = Path(self.folder.name) / "codes.json"
        codes.write_text(json.dumps({"spleen": {"type": ["78961009", "SCT", "Spleen"]}}))
        told = tomllib.loads((self.convert(codes=codes) / "model.toml").read_text())
        self.assertEqual(told["output"]["label"][0]["type"], ["78961009", "SCT", "Spleen"])


if __name__ == "__main__":
    unittest.main()
