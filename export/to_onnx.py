"""
`segmif export onnx`: safetensors to one ONNX file and its manifest, checked against torch.

Each attention is one node of the domain `segmif`, and so are the last pixels. Their bodies are
local functions in the file, or plain operators in their place with --inline.
Batch, height and width are dynamic. Height and width are multiples of 32.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segmif.frames import INPUTS, MULTIPLE, OUTPUTS, TINT, TINTS
from segmif.model.blocks import upsample
from segmif.model.network import Network
from segmif.model.pixels import LOGIT_STRIDE
from segmif.model.precision import to_half
from segmif.model.weights import open_network
from segmif.runtime.onnxruntime_ import onnxruntime

from . import attention_function, pixels_function
from .attention_function import OPSET
from .dynamo import export_program
from .inline import inlined
from .output_paths import check_output_path
from .tolerance import allowance

TRACED_SIZE = (2, 64, 96)  # batch, height, width; small, since nothing of it stays in the graph
PATCH = 16  # pixels
CHECK_SIZES = ((1, 96, 160), (3, 64, 32))
WHOLE_FRAME = ((1, 480, 640),)

Bytes = NDArray[np.uint8]


class ExportError(ValueError):
    """The written ONNX does not do what the network does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif export onnx`."""
    parser.add_argument(
        "--weights", type=Path, required=True, help="network to export, safetensors"
    )
    parser.add_argument("--out", type=Path, help="ONNX file to write [beside the weights]")
    parser.add_argument(
        "--precision",
        choices=["fp32", "fp16"],
        default="fp32",
        help="of weights and activations; fp16 keeps softmax, norms and sums in fp32 [fp32]",
    )
    parser.add_argument(
        "--inline",
        action="store_true",
        help="plain operators alone, for OpenVINO, OpenCV's dnn and others that take no local "
        "function; our plugin for TensorRT does not fit it",
    )


def main(args: argparse.Namespace) -> int:
    """Exports as the arguments say; returns the exit code."""
    kinds = [args.precision] * (args.precision != "fp32") + ["inline"] * args.inline
    out = args.out or args.weights.with_suffix(".".join(["", *kinds, "onnx"]))
    difference = export(args.weights, out, args.precision, inline=args.inline)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, ONNX Runtime agrees with torch: {difference}")
    return 0


def export(weights: Path, out: Path, precision: str = "fp32", *, inline: bool = False) -> str:
    """
    Writes `out` and its manifest from a safetensors file; gives the differences found as text.

    `precision` (fp32 or fp16) is that of the graph, which a strongly typed engine keeps. `inline`:
    without local functions.
    """
    check_output_path(weights, out)
    network, source = open_network(weights)
    if precision == "fp16":
        network = to_half(network)
    model = inlined(to_model(network)) if inline else to_model(network)
    onnx.checker.check_model(model, full_check=True)
    difference = check(model, network)
    out.parent.mkdir(parents=True, exist_ok=True)
    tools = {"torch": torch.__version__, "onnx": onnx.__version__, "opset": str(OPSET)}
    if inline:
        tools["onnxscript"] = onnxscript.__version__
    replace(
        source,
        precision=precision,
        source_sha256=source.sha256,
        tools=tools,
        inputs=described_inputs(network),
    ).save(out, model.SerializeToString())
    return difference


def to_model(network: Network) -> onnx.ModelProto:
    """The network as ONNX with the bodies of our nodes as local functions."""
    batch = torch.export.Dim("batch", min=1)
    height, width = (MULTIPLE * torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    sizes = {0: batch, 1: height, 2: width}
    traced = tuple(torch.from_numpy(array) for array in feeds(*TRACED_SIZE).values())
    model = export_program(
        network, traced, (sizes, sizes, {0: batch}), [*INPUTS, TINT], list(OUTPUTS)
    )
    classes, dtype = len(network.config.taxonomy.names), next(network.core.parameters()).dtype
    pixels = pixels_function.local_function(classes, network.config.label_stride, dtype)
    model.functions.extend([attention_function.local_function(), pixels])
    strip_metadata(model)
    return model


def strip_metadata(model: onnx.ModelProto) -> None:
    """Removes the exporter's metadata: stack traces with paths of this machine."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del noted.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    for function in model.functions:
        for inner in (function, *function.node, *function.value_info):
            del inner.metadata_props[:]


def check(model: onnx.ModelProto, network: Network) -> str:
    """
    Runs the ONNX and the network at sizes other than the exported one, against float64.

    Raises ExportError if the ONNX deviates more than twice as far as torch in the same precision.
    Rounding to bytes turns a tiny difference into a whole level. So the share of values that differ
    counts for the fused frame and the confidence, over all sizes: at one of them a single pixel may
    be more than is allowed. In small frames four pixels may be too many by chance, so a whole frame
    decides then. `check_labels` checks the labels.
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wide = copy.deepcopy(network).double()
    counts = {name: np.zeros(3, np.int64) for name in OUTPUTS}  # ours, torch's, all values
    for sizes in (CHECK_SIZES, WHOLE_FRAME):
        for size in sizes:
            for name, found in _compared(session, network, wide, size).items():
                counts[name] += found
        shares = {
            name: (ours / total, torchs / total) for name, (ours, torchs, total) in counts.items()
        }
        beyond = [
            f"{name}: {share:.3%} of the values differ from float64, at most {allowed:.3%} expected"
            for name, (share, torchs_share) in shares.items()
            if name != "labels" and share > (allowed := allowance(torchs_share))
        ]
        if not beyond:
            said = ", ".join(f"{name} {share:.3%}" for name, (share, _) in shares.items())
            return f"values that round differently: {said}"
    raise ExportError("; ".join(beyond))


def _compared(
    session: onnxruntime.InferenceSession, network: Network, wide: Network, size: tuple[int, ...]
) -> dict[str, tuple[int, int, int]]:
    """Of each output: values that differ from `wide` in the ONNX, and in torch; all values."""
    arrays = feeds(*size)
    given = session.run(list(OUTPUTS), arrays)
    with torch.no_grad():
        tensors = [torch.from_numpy(array) for array in arrays.values()]
        plain, torchs_scores = outputs_and_logits(network, *tensors)
        exact, scores = outputs_and_logits(wide, *tensors)
    counts = {}
    for name, ours, torchs, truth in zip(OUTPUTS, given, plain, exact, strict=True):
        if ours.shape != truth.shape:
            raise ExportError(f"{name} at {size} has shape {ours.shape}, not {truth.shape}")
        if name == "labels":
            check_labels(torch.from_numpy(ours), scores, torchs_scores)
        counts[name] = int((ours != truth).sum()), int((torchs != truth).sum()), truth.size
    return counts


def check_labels(labels: Tensor, exact: Tensor, torchs: Tensor) -> None:
    """
    Raises ExportError for a label that is not the best one in float64, unless rounding explains it.

    Takes labels uint8 (B, H, W) and scores (B, K, H, W), exact and of torch in the network's
    precision. Each score may be off by twice torch's greatest error. So two scores may change
    places if they lie within four times that error.
    """
    if not torchs.isfinite().all():
        raise ExportError("torch's scores are not finite in this precision: no reference")
    if labels.max() >= exact.shape[1]:
        raise ExportError(f"class {labels.max()} is named; there are {exact.shape[1]}")
    error = (torchs - exact).abs().max().item()
    chosen = exact.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    behind = (exact.amax(dim=1) - chosen).max().item()
    if behind > 4 * error:
        raise ExportError(
            f"labels differ from float64: a class {behind:.2g} below the best one is named, and "
            f"rounding accounts for {4 * error:.2g}"
        )


def outputs_and_logits(
    network: Network, visible: Tensor, infrared: Tensor, tint: Tensor
) -> tuple[list[Bytes], Tensor]:
    """The outputs of `forward`, and the logits behind the labels, float64 (B, K, H, W)."""
    logits: list[Tensor] = []
    hook = network.core.register_forward_hook(lambda core, given, made: logits.append(made[1]))
    outputs = [output.numpy() for output in network(visible, infrared, tint)]
    hook.remove()
    scores = upsample(logits[0].double(), LOGIT_STRIDE // network.config.label_stride)
    return outputs, functional.interpolate(scores, infrared.shape[1:], mode="nearest")


def described_inputs(network: Network) -> dict[str, Any]:
    """The inputs of an exported network, as its manifest holds them."""
    frames = {
        name: {"type": "uint8", "shape": ["B", "H", "W", 3] if depth == 3 else ["B", "H", "W"]}
        for name, depth in INPUTS.items()
    }
    tint = {"type": "float32", "shape": ["B"], "range": list(TINTS), "default": network.config.tint}
    return {**frames, TINT: tint}


def feeds(batch: int, height: int, width: int) -> dict[str, NDArray[Any]]:
    """`noise` and tints (B,) that differ, the strongest first, by the names of the inputs."""
    frames = dict(zip(INPUTS, noise(batch, height, width), strict=True))
    return {**frames, TINT: np.linspace(TINTS[1], TINTS[0], batch, dtype=np.float32)}


def noise(batch: int, height: int, width: int) -> tuple[Bytes, Bytes]:
    """
    A pair of random frames: visible (B, H, W, 3), infrared (B, H, W); PATCH divides H and W.

    Noise upon random patches: in noise alone a trained network finds only one class.
    """
    random = np.random.default_rng(batch * height * width)

    def frame(*channels: int) -> Bytes:
        patches = random.integers(0, 224, (batch, height // PATCH, width // PATCH, *channels))
        patches = patches.repeat(PATCH, axis=1).repeat(PATCH, axis=2)
        grain = random.integers(0, 32, (batch, height, width, *channels))
        return (patches + grain).astype(np.uint8)

    return frame(3), frame()
