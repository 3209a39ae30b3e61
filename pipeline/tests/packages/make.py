"""Writes the weights and the self-test of the packages in this folder.

    python make.py

`bright` marks voxels above a threshold: its graph is the identity. `shade` says whether a grey image is bright or
dark, `tint` which of red, green and blue a colour image has most of: means over the pixels. `tide` gives the sigmoid of
its one value, `joined` that of the sum of bright's volume, tide's answer and an age. Nothing is trained.
"""

import hashlib
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

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


def means(path, weights, bias):
    """(1, channels, y, x) -> scores (1, classes): weighted means over the pixels."""
    classes, channels = len(weights), len(weights[0])
    tensors = {"w": numpy.array(weights, numpy.float32).reshape(classes, channels, 1, 1),
               "b": numpy.array(bias, numpy.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w", "b"], ["each"], kernel_shape=[1, 1]),
            helper.make_node("GlobalAveragePool", ["each"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["scores"]),
        ],
        "means",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, "y", "x"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def self_test(folder, given, expected):
    (folder / "selftest").mkdir(parents=True, exist_ok=True)
    numpy.save(folder / "selftest" / "input.npy", given)
    numpy.save(folder / "selftest" / "expected.npy", expected)


sample = numpy.linspace(0, 1, 64, dtype=numpy.float32).reshape(1, 1, 4, 4, 4)
self_test(HERE / "bright", sample, sample)
print("bright", identity(HERE / "bright" / "model.onnx"))

half = numpy.full((1, 1, 4, 4), 0.25, numpy.float32)
self_test(HERE / "shade", half, numpy.array([[0.25, 0.75]], numpy.float32))
print("shade", means(HERE / "shade" / "model.onnx", [[1], [-1]], [0, 1]))

colours = numpy.arange(3, dtype=numpy.float32).reshape(1, 3, 1, 1) * numpy.ones((1, 3, 4, 4), numpy.float32)
self_test(HERE / "tint", colours, numpy.array([[0, 1, 2]], numpy.float32))
print("tint", means(HERE / "tint" / "model.onnx", numpy.eye(3), [0, 0, 0]))


def sigmoid_of_sum(path, columns):
    """float64 (rows, columns) -> the sigmoid of each row's sum, (rows, 1)."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["row", "ones"], ["sum"]),
            helper.make_node("Sigmoid", ["sum"], ["probability"]),
        ],
        "sum",
        [helper.make_tensor_value_info("row", TensorProto.DOUBLE, ["rows", columns])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["rows", 1])],
        [numpy_helper.from_array(numpy.ones((columns, 1)), "ones")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


for name, columns in (("tide", 1), ("joined", 3)):
    rows = numpy.linspace(-1, 1, 2 * columns).reshape(2, columns)
    self_test(HERE / name, rows, 1 / (1 + numpy.exp(-rows.sum(1))))
    print(name, sigmoid_of_sum(HERE / name / "model.onnx", columns))
