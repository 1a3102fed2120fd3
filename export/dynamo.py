"""torch's exporter as we call it: a module to ONNX at our opset."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from .attention_function import OPSET


def export_program(
    module: nn.Module,
    given: tuple[Tensor, ...],
    dynamic_shapes: tuple[dict[int, Any], ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> onnx.ModelProto:
    """The module as ONNX, with sizes that vary by `dynamic_shapes`."""
    with warnings.catch_warnings():
        # torch's exporter warns of its own deprecated calls, merged axis names and torchvision
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            given,
            dynamo=True,
            dynamic_shapes=dynamic_shapes,
            input_names=list(input_names),
            output_names=list(output_names),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # None only with an output file
    model: onnx.ModelProto = program.model_proto
    return model
