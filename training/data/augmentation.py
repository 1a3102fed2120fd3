"""One geometry for three arrays, then each sensor's own troubles."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.classes import IGNORE
from segmif.thermal.gain_window import OBJECT_LEVELS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

MISALIGNMENT = 3  # pixels
ENHANCED_BELOW = 40  # median level of an infrared frame whose dark was stretched away
NIGHT = 50  # mean level of a visible frame below which it was taken after dark


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Shares of the samples that meet each trouble, in [0, 1]."""

    nightfall: float = 0.3  # the visible frame as after dark: shapes must be known by their warmth
    dead_sensor: float = 0.06  # one of both frames black: the other must do alone
    misalignment: float = 0.2  # infrared off by up to `farthest` pixels, as a rig in use is
    farthest: float = MISALIGNMENT
    parallax: float = 0.0  # infrared off by as much, but unlike from place to place, as depth does
    stripes: float = 0.1  # columns of the thermal sensor that answer unlike their neighbours
    blur: float = 0.1  # of either frame: out of focus, or moving
    faint: float = 0.2  # infrared of little contrast: by night a parked car is as warm as the road
    far_object: float = 0.0  # infrared with an object so hot or cold that the rest has fewer levels
    enhanced: float = 0.0  # infrared whose dark was stretched away, as some sets are published
    raised: float = 0.0  # such infrared as a camera's own gain might have left it
    paste: float = 0.4  # with the objects of another frame: a van by night is seen once, else


Views = tuple[Bytes, Bytes, Bytes]  # visible (H, W, 3), infrared (H, W), labels (H, W)


def displaced_view(
    frame: Views,
    centre: tuple[float, float],
    crop: tuple[int, int],
    scales: tuple[float, float],
    shares: Augmentation,
    random: np.random.Generator,
) -> tuple[Views, Floats]:
    """
    A random view of `crop` (height, width) about `centre` (row, column).

    The view shows the frame enlarged by a factor out of `scales`: frames for training come in one
    size, cameras do not.

    Outside the frame the labels are IGNORE. The offset (2, H, W), (dx, dy) in px, says where
    infrared lies off: it shows at p what it should show at p + offset.
    """
    visible, infrared, labels = frame
    to_frame = _geometry(labels.shape[:2], centre, crop, scales, random)

    infrared_to_frame = to_frame.copy()
    offset = np.zeros((2, *crop), np.float32)
    if random.random() < shares.misalignment:
        off = random.uniform(-shares.farthest, shares.farthest, 2)
        infrared_to_frame[:, 2] += off
        offset += (off / np.diagonal(to_frame)).astype(np.float32).reshape(2, 1, 1)

    def warp(image: Bytes, matrix: NDArray[np.float64], interpolation: int, border: int) -> Bytes:
        height, width = crop
        flags = interpolation | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(
            image, matrix, (width, height), flags=flags, borderMode=border, borderValue=IGNORE
        )
        return np.asarray(warped, np.uint8)

    seen = warp(visible, to_frame, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    warmth = warp(infrared, infrared_to_frame, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    if random.random() < shares.parallax:
        warmth, further = parallax(warmth, shares.farthest, random)
        offset += further
    shown = warp(labels, to_frame, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    return (seen, warmth, shown), offset


def paste(onto: Views, other: Views, random: np.random.Generator, background: int = 0) -> Views:
    """
    A view with the objects of another one in front (copy-paste, Ghiasi et al., CVPR 2021).

    All but the class `background` are objects.

    What was seen by day comes into a night as its camera would have seen it there.
    """
    visible, infrared, labels = other
    if is_dark(onto[0]) and not is_dark(visible):
        visible = _nightfall(visible, random)
    object_ = (labels != background) & (labels != IGNORE)
    share = cv2.blur(object_.astype(np.float32), (3, 3))  # soft edges, as a lens draws them

    def blend(back: Bytes, front: Bytes) -> Bytes:
        weight = share if back.ndim == 2 else share[:, :, None]
        return np.asarray(back + weight * (front.astype(np.float32) - back), np.uint8)

    pasted = np.where(object_, labels, onto[2])
    return blend(onto[0], visible), blend(onto[1], infrared), pasted


def is_dark(visible: Bytes) -> bool:
    """Whether a visible frame was taken after dark."""
    return bool(visible.mean() < NIGHT)


def augment_sensors(
    visible: Bytes, infrared: Bytes, shares: Augmentation, random: np.random.Generator
) -> tuple[Bytes, Bytes]:
    """Both frames as the light, the optics and the sensors of another day would give them."""
    if random.random() < shares.nightfall:
        visible = _nightfall(visible, random)
    visible = _noise(_blur(_visible_light(visible, random), shares, random), random)
    if random.random() < shares.raised:
        infrared = raised(infrared, random)
    if random.random() < shares.faint:
        infrared = _faint(infrared, random)
    infrared = _gain_control(infrared, random)
    if random.random() < shares.far_object:
        infrared = _far_object(infrared, random)
    infrared = _blur(infrared, shares, random)
    if random.random() < shares.stripes:
        infrared = _stripes(infrared, random)
    infrared = _noise(infrared, random)
    if random.random() < shares.enhanced:
        infrared = _enhanced(infrared, random)
    if random.random() < shares.dead_sensor:
        dead = visible if random.random() < 0.5 else infrared
        dead[:] = 0
    return visible, infrared


def _geometry(
    frame: tuple[int, ...],
    centre: tuple[float, float],
    crop: tuple[int, int],
    scales: tuple[float, float],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """2x3 matrix that takes a pixel (x, y) of the crop into the frame: flip, scale, shift."""
    scale = float(np.exp(random.uniform(*np.log(scales))))
    origin = []
    for middle, size, out in zip(centre, frame, crop, strict=True):
        view = out / scale
        corner = middle - random.uniform(0.15, 0.85) * view
        # as much of the frame as there is, before anything outside it
        origin.append(float(np.clip(corner, min(0, size - view), max(0, size - view))))
    if random.random() < 0.5:
        return np.array(
            [[-1 / scale, 0, origin[1] + (crop[1] - 1) / scale], [0, 1 / scale, origin[0]]]
        )
    return np.array([[1 / scale, 0, origin[1]], [0, 1 / scale, origin[0]]])


def _nightfall(image: Bytes, random: np.random.Generator) -> Bytes:
    """
    A few per cent of the light, as the camera's longer exposure leaves it, and its noise.

    What was bright stays brightest: shadows close first. Night never becomes day: what a frame
    without light does not show cannot be computed back, it would have to be made up.
    """
    levels = np.arange(256) / 255
    gain = np.exp(random.uniform(np.log(0.04), np.log(0.5)))
    table = np.asarray(255 * gain * levels ** random.uniform(1, 1.8), np.uint8)
    dark = np.asarray(cv2.LUT(image, table), np.uint8)
    noisy = dark + random.normal(0, random.uniform(0.5, 3), image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _visible_light(image: Bytes, random: np.random.Generator) -> Bytes:
    """Exposure, contrast, white balance."""
    levels = np.arange(256) / 255
    gamma = np.exp(random.uniform(-0.35, 0.35))
    gain = np.exp(random.uniform(-0.3, 0.3)) * np.exp(random.uniform(-0.08, 0.08, 3))
    table = 255 * np.clip(levels[:, None] ** gamma * gain + random.uniform(-0.06, 0.06), 0, 1)
    changed = cv2.LUT(image, np.asarray(table, np.uint8).reshape(1, 256, 3))
    return np.asarray(changed, np.uint8)


def _gain_control(image: Bytes, random: np.random.Generator) -> Bytes:
    """Another gain control: the same counts as other grey levels, at times fully stretched."""
    levels = np.arange(256) / 255
    if random.random() < 0.4:
        low, high = np.percentile(image, (random.uniform(0, 3), random.uniform(97, 100))) / 255
        levels = (levels - low) / max(high - low, 0.1)
    gamma = np.exp(random.uniform(-0.4, 0.4))
    table = np.clip(levels, 0, 1) ** gamma * np.exp(random.uniform(-0.25, 0.25))
    table = 255 * np.clip(table + random.uniform(-0.06, 0.06), 0, 1)
    return np.asarray(cv2.LUT(image, np.asarray(table, np.uint8)), np.uint8)


def _faint(image: Bytes, random: np.random.Generator) -> Bytes:
    """A scene of little contrast, as the gain leaves it while something hot is in sight."""
    mean = image.mean()
    return np.asarray(mean + random.uniform(0.25, 0.8) * (image - mean), np.uint8)


def _far_object(image: Bytes, random: np.random.Generator) -> Bytes:
    """An ellipse of the reserved levels, hot or cold; the rest has what our own gain leaves it."""
    height, width = image.shape
    y, x = np.ogrid[:height, :width]
    rows, columns = random.uniform(0.05, 0.2, 2) * (height, width)
    across = (y - random.uniform(0, height)) / rows
    along = (x - random.uniform(0, width)) / columns
    hot = random.random() < 0.75  # engines and fires are more frequent than ice and sky
    scene = image * (1 - OBJECT_LEVELS) + (0 if hot else 255 * OBJECT_LEVELS)
    level = 255 * OBJECT_LEVELS * random.uniform(0, 0.5)
    shown = np.where(np.hypot(across, along) <= 1, 255 - level if hot else level, scene)
    return np.asarray(shown, np.uint8)


def _enhanced(image: Bytes, random: np.random.Generator) -> Bytes:
    """Most of the scene near black, what is warm above it."""
    low, high = np.percentile(image, (random.uniform(0, 3), random.uniform(97, 100))) / 255
    levels = np.clip((np.arange(256) / 255 - low) / max(high - low, 0.1), 0, 1)
    table = 255 * random.uniform(0.3, 1) * levels ** random.uniform(1.6, 3.2)
    return np.asarray(cv2.LUT(image, np.asarray(table, np.uint8)), np.uint8)


def raised(image: Bytes, random: np.random.Generator) -> Bytes:
    """The dark of an enhanced frame as grey; a frame that is grey throughout as it was."""
    if np.median(image) >= ENHANCED_BELOW:
        return image
    low, high = random.uniform(30, 100), random.uniform(170, 255)
    levels = (np.arange(256) / 255) ** random.uniform(0.35, 0.75)
    return np.asarray(cv2.LUT(image, np.asarray(low + (high - low) * levels, np.uint8)), np.uint8)


def parallax(image: Bytes, farthest: float, random: np.random.Generator) -> tuple[Bytes, Floats]:
    """Moved along one direction, by distances that differ from region to region; the offset too."""
    height, width = image.shape
    angle, grid = (
        random.uniform(0, 2 * np.pi),
        (int(random.integers(2, 6)), int(random.integers(2, 6))),
    )
    near = random.uniform(0, farthest, grid).astype(np.float32)
    far = cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = np.stack((np.cos(angle) * far, np.sin(angle) * far)).astype(np.float32)
    y, x = np.indices(image.shape).astype(np.float32)
    moved = cv2.remap(
        image, x + offset[0], y + offset[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8), offset


def _stripes(image: Bytes, random: np.random.Generator) -> Bytes:
    """Fixed-pattern noise of an uncooled sensor: each column has an offset of its own."""
    offsets = random.normal(0, random.uniform(1, 5), image.shape[1])
    return np.asarray(np.clip(image + offsets, 0, 255), np.uint8)


def _blur(image: Bytes, shares: Augmentation, random: np.random.Generator) -> Bytes:
    if random.random() >= shares.blur:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.5)), np.uint8)


def _noise(image: Bytes, random: np.random.Generator) -> Bytes:
    if random.random() > 0.3:
        return image
    noisy = image + random.normal(0, random.uniform(1, 5), image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
