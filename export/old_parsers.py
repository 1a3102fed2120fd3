"""
An ONNX of opset 18 in the words of opset 17 that the parsers of TensorRT 8 know.

Those read newer words without complaint and wrongly: a ReduceMean whose axes are an input averages
over all of them, a Shape gives all sizes whatever its `start` and `end`.
"""

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

OPSET = 17
NEWER_ATTRIBUTES = {"Split": {"num_outputs"}, "Resize": {"antialias", "keep_aspect_ratio_policy"}}


def reword(model: ModelProto) -> ModelProto:
    """
    The same network at opset 17; its local functions must be inlined before.

    Raises ValueError for a word that has no older form here.
    """
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    types = {
        each.name: each.type.tensor_type.elem_type
        for each in (*graph.value_info, *graph.input, *graph.output)
    } | {each.name: each.data_type for each in graph.initializer}
    constants = _constants(graph)
    nodes = [
        older for node in graph.node for older in _older(node, types=types, constants=constants)
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = OPSET
    return model


def _constants(graph: GraphProto) -> dict[str, list[int]]:
    """Whole numbers that are known before the network runs: axes, for instance."""
    found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = np.asarray(_value(node.attribute[0]))
    return {
        name: array.ravel().tolist()
        for name, array in found.items()
        if array.dtype.kind == "i" and array.size <= 8
    }


def _value(attribute: AttributeProto) -> object:
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if attribute.name == "value" else value


def _older(
    node: NodeProto, types: dict[str, int], constants: dict[str, list[int]]
) -> list[NodeProto]:
    if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.input) > 1:
        return [_reduce(node, constants)]
    if node.op_type == "Shape" and node.attribute:
        return _shape(node)
    if node.op_type == "CastLike":
        cast = helper.make_node("Cast", node.input[:1], node.output, to=types[node.input[1]])
        return [cast]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        _check_int8(node, types)
    unknown = NEWER_ATTRIBUTES.get(node.op_type, set())
    kept = [each for each in node.attribute if each.name not in unknown]
    del node.attribute[:]
    node.attribute.extend(kept)
    return [node]


def _check_int8(node: NodeProto, types: dict[str, int]) -> None:
    """Those parsers read every scale as FP32, and every QDQ as INT8."""
    kinds = [types.get(name) for name in node.input[1:]]
    if kinds[0] != TensorProto.FLOAT or kinds[-1] != TensorProto.INT8:
        raise ValueError(
            f"{node.op_type} of {node.input[0]}: TensorRT 8 knows INT8 with scales in FP32, as "
            "`python -m export quantize` makes it of the FP32 ONNX"
        )


def _reduce(node: NodeProto, constants: dict[str, list[int]]) -> NodeProto:
    if node.input[1] not in constants:
        raise ValueError(f"{node.op_type} {node.name}: its axes are computed, constants expected")
    keep = {each.name: each.i for each in node.attribute}.get("keepdims", 1)
    axes = constants[node.input[1]]
    return helper.make_node(
        node.op_type, node.input[:1], node.output, node.name, axes=axes, keepdims=keep
    )


def _shape(node: NodeProto) -> list[NodeProto]:
    """All sizes, and those from `start` to `end` of them."""
    sizes, bounds = f"{node.output[0]}_all", {each.name: each.i for each in node.attribute}
    ends = {"start": bounds.get("start", 0), "end": bounds.get("end", np.iinfo(np.int32).max)}
    names = {key: f"{node.output[0]}_{key}" for key in ends}
    return [
        helper.make_node("Shape", node.input, [sizes]),
        *(helper.make_node("Constant", [], [names[k]], value_ints=[v]) for k, v in ends.items()),
        helper.make_node("Slice", [sizes, names["start"], names["end"]], node.output),
    ]
