"""Run an artefact without torch: pixels in, pixels out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.frames import FIXED_HUE, FramePair, Prediction, fit, unfit
from segmif.manifest import Manifest
from segmif.runtime import openvino_, tensorrt_
from segmif.runtime.errors import ArtefactError

# What runs an .onnx. ONNX Runtime: cpu, cuda, tensorrt. The faster one on this CPU in fp32: auto.
Device = Literal["cpu", "cuda", "tensorrt", "openvino", "openvino-bf16", "auto"]


class Runtime(Protocol):
    """A loaded network, safe to call from several threads."""

    @property
    def name(self) -> str:
        """Engine, its version and the device that it runs on."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names among `frames.OUTPUTS` that it gives; only `confidence` may be missing."""

    @property
    def default_tint(self) -> float | None:
        """The tint if none is given, 0 to 1; None: its hue is fixed."""

    @property
    def manifest(self) -> Manifest:
        """The artefact's manifest, checked when it was opened."""

    def run(
        self,
        visible: NDArray[np.uint8],
        infrared: NDArray[np.uint8],
        *,
        tint: NDArray[np.float32] | None = None,
        confidence: bool = False,
    ) -> tuple[NDArray[np.uint8], ...]:
        """Visible (B, H, W, 3) and infrared (B, H, W) to fused (B, H, W, 3) and labels (B, H, W).

        `tint` (B,) is the strength of each fused frame's hue, 0 to 1; None: `default_tint`. With
        `confidence`, the labels' confidence (B, H, W) follows. Frames are uint8. Colour is
        RGB, infrared white hot. H and W are multiples of 32.

        Raises ValueError for other sizes, for a tint that it does not take and for an output that
        it does not give. SizeError, a
        ValueError, is for a size that the network was not built for, MemoryError for a batch that
        is too large.
        """

    def trim(self) -> None:
        """Free working memory that the batches since the last call did not need."""

    def close(self) -> None:
        """Free memory and threads; the runtime cannot be used afterwards."""


def open_runtime(
    path: Path, threads: int | None = None, device: Device = "cpu", plugin: Path | None = None
) -> Runtime:
    """
    Open the artefact at `path`: .onnx, or .engine, which is always for a GPU.

    An ONNX runs on `threads` CPU threads (None: one per core). `auto` measures first. An engine
    that was built with our attention needs `plugin`, the library. Raises ManifestError if file and
    manifest do not fit, ArtefactError if the artefact cannot run here, DeviceError if the GPU
    cannot be opened.
    """
    if path.suffix == ".onnx" and device == "auto":
        from segmif.runtime import choice

        return choice.open_fastest(path, threads)
    if path.suffix == ".onnx" and device in openvino_.PRECISIONS:
        return openvino_.open_openvino(path, threads, device)
    if path.suffix == ".onnx":
        from segmif.runtime import onnxruntime_  # an engine needs no ONNX Runtime

        return onnxruntime_.open_onnx(path, threads, device)
    if path.suffix == ".engine":
        return tensorrt_.open_engine(path, plugin)
    raise ArtefactError(
        f"{path.name} is of an unknown kind; .onnx and .engine run without torch: `segmif "
        "export onnx` makes one of a .safetensors"
    )


def is_exact(runtime: Runtime) -> bool:
    """Whether it is the runtime that exports are checked on; another needs a reference."""
    return not isinstance(runtime, openvino_.OpenVinoNetwork | tensorrt_.EngineNetwork)


def predict(
    runtime: Runtime, pair: FramePair, *, tint: float | None = None, confidence: bool = False
) -> Prediction:
    """Fuse and label one pair of any size, with a tint or that of `Runtime.default_tint`."""
    return predict_batch(runtime, [pair], tints=[tint], confidence=confidence)[0]


def predict_batch(
    runtime: Runtime,
    pairs: Sequence[FramePair],
    *,
    tints: Sequence[float | None] | None = None,
    confidence: bool = False,
) -> list[Prediction]:
    """
    Fuse and label pairs of one common size in one run of the network.

    A pair whose tint is None has that of `Runtime.default_tint`.
    """
    fitted = [fit(pair) for pair in pairs]
    outputs = runtime.run(
        _stacked([pair.visible for pair in fitted]),
        _stacked([pair.infrared for pair in fitted]),
        tint=_tint_input(runtime, tints or ()),
        confidence=confidence,
    )
    height, width = pairs[0].infrared.shape
    return [unfit(Prediction(*frames), height, width) for frames in zip(*outputs, strict=True)]


def _tint_input(runtime: Runtime, tints: Sequence[float | None]) -> NDArray[np.float32] | None:
    """The tints (B,) for `Runtime.run`; None if none is stated."""
    if all(tint is None for tint in tints):
        return None
    default = runtime.default_tint
    if default is None:
        raise ValueError(FIXED_HUE)
    return np.array([default if tint is None else tint for tint in tints], np.float32)


def _stacked(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    # A batch of one, the most frequent, is not copied.
    return frames[0][None] if len(frames) == 1 else np.stack(frames)
