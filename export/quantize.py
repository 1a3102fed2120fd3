"""
`segmif export quantize`: an ONNX to INT8 or FP8 by explicit QDQ nodes, from frames of your rig.

The convolutions of encoder, pyramid and mask compute in eight bits, but for the first layers and
for depthwise ones. Quantization is symmetric: weights by channel, activations by tensor, with
ranges from the given frames. The rest keeps the precision of the given ONNX, FP16 for an engine.
That is the first layers, the fusion decoder and the last layer of the mask, whose errors would be
visible, and biases, attention and pixels. TensorRT reads the scales from the graph. ONNX Runtime
runs the same file.

Sums and concatenations between those convolutions read the rounded values too. Otherwise TensorRT
would add in FP16 and quantize again before each convolution, which takes longer than FP16 alone.
"""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from segmif import folders
from segmif.argument_types import IntegerRange
from segmif.folders import BY_NAME, Pairing
from segmif.frames import DEFAULT_TINT, TINT, FramePair, fit
from segmif.runtime.onnxruntime_ import onnxruntime

from .output_paths import check_output_path
from .to_engine import read_model
from .verify import read_frames

# Of weights' names, in `edge` and `nano`.
QUANTIZED = re.compile(
    r"\.(encoder\.stages\.[1-9]|(visible|infrared)_stream|pyramid|bridges"
    r"|fusion\.(reduce|detail)|mask\.(reduce|detail|mix))\."
)

FP16_SCALES_OPSET = 19  # the first opset whose scales may be FP16


@dataclass(frozen=True, kw_only=True)
class EightBit:
    """A type of eight bits in which TensorRT computes convolutions."""

    onnx: int  # its number in ONNX
    largest: float
    channels: int  # least number in and out of a convolution
    multiple: int  # of which both numbers are
    opset: int  # the first with the type and attributes used here
    zero_points: bool  # whether zero points give the type; else an attribute does


PRECISIONS = {
    "int8": EightBit(
        onnx=TensorProto.INT8, largest=127, channels=8, multiple=1, opset=13, zero_points=True
    ),
    # E4M3. TensorRT 10 computes convolutions of 16 channels or fewer slowly or not at all, so
    # NVIDIA's ModelOpt leaves them out.
    # Its FP8 kernels take multiples of 16.
    # ONNX Runtime 1.32 drops a ReLU before an FP8 QDQ with zero points.
    "fp8": EightBit(
        onnx=TensorProto.FLOAT8E4M3FN,
        largest=448,
        channels=24,
        multiple=16,
        opset=21,
        zero_points=False,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif export quantize`."""
    parser.add_argument(
        "--onnx", type=Path, required=True, help="network as exported; in FP16 for an engine"
    )
    parser.add_argument(
        "--type",
        choices=list(PRECISIONS),
        default="int8",
        help="of the convolutions; fp8 needs a GPU of compute capability 8.9 or later [int8]",
    )
    parser.add_argument("--out", type=Path, help="ONNX to write [NAME.TYPE.onnx]")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible and infrared; not a test set"
    )
    parser.add_argument(
        "--frames", type=IntegerRange(1), default=32, help="pairs to take ranges from [32]"
    )
    folders.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Quantizes as the arguments say; returns the exit code."""
    out = args.out or args.onnx.with_suffix(f".{args.type}.onnx")
    how = folders.pairing_of(args)
    layers = quantize(args.onnx, out, args.data, args.frames, args.type, how)
    print(
        f"{out}: {layers} convolutions in {args.type.upper()}; `segmif export verify` and "
        "`segmif evaluate` measure it"
    )
    return 0


def quantize(
    source: Path,
    out: Path,
    data: Path,
    frames: int,
    precision: str = "int8",
    how: Pairing = BY_NAME,
) -> int:
    """
    Writes `out` and its manifest; gives the number of convolutions in `precision`, int8 or fp8.

    Raises ValueError if `source` is not an `edge` or `nano` in FP32 or FP16, if `data` has no pair,
    or if `out` is `source`.
    """
    check_output_path(source, out)
    manifest, model, kind = *read_model(source), PRECISIONS[precision]
    layers = quantizable_layers(model, kind)
    if manifest.precision not in ("fp32", "fp16") or not layers or manifest.variant == "paper":
        raise ValueError(
            f"{source.name} is {manifest.variant} in {manifest.precision}: {precision.upper()} is "
            "made from the FP32 or FP16 ONNX of edge or nano"
        )
    read = sorted({layer.input[0] for layer in layers})
    pairs = (frame.pair for frame in read_frames(data, frames, how))
    activations = activation_ranges(model, read, pairs)
    insert_qdq(model, layers, quantization_scales(model, layers, activations, kind.largest), kind)
    fp16_opset = FP16_SCALES_OPSET if manifest.precision == "fp16" else 0
    opset = raise_opset(model, max(kind.opset, fp16_opset))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace(
        manifest,
        precision=f"{precision}+{manifest.precision}",
        source_sha256=manifest.sha256,
        tools={**manifest.tools, "opset": str(opset)},
    ).save(out, model.SerializeToString())
    return len(layers)


def quantizable_layers(model: ModelProto, kind: EightBit) -> list[NodeProto]:
    """The convolutions that may compute in eight bits."""
    shapes = {each.name: each.dims for each in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and QUANTIZED.search(node.input[1])
        and all(
            size >= kind.channels and size % kind.multiple == 0
            for size in shapes.get(node.input[1], [0])[:2]
        )
    ]


def activation_ranges(
    model: ModelProto, names: Sequence[str], pairs: Iterable[FramePair]
) -> dict[str, NDArray[np.float32]]:
    """The greatest magnitude (), FP32, of each named tensor over the pairs."""
    watched = ModelProto.FromString(model.SerializeToString())
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    takes_tint = any(each.name == TINT for each in model.graph.input)
    found = {name: np.zeros((), np.float32) for name in names}
    for pair in map(fit, pairs):
        given: dict[str, NDArray[Any]] = {
            "visible": pair.visible[None],
            "infrared": pair.infrared[None],
        }
        if takes_tint:  # which no convolution reads
            given[TINT] = np.full(1, DEFAULT_TINT, np.float32)
        for name, values in zip(names, session.run(names, given), strict=True):
            found[name] = np.maximum(found[name], np.abs(values).max())
    return found


def quantization_scales(
    model: ModelProto,
    layers: Sequence[NodeProto],
    activations: Mapping[str, NDArray[np.float32]],
    largest: float,
) -> dict[str, NDArray[Any]]:
    """
    The QDQ scale of each tensor that the layers read, for a type with values up to `largest`.

    Takes the greatest magnitudes () of activations. Gives a scale () for each of them and a scale
    (C,) for weights (C, ...), in the precision of the weights.
    """
    read = {layer.input[1] for layer in layers}
    weights = {
        each.name: numpy_helper.to_array(each)
        for each in model.graph.initializer
        if each.name in read
    }
    precision = next(iter(weights.values())).dtype
    by_channel = {
        name: np.abs(array).max(axis=(1, 2, 3)).astype(np.float32)
        for name, array in weights.items()
    }
    # at least the smallest normal number: a scale is not zero, and FP16 is inexact below
    return {
        name: np.maximum(magnitude / largest, np.finfo(precision).tiny).astype(precision)
        for name, magnitude in {**activations, **by_channel}.items()
    }


def insert_qdq(
    model: ModelProto,
    layers: Sequence[NodeProto],
    scales: Mapping[str, NDArray[Any]],
    kind: EightBit,
) -> None:
    """Puts QDQ pairs of these scales before the layers' activations and weights, in place."""
    graph, nodes = model.graph, []
    pairs: dict[str, list[NodeProto]] = {}
    for name, scale in scales.items():
        pairs[name], constants = qdq_pair(name, scale, kind)
        graph.initializer.extend(constants)
    for node in graph.node:
        nodes += [node, *(each for name in node.output for each in pairs.pop(name, []))]
    read = {layer.input[0] for layer in layers}
    for node in _between(model, layers):
        for place, name in enumerate(node.input):
            if name in read:
                node.input[place] = f"{name}_dequantized"
    for layer in layers:
        layer.input[0], layer.input[1] = (f"{name}_dequantized" for name in layer.input[:2])
    of_weights = [each for pair in pairs.values() for each in pair]
    del graph.node[:]
    graph.node.extend([*of_weights, *nodes])


def _between(model: ModelProto, layers: Sequence[NodeProto]) -> list[NodeProto]:
    """Sums and concatenations that no other convolution reads, such as the fusion decoder's."""
    quantized = {layer.output[0] for layer in layers}
    others = {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Conv" and node.output[0] not in quantized
    }
    return [
        node
        for node in model.graph.node
        if node.op_type in ("Add", "Concat") and node.output[0] not in others
    ]


def qdq_pair(
    name: str, scale: NDArray[Any], kind: EightBit
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The QDQ pair from NAME to NAME_dequantized, and its constants; scale () or (C,)."""
    constants = [numpy_helper.from_array(scale, f"{name}_scale")]
    if kind.zero_points:
        zeros = np.zeros(scale.shape, helper.tensor_dtype_to_np_dtype(kind.onnx))
        constants.append(numpy_helper.from_array(zeros, f"{name}_zero_point"))
    given, between = [each.name for each in constants], f"{name}_quantized"
    pair = [
        helper.make_node("QuantizeLinear", [name, *given], [between]),
        helper.make_node("DequantizeLinear", [between, *given], [f"{name}_dequantized"]),
    ]
    if not kind.zero_points:
        pair[0].attribute.append(helper.make_attribute("output_dtype", kind.onnx))
    if scale.ndim:
        for node in pair:
            node.attribute.append(helper.make_attribute("axis", 0))
    return pair, constants


def raise_opset(model: ModelProto, least: int) -> int:
    """Raises the opset of the graph and its functions to `least`; gives the resulting opset."""
    imported = [*model.opset_import, *(o for f in model.functions for o in f.opset_import)]
    plain = [opset for opset in imported if opset.domain == ""]
    for opset in plain:
        opset.version = max(opset.version, least)
    return int(plain[0].version)
