"""Run an artefact without torch: pixels in, pixels out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction, fit, unfit
from segmif.manifest import Manifest
from segmif.runtime import tensorrt_
from segmif.runtime.errors import ArtefactError

Device = Literal["cpu", "cuda", "tensorrt"]  # of ONNX Runtime, for an .onnx


class Runtime(Protocol):
    """A loaded network, safe to call from several threads."""

    @property
    def name(self) -> str:
        """Engine, its version and the device it really runs on."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of `frames.OUTPUTS` that it gives; all but `confidence` are certain."""

    @property
    def manifest(self) -> Manifest:
        """What the artefact says of itself, checked when it was opened."""

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        """Visible (B, H, W, 3) and infrared (B, H, W) to fused (B, H, W, 3) and labels (B, H, W).

        Where it is asked for, the labels' confidence (B, H, W) follows. Colour is RGB, infrared
        white hot; H and W are multiples of 32 and `outputs` holds what is asked for, else
        ValueError; SizeError, which is one, where the network was built for other sizes alone.
        MemoryError where there is no room for the batch just now.
        """

    def close(self) -> None:
        """Give back memory and threads; the runtime cannot be used afterwards."""


def open_runtime(
    path: Path, threads: int | None = None, device: Device = "cpu", plugin: Path | None = None
) -> Runtime:
    """
    Open the artefact at `path`: .onnx, or .engine, which is always for a GPU.

    For an ONNX, `threads` CPU threads compute (None: one per core); for an engine, `plugin` is the
    library of our attention, where the engine was built with it. Raises ManifestError where file
    and manifest do not fit, ArtefactError where it cannot run here, DeviceError where the GPU
    cannot be opened.
    """
    if path.suffix == ".onnx":
        from segmif.runtime import onnxruntime_  # who has TensorRT needs no ONNX Runtime

        return onnxruntime_.open_onnx(path, threads, device)
    if path.suffix == ".engine":
        return tensorrt_.open_engine(path, plugin)
    raise ArtefactError(
        f"{path.name} is of an unknown kind; .onnx and .engine run without torch: `python -m "
        "export onnx` makes one of a .safetensors"
    )


def predict(runtime: Runtime, pair: FramePair, *, confidence: bool = False) -> Prediction:
    """Fuse and label one pair of any size."""
    return predict_batch(runtime, [pair], confidence=confidence)[0]


def predict_batch(
    runtime: Runtime, pairs: Sequence[FramePair], *, confidence: bool = False
) -> list[Prediction]:
    """Fuse and label pairs of one and the same size, any, in one run of the network."""
    fitted = [fit(pair) for pair in pairs]
    outputs = runtime.run(
        _stacked([pair.visible for pair in fitted]),
        _stacked([pair.infrared for pair in fitted]),
        confidence=confidence,
    )
    height, width = pairs[0].infrared.shape
    return [unfit(Prediction(*frames), height, width) for frames in zip(*outputs, strict=True)]


def _stacked(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    # A batch of one, the most frequent, is not copied.
    return frames[0][None] if len(frames) == 1 else np.stack(frames)
