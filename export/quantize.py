"""
`python -m export quantize`: an ONNX to INT8 or FP8 by explicit QDQ nodes, from frames of your rig.

The convolutions at stride 4 and deeper compute in eight bits: weights by channel, activations by
tensor, symmetric, with ranges from the frames given. The rest stays as it is in the ONNX given,
FP16 for an engine: the stems' detail, the fusion decoder and the last layer of the mask, whose
errors would be seen as they are, biases, attention and pixels. TensorRT takes the scales from the
graph; ONNX Runtime runs the same file.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from segmif.argument_types import IntegerRange
from segmif.frames import FramePair, fit
from segmif.runtime.onnxruntime_ import onnxruntime

from .output_paths import spare_source
from .to_engine import read_model
from .verify import read_frames

# of the names of their weights; `edge` and `nano`
DEEP = ("stem.stream", "encoder.", "pyramid.", "fusion.reduce", "mask.reduce", "mask.mix")

HALF_SCALES = 19  # the first opset whose scales may be FP16


@dataclass(frozen=True, kw_only=True)
class EightBits:
    """A type of eight bits that convolutions of TensorRT compute in."""

    onnx: int  # its number in ONNX
    largest: float
    channels: int  # in and out, that a convolution must have
    opset: int  # the first that knows it as it is written here
    zero_points: bool  # whether they tell the type, or an attribute does


PRECISIONS = {
    "int8": EightBits(onnx=TensorProto.INT8, largest=127, channels=8, opset=13, zero_points=True),
    # E4M3. TensorRT 10 does convolutions of 16 channels or fewer slowly or not at all: NVIDIA's
    # ModelOpt leaves them out. ONNX Runtime 1.32 drops a ReLU before an FP8 QDQ with zero points.
    "fp8": EightBits(
        onnx=TensorProto.FLOAT8E4M3FN, largest=448, channels=24, opset=21, zero_points=False
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m export quantize`."""
    parser.add_argument(
        "--onnx", type=Path, required=True, help="network as exported; in FP16 for an engine"
    )
    parser.add_argument(
        "--type",
        choices=list(PRECISIONS),
        default="int8",
        help="of the convolutions; fp8 wants a GPU of compute capability 8.9 or later [int8]",
    )
    parser.add_argument("--out", type=Path, help="ONNX to write [NAME.TYPE.onnx]")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible and infrared; not a test set"
    )
    parser.add_argument(
        "--frames", type=IntegerRange(), default=32, help="pairs to take ranges from [32]"
    )


def main(args: argparse.Namespace) -> int:
    """Quantizes as the arguments say; returns the exit code."""
    out = args.out or args.onnx.with_suffix(f".{args.type}.onnx")
    layers = quantize(args.onnx, out, args.data, args.frames, args.type)
    print(
        f"{out}: {layers} convolutions in {args.type.upper()}; `export verify` and "
        "`training evaluate` judge it"
    )
    return 0


def quantize(source: Path, out: Path, data: Path, frames: int, precision: str = "int8") -> int:
    """
    Writes `out` and its manifest; gives the number of convolutions in `precision`, int8 or fp8.

    Raises ValueError where `source` is not an `edge` or `nano` in FP32 or FP16, `data` holds no
    pair, or `out` is `source`.
    """
    spare_source(source, out)
    manifest, model, kind = *read_model(source), PRECISIONS[precision]
    layers = deep_layers(model, kind)
    if manifest.precision not in ("fp32", "fp16") or not layers or manifest.variant == "paper":
        raise ValueError(
            f"{source.name} is {manifest.variant} in {manifest.precision}: {precision.upper()} is "
            "made from the FP32 or FP16 ONNX of edge or nano"
        )
    read = sorted({layer.input[0] for layer in layers})
    activations = greatest(model, read, (frame.pair for frame in read_frames(data, frames)))
    insert(model, layers, scales_of(model, layers, activations, kind.largest), kind)
    opset = raise_opset(model, max(kind.opset, HALF_SCALES if manifest.precision == "fp16" else 0))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace(
        manifest,
        precision=f"{precision}+{manifest.precision}",
        source_sha256=manifest.sha256,
        tools={**manifest.tools, "opset": str(opset)},
    ).save(out, model.SerializeToString())
    return len(layers)


def deep_layers(model: ModelProto, kind: EightBits) -> list[NodeProto]:
    """The convolutions that may compute in eight bits."""
    shapes = {each.name: each.dims for each in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and any(part in node.input[1] for part in DEEP)
        and min(shapes.get(node.input[1], [0])[:2]) >= kind.channels
    ]


def greatest(
    model: ModelProto, names: Sequence[str], pairs: Iterable[FramePair]
) -> dict[str, NDArray[np.float32]]:
    """The greatest magnitude () that tensors of a network reach on pairs."""
    watched = ModelProto.FromString(model.SerializeToString())
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = {name: np.zeros((), np.float32) for name in names}
    for pair in map(fit, pairs):
        given = {"visible": pair.visible[None], "infrared": pair.infrared[None]}
        for name, values in zip(names, session.run(names, given), strict=True):
            found[name] = np.maximum(found[name], np.abs(values).max())
    return found


def scales_of(
    model: ModelProto,
    layers: Sequence[NodeProto],
    activations: Mapping[str, NDArray[np.float32]],
    largest: float,
) -> dict[str, NDArray[Any]]:
    """
    What one step of a type up to `largest` stands for, by tensor that the layers read.

    Takes the greatest magnitudes () of activations; gives a scale () for each of them and one (C,)
    for weights (C, ...), in the precision of the weights.
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
    # at least the smallest normal number: zero is no scale, and FP16 is inexact below
    return {
        name: np.maximum(magnitude / largest, np.finfo(precision).tiny).astype(precision)
        for name, magnitude in {**activations, **by_channel}.items()
    }


def insert(
    model: ModelProto,
    layers: Sequence[NodeProto],
    scales: Mapping[str, NDArray[Any]],
    kind: EightBits,
) -> None:
    """Has layers read activations and weights through QDQ pairs of these scales, in place."""
    graph, nodes = model.graph, []
    pairs: dict[str, list[NodeProto]] = {}
    for name, scale in scales.items():
        pairs[name], constants = round_trip(name, scale, kind)
        graph.initializer.extend(constants)
    for node in graph.node:
        nodes += [node, *(each for name in node.output for each in pairs.pop(name, []))]
    for layer in layers:
        layer.input[0], layer.input[1] = (f"{name}_dequantized" for name in layer.input[:2])
    of_weights = [each for pair in pairs.values() for each in pair]
    del graph.node[:]
    graph.node.extend([*of_weights, *nodes])


def round_trip(
    name: str, scale: NDArray[Any], kind: EightBits
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The QDQ pair that makes NAME_dequantized of a tensor, and its constants; scale () or (C,)."""
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
    """Declares at least an opset, for the graph and its functions; gives what is declared."""
    imported = [*model.opset_import, *(o for f in model.functions for o in f.opset_import)]
    plain = [opset for opset in imported if opset.domain == ""]
    for opset in plain:
        opset.version = max(opset.version, least)
    return int(plain[0].version)
