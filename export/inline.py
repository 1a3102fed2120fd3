"""
An ONNX without local functions, for readers that refuse them: OpenVINO, OpenCV's dnn and others.

Our attention becomes plain operators, so our plugin for TensorRT finds nothing to replace in it.
"""

import logging

import onnx
import onnx.inliner
import onnxscript.optimizer


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in plain operators, with what depends on weights alone computed."""
    plain = onnx.inliner.inline_local_functions(model)
    # It warns of each operator with several outputs, which it leaves as it is.
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)
    folded: onnx.ModelProto = onnxscript.optimizer.optimize(plain)
    expand_pooled(folded)
    return folded


def expand_pooled(model: onnx.ModelProto) -> None:
    """
    Expands a convolution of pooled features (B, C, 1, 1) before a map is added to it.

    OpenCV 5.0 joins a convolution with the addition that follows, and then takes no broadcast.
    """
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    pooled = {value.name for value in known if _is_pooled(value)}
    convolved = {
        name for node in model.graph.node if node.op_type == "Conv" for name in node.output
    }
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Add":
            nodes += _expanded(node, pooled & convolved)
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _is_pooled(value: onnx.ValueInfoProto) -> bool:
    sizes = [each.dim_value for each in value.type.tensor_type.shape.dim]
    return len(sizes) == 4 and sizes[2:] == [1, 1]


def _expanded(addition: onnx.NodeProto, pooled: set[str]) -> list[onnx.NodeProto]:
    """The nodes that expand the one pooled term of an addition, which then takes their result."""
    at = [place for place, name in enumerate(addition.input) if name in pooled]
    if len(at) != 1:
        return []
    term, other = addition.input[at[0]], addition.input[1 - at[0]]
    shape, expanded = f"{addition.output[0]}_shape", f"{addition.output[0]}_expanded"
    addition.input[at[0]] = expanded
    return [
        onnx.helper.make_node("Shape", [other], [shape]),
        onnx.helper.make_node("Expand", [term, shape], [expanded]),
    ]
