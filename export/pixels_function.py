"""
The last pixels without our plugin: the body of `segmif::Pixels`, an ONNX local function.

ONNX Runtime runs this body, and so does TensorRT if our plugin is not loaded. It is exported from
`segmif.model.pixels.plain` for the classes, the stride and the type of one network.
"""

from functools import cache

import onnx
import torch

from segmif.frames import MULTIPLE
from segmif.model.pixels import LOGIT_STRIDE, Plain

from .dynamo import export_program

NAME, DOMAIN = "Pixels", "segmif"
INPUTS = ("visible", "infrared", "fused_luma", "logits", "tint")
OUTPUTS = ("fused", "labels", "confidence")


@cache
def local_function(classes: int, label_stride: int, dtype: torch.dtype) -> onnx.FunctionProto:
    """The body of the node; inputs and outputs as in `segmif.model.pixels`."""
    batch = torch.export.Dim("batch", min=1)
    rows, columns = (torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    frame = {0: batch, 1: MULTIPLE * rows, 2: MULTIPLE * columns}
    cells = MULTIPLE // LOGIT_STRIDE
    given = (
        torch.zeros(2, 64, 96, 3, dtype=dtype),
        torch.zeros(2, 64, 96, dtype=dtype),
        torch.zeros(2, 64, 96, dtype=dtype),
        torch.zeros(2, classes, 64 // LOGIT_STRIDE, 96 // LOGIT_STRIDE, dtype=dtype),
        torch.zeros(2),
    )
    at_4 = {0: batch, 2: cells * rows, 3: cells * columns}
    shapes = (frame, frame, frame, at_4, {0: batch})
    model = export_program(Plain(label_stride), given, shapes, INPUTS, OUTPUTS)
    return onnx.helper.make_function(
        DOMAIN,
        NAME,
        INPUTS,
        OUTPUTS,
        [*(_constant(each) for each in model.graph.initializer), *model.graph.node],
        [each for each in model.opset_import if not each.domain],
        ["label_stride"],
    )


def _constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    """A function holds no initializers."""
    node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
    node.attribute[0].t.ClearField("name")
    return node
