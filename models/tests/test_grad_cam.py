"""The Grad-CAM outputs of an exported graph are what PyTorch's own differentiation gives."""
from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import grad_cam_onnx  # noqa: E402
import package  # noqa: E402


def body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())


def heatmaps_of_torch(net: nn.Module, head: nn.Module, image: torch.Tensor) -> np.ndarray:
    """Grad-CAM of every class by automatic differentiation, rectified and divided by its maximum."""
    features = net(image).detach().requires_grad_()
    maps = []
    for score in head(features)[0]:
        gradient, = torch.autograd.grad(score, features, retain_graph=True)
        heat = torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1))[0].detach().numpy()
        maps.append(heat / max(float(heat.max()), 1e-12))
    return np.stack(maps)


class GradCam(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(4)
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "model.onnx"
        self.image = torch.randn(1, 1, 40, 32)
        self.body = body().eval()

    def check(self, head: nn.Module, expected_outputs: list[str]):
        head.eval()
        outputs = grad_cam_onnx.export(self.body, head, self.image, self.path)
        self.assertEqual(outputs, expected_outputs)
        made = dict(zip(outputs, package.run(self.path, {"input": self.image.numpy()}, outputs)))
        with torch.no_grad():
            np.testing.assert_allclose(made["logits"], head(self.body(self.image)).numpy(), atol=1e-5)
        if "gradients" in made:
            weights = made["gradients"][0].mean((2, 3))
        else:
            weights = made["head_weights"]
        heat = np.maximum(np.einsum("kc,chw->khw", weights, made["features"][0]), 0)
        heat /= np.maximum(heat.max((1, 2), keepdims=True), 1e-12)
        np.testing.assert_allclose(heat, heatmaps_of_torch(self.body, head, self.image), atol=1e-4)

    def test_pooling_and_one_layer_gives_head_weights(self):
        self.check(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
                   ["logits", "features", "head_weights"])

    def test_deeper_head_gives_gradients(self):
        self.check(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5),
                                 nn.Linear(16, 4)), ["logits", "features", "gradients"])

    def test_head_that_is_not_understood_is_refused_by_name(self):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), nn.Tanh())
        with self.assertRaisesRegex(ValueError, "Tanh"):
            grad_cam_onnx.export(self.body, head, self.image, self.path)

    def test_pooling_to_more_than_one_place_is_refused(self):
        with self.assertRaisesRegex(ValueError, "pools to 2"):
            grad_cam_onnx.layers_of(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)))


if __name__ == "__main__":
    unittest.main()
