"""Writes the weights and the self-test of the packages in this folder.

    python make.py

`bright` marks voxels above a threshold: its graph is the identity. Nothing is trained.
"""

import hashlib
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).parent


def identity(path):
    shape = [1, 1, "z", "y", "x"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["probability"])],
        "identity",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


folder = HERE / "bright"
(folder / "selftest").mkdir(parents=True, exist_ok=True)
sample = numpy.linspace(0, 1, 64, dtype=numpy.float32).reshape(1, 1, 4, 4, 4)
numpy.save(folder / "selftest" / "input.npy", sample)
numpy.save(folder / "selftest" / "expected.npy", sample)
print("bright", identity(folder / "model.onnx"))
