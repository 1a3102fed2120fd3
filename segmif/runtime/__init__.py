"""Run an artefact without torch: pixels in, pixels out."""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmif.frames import FramePair, Prediction, fit, unfit
from segmif.manifest import Manifest
from segmif.runtime import ort
from segmif.runtime.errors import ArtefactError

Device = Literal["cpu", "cuda"]


class Runtime(Protocol):
    """A loaded network, safe to call from several threads."""

    @property
    def name(self) -> str:
        """Engine, its version and the device it really runs on."""

    @property
    def manifest(self) -> Manifest:
        """What the artefact says of itself, checked when it was opened."""

    def run(
        self, visible: NDArray[np.uint8], infrared: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Visible (B, H, W, 3) and infrared (B, H, W) to fused (B, H, W, 3) and labels (B, H, W).

        Colour is RGB, infrared white hot; H and W are multiples of 32, else ValueError.
        """

    def close(self) -> None:
        """Give back memory and threads; the runtime cannot be used afterwards."""


def open_runtime(path: Path, threads: int | None = None, device: Device = "cpu") -> Runtime:
    """
    Open the artefact at `path`; `threads` CPU threads compute (None: one per core).

    Raises ManifestError where file and manifest do not fit, ArtefactError where it cannot run here.
    """
    if path.suffix != ".onnx":
        raise ArtefactError(f"{path.name} is of an unknown kind; this version runs .onnx files")
    return ort.open_onnx(path, threads, device)


def predict(runtime: Runtime, pair: FramePair) -> Prediction:
    """Fuse and label one pair of any size."""
    fitted = fit(pair)
    fused, labels = runtime.run(fitted.visible[None], fitted.infrared[None])
    return unfit(Prediction(fused[0], labels[0]), *pair.infrared.shape)
