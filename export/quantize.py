"""
`python -m export quantize`: an FP32 ONNX to INT8 by explicit QDQ nodes, from frames of your rig.

The convolutions at stride 4 and deeper compute in INT8: weights by channel, activations by tensor,
with ranges from the frames given. The stems' detail, the fusion decoder and the last layer of the
mask stay FP32, for their errors would be seen as they are; so do biases, attention and pixels.
TensorRT takes the scales from the graph; ONNX Runtime runs the same file.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from export.to_engine import read_model
from export.verify import read_frames
from segmif.frames import fit
from segmif.manifest import Manifest, sha256

# of the names of their weights; `edge` and `nano`
DEEP = ("stem.stream", "encoder.", "pyramid.", "fusion.reduce", "mask.reduce", "mask.mix")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m export quantize`."""
    parser.add_argument("--onnx", type=Path, required=True, help="FP32 network, as exported")
    parser.add_argument("--out", type=Path, help="ONNX to write [NAME.int8.onnx]")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible and infrared; not a test set"
    )
    parser.add_argument("--frames", type=int, default=32, help="pairs to take ranges from [32]")


def main(args: argparse.Namespace) -> int:
    """Quantizes as the arguments say; returns the exit code."""
    out = args.out or args.onnx.with_suffix(".int8.onnx")
    layers = quantize(args.onnx, out, args.data, args.frames)
    print(f"{out}: {layers} convolutions in INT8; `export verify` and `training evaluate` judge it")
    return 0


def quantize(source: Path, out: Path, data: Path, frames: int) -> int:
    """
    Writes `out` and its manifest; gives the number of convolutions in INT8.

    Raises ValueError where `source` is not an FP32 `edge` or `nano`, or `data` holds no pair.
    """
    manifest = Manifest.read(source)
    model = read_model(source)
    deep = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(part in node.input[1] for part in DEEP)
    ]
    if manifest.precision != "fp32" or not deep or manifest.variant == "paper":
        raise ValueError(
            f"{source.name} is {manifest.variant} in {manifest.precision}: INT8 is made from the "
            "FP32 ONNX of edge or nano"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    quantize_static(
        model,
        out,
        _Pairs(data, frames),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=deep,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        # TensorRT knows symmetric ranges only, and reads no biases of 32 bit
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        },
    )
    replace(manifest, precision="int8", sha256=sha256(out), source_sha256=manifest.sha256).write(
        out
    )
    return len(deep)


class _Pairs(CalibrationDataReader):  # type: ignore[misc]  # comes without types
    """Pairs of a folder, one at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._frames = read_frames(folder, count)
        self.rewind()

    def rewind(self) -> None:
        self._left = self._feeds()

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._left, None)

    def _feeds(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for frame in self._frames:
            pair = fit(frame.pair)
            yield {"visible": pair.visible[None], "infrared": pair.infrared[None]}
