"""Write the trained network as an ONNX file (extra `train`)."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from models.intake import GRID
from models.network import CrossingNet


def export(net: CrossingNet, path: Path) -> None:
    """Write the ONNX file: input `signal` (1, steps, 8, 8), output `evidence` (1, steps - 24, 2, 8).

    The graph is written node by node, so that the file holds the four operators it needs and nothing of an exporter's.
    """
    nodes, weights, last = [helper.make_node("Transpose", ["signal"], ["turned"], perm=[0, 3, 1, 2])], [], "turned"
    for name, layer in net.layers():
        for parameter, value in layer.named_parameters():
            weights.append(numpy_helper.from_array(value.detach().numpy(), f"{name}_{parameter}"))
        pads = [*layer.padding] * 2
        nodes.append(helper.make_node("Conv", [last, f"{name}_weight", f"{name}_bias"], [name], pads=pads))
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
