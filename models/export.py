"""Write the trained network as an ONNX file (extra `train`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.intake import GRID
from models.network import CrossingNet

Array = NDArray[np.float32]


def _both_ways(net: CrossingNet) -> list[tuple[str, Array, Array, int]]:
    """(name, weight, bias, groups) of a network that is the mean of `net` and of `net` mirrored across the door.

    The two run side by side as groups of one convolution; the last layer, linear up to the sigmoid, takes their mean.
    """
    layers: list[tuple[str, Array, Array, int]] = []
    for at, (name, layer) in enumerate(net.layers()):
        weight, bias = (value.detach().numpy() for _, value in layer.named_parameters())
        twin = weight[:, :, :, ::-1]
        if name == "told":
            layers.append((name, np.concatenate((weight, twin), axis=1) * np.float32(0.5), bias, 1))
        else:
            layers.append((name, np.concatenate((weight, twin)), np.concatenate((bias, bias)), 1 if at == 0 else 2))
    return layers


def export(net: CrossingNet, path: Path) -> None:
    """Write the ONNX file: input `signal` (1, steps, 8, 8), output `evidence` (1, steps - 24, 2, 8).

    The graph is written node by node, so that the file holds the four operators it needs and nothing of an exporter's.
    """
    nodes, weights, last = [helper.make_node("Transpose", ["signal"], ["turned"], perm=[0, 3, 1, 2])], [], "turned"
    for name, weight, bias, groups in _both_ways(net):
        weights.append(numpy_helper.from_array(weight, f"{name}_weight"))
        weights.append(numpy_helper.from_array(bias, f"{name}_bias"))
        inputs = [last, f"{name}_weight", f"{name}_bias"]
        nodes.append(helper.make_node("Conv", inputs, [name], pads=[0, 1, 0, 1], group=groups))
        kind = "Sigmoid" if name == "told" else "Relu"
        nodes.append(helper.make_node(kind, [name], [f"{name}_out"]))
        last = f"{name}_out"
    nodes.append(helper.make_node("Transpose", [last], ["evidence"], perm=[0, 2, 1, 3]))
    real = TensorProto.FLOAT
    signal = helper.make_tensor_value_info("signal", real, [1, "steps", GRID, GRID])
    evidence = helper.make_tensor_value_info("evidence", real, [1, "judged", 2, GRID])
    graph = helper.make_graph(nodes, "footfall", [signal], [evidence], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
