"""A pinhole view of a flat street on which coloured, warm, labelled polygons are painted."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CAMERA_HEIGHT_M = 1.5
FAR_M = 1000.0  # the sky's distance
_SUBPIXEL_BITS = 4  # fixed-point bits in which OpenCV takes corners

RGB = tuple[float, float, float]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Paint:
    """What a surface is: colour and heat 0..255, class id, and glow (light sent out per colour)."""

    colour: RGB
    heat: float
    label: int = 0
    glow: float = 0.0


@dataclass(frozen=True)
class Shape:
    """A flat polygon: corners (N, 3) in metres, (right of the camera, above the ground, ahead)."""

    corners: NDArray[np.float64]
    paint: Paint


@dataclass(frozen=True)
class View:
    """Where the street is seen from: image size, focal length and vanishing point in pixels."""

    height: int
    width: int
    focal_px: float
    vanishing_px: tuple[float, float]  # x, y

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 3) in metres to pixels (..., 2)."""
        right, up, ahead = np.moveaxis(points, -1, 0)
        scale = self.focal_px / np.maximum(ahead, 0.3)  # what is beside the camera leaves the image
        x = self.vanishing_px[0] + right * scale
        y = self.vanishing_px[1] + (CAMERA_HEIGHT_M - up) * scale
        return np.stack([x, y], axis=-1)

    def ground_distance(self) -> Floats:
        """How far ahead the ground of each row lies in metres, (H,); FAR_M above the horizon."""
        below = np.arange(self.height) + 0.5 - self.vanishing_px[1]
        distance = self.focal_px * CAMERA_HEIGHT_M / np.maximum(below, 1e-6)
        return np.asarray(np.minimum(distance, FAR_M), np.float32)


class Canvas:
    """The picture while it is painted, nearest last."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.surface = np.zeros((view.height, view.width, 4), np.uint8)  # RGB colour and heat
        self.facts = np.zeros(
            (view.height, view.width, 3), np.float32
        )  # label, glow, distance in m

    @property
    def colour(self) -> NDArray[np.uint8]:
        return self.surface[..., :3]

    @property
    def heat(self) -> NDArray[np.uint8]:
        return self.surface[..., 3]

    @property
    def labels(self) -> NDArray[np.uint8]:
        return self.facts[..., 0].astype(np.uint8)

    @property
    def glow(self) -> Floats:
        return self.facts[..., 1]

    @property
    def distance(self) -> Floats:
        return self.facts[..., 2]

    def draw(self, shapes: Sequence[Shape]) -> None:
        """Paint the shapes in the order given."""
        if not shapes:
            return
        counts = np.array([len(shape.corners) for shape in shapes])
        starts = np.cumsum(counts) - counts
        corners = np.concatenate([shape.corners for shape in shapes])
        outlines = self._fixed_point(corners)
        distances = np.add.reduceat(corners[:, 2], starts) / counts
        for index in np.flatnonzero(self._seen(outlines, starts)).tolist():
            paint, start = shapes[index].paint, starts[index]
            outline, distance = outlines[start : start + counts[index]], float(distances[index])
            self._fill(self.surface, outline, (*paint.colour, paint.heat), cv2.LINE_AA)
            self._fill(self.facts, outline, (paint.label, paint.glow, distance), cv2.LINE_8)

    def shade(self, corners: Sequence[NDArray[np.float64]], brightness: float) -> None:
        """Darken the colour (not the heat) inside the polygons, once even if they overlap."""
        mask = np.zeros((self.view.height, self.view.width), np.uint8)
        for polygon in corners:
            self._fill(mask, self._fixed_point(polygon), (255,), cv2.LINE_AA)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.2).astype(np.uint8)
        factor = 1 - (1 - brightness) / 255 * mask[..., None].astype(np.float32)
        self.surface[..., :3] = self.surface[..., :3] * factor

    def _seen(self, outlines: NDArray[np.int32], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which polygons reach into the image and are wider or higher than a quarter of a pixel."""
        low = np.minimum.reduceat(outlines, starts)
        high = np.maximum.reduceat(outlines, starts)
        end = np.array([self.view.width, self.view.height]) << _SUBPIXEL_BITS
        large = (high - low).max(axis=1) > 1 << (_SUBPIXEL_BITS - 2)
        return np.asarray(((high >= 0) & (low < end)).all(axis=1) & large)

    def _fixed_point(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        limit = 20.0 * max(self.view.height, self.view.width)
        pixels = self.view.project(points).clip(-limit, limit)
        return np.asarray(np.rint(pixels * 2**_SUBPIXEL_BITS), np.int32)

    @staticmethod
    def _fill(
        image: NDArray[np.uint8] | Floats,
        outline: NDArray[np.int32],
        value: Sequence[float],
        line: int,
    ) -> None:
        cv2.fillPoly(image, [outline], value, line, _SUBPIXEL_BITS)


def resize(image: Floats, height: int, width: int) -> Floats:
    """Stretch a coarse field smoothly over the image."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def blur(image: Floats, sigma_px: float) -> Floats:
    """Gaussian blur."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px).astype(np.float32)


def shrink(image: Floats, factor: int) -> Floats:
    """Area average over blocks of factor x factor pixels (at least one block)."""
    height, width = max(1, image.shape[0] // factor), max(1, image.shape[1] // factor)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
