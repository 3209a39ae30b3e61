"""Exports a PyTorch image classifier with the graph outputs that Grad-CAM needs.

    from grad_cam_onnx import export
    export(net.body, net.head, example, "model.onnx")

`body` makes the feature maps that the heatmap is drawn on, `head` turns them into logits. Two kinds of head:

* global average pooling and one linear layer: the gradient is the layer's weights over the number of places, the same
  everywhere, so the graph gives `features` and `head_weights` (classes, channels);
* global average pooling, then linear layers, ReLU and dropout: the graph also runs the chain rule backwards, one row
  a class, and gives `features` and `gradients` (1, classes, channels, height, width).

Any other head is refused by name. Batch normalisation belongs into the body, in evaluation mode.
"""
from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

OPSET = 17


class HeadWithGradients(nn.Module):
    """Runs the head forwards, then the chain rule backwards, for one image."""

    def __init__(self, body: nn.Module, layers: list[nn.Module]):
        super().__init__()
        self.body, self.layers = body, nn.ModuleList(layers)

    def forward(self, image: torch.Tensor):
        features = self.body(image)
        value, active = features.mean((2, 3)), []
        for layer in self.layers:
            active.append((value > 0).to(value.dtype))
            value = layer(value)
        slope = torch.eye(value.shape[1])
        for layer, was_positive in zip(reversed(self.layers), reversed(active)):
            slope = slope @ layer.weight if isinstance(layer, nn.Linear) else slope * was_positive
        height, width = features.shape[2:]
        spread = torch.ones(1, 1, 1, height, width) / (height * width)
        return value, features, slope[None, :, :, None, None] * spread


class HeadOfOneLayer(nn.Module):
    def __init__(self, body: nn.Module, layer: nn.Linear):
        super().__init__()
        self.body, self.layer = body, layer

    def forward(self, image: torch.Tensor):
        features = self.body(image)
        return self.layer(features.mean((2, 3))), features


def layers_of(head: nn.Module) -> list[nn.Module]:
    """The layers after pooling; what does nothing in evaluation is left out."""
    given = list(head) if isinstance(head, nn.Sequential) else [head]
    if given and isinstance(given[0], nn.AdaptiveAvgPool2d):
        if given[0].output_size not in (1, (1, 1)):
            raise ValueError(f"the head pools to {given[0].output_size}, expected 1")
        given = given[1:]
    layers = [layer for layer in given if not isinstance(layer, (nn.Flatten, nn.Dropout, nn.Identity))]
    for layer in layers:
        if not isinstance(layer, (nn.Linear, nn.ReLU)):
            raise ValueError(f"the head holds {type(layer).__name__}, expected pooling, Linear, ReLU or Dropout")
    if not layers or not isinstance(layers[-1], nn.Linear):
        raise ValueError("the head does not end in a linear layer")
    return layers


def export(body: nn.Module, head: nn.Module, example: torch.Tensor, path: Path | str) -> list[str]:
    """Writes the graph; the answer names its outputs."""
    layers = layers_of(head)
    one_layer = len(layers) == 1
    net = HeadOfOneLayer(body, layers[0]) if one_layer else HeadWithGradients(body, layers)
    outputs = ["logits", "features"] if one_layer else ["logits", "features", "gradients"]
    net.eval()
    torch.onnx.export(net, (example,), str(path), input_names=["input"], output_names=outputs, opset_version=OPSET,
                      dynamo=False)
    model = onnx.load(path)
    if one_layer:
        weights = layers[0].weight.detach()
        model.graph.initializer.append(helper.make_tensor("head_weights_value", TensorProto.FLOAT, weights.shape,
                                                          weights.flatten().tolist()))
        model.graph.node.append(helper.make_node("Identity", ["head_weights_value"], ["head_weights"]))
        model.graph.output.append(helper.make_tensor_value_info("head_weights", TensorProto.FLOAT, weights.shape))
        outputs = [*outputs, "head_weights"]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return outputs
