"""
Finds the counts of a thermal frame that are no measurements.

There are three kinds. The camera's profile states some. The values for "no data" (0, the highest)
are invalid if they lie far from all others. Outliers differ from all their neighbours. An object
differs from its surroundings too, but it is connected and smooth, so it is valid.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.gain_window import Window, histogram_of, percentiles, scene_window

Counts = NDArray[np.uint16]
Mask = NDArray[np.uint8]  # (H, W): 255 chosen, 0 not, as OpenCV has it

CONTAINER_TOP = 2**16 - 1
TOPS = tuple(2**bits - 1 for bits in (10, 12, 14, 16))  # [counts] of the usual depths
DETACHED = 0.04  # of the window: nearer values cannot move the window much
BESIDE = 0.15  # of the gap from such a value to the window
BESIDE_SHARE = 0.2  # of its pixels: interpolated borders have fewer there, clipped scenes more
MAX_INVALID = 0.9  # of the pixels; with more, validity is unknown
SMALLEST_OBJECT = 0.0015  # of the pixels
ELONGATED = 2.5  # length along the border to depth: objects are rounder than borders and rows
NOISES = 6.0  # a larger difference to the neighbours is no noise
NOISE_SAMPLES = 6000  # [px] for the noise of a frame
UNLIKE = 0.1  # of the window: the same
ROUGH = 0.2  # of the window: the same for pixels that make a region of noise
ROUGH_SHARE = 0.45  # of a neighbourhood; streets reach 0.33
ROUGH_SIDE = 9  # [px] of the neighbourhood
ROUGH_ROW = 0.35  # of a row or column; streets reach 0.15
NOTICEABLE = 0.002  # of the pixels: fewer outliers move no percentile
DEAD_SHARE = 0.003  # of the pixels beyond the window; streets reach 0.002
IMPULSE_SHARE = 0.03  # of all pixels; streets reach 0.023
COARSE_FROM = 200_000  # [px] of a frame of which every second row and column suffices
PASSES = 2  # the second pass finds outliers that were hidden among others
FILL_SIDE = 7  # [px]
SUPPORT = 3  # similar neighbours of a pixel that is no outlier


@dataclass(frozen=True)
class Validity:
    """Which pixels of a frame are measurements."""

    invalid: Mask | None  # None: all are
    share: float  # of the pixels that are not
    count: Callable[[], NDArray[np.int64]]  # gives the histogram
    noise: float  # [counts] median difference of a pixel to the median of its neighbourhood

    @cached_property
    def histogram(self) -> NDArray[np.int64]:
        """Of the valid counts; most frames of 8 bit are judged without it."""
        return self.count()


def find_invalid(counts: Counts, profile: CameraProfile = CameraProfile()) -> Validity:  # noqa: B008
    """Find the counts (H, W) that are no measurements."""
    histogram = histogram_of(counts)
    # `doubtful` is `invalid` and the edges that interpolation may have mixed with it.
    invalid, doubtful = _without_data(counts, histogram, profile)
    noise = 0.0
    for number in range(PASSES):
        filled = counts if invalid is None else _filled(counts, invalid)
        # After the first pass the frame is known to have bad pixels: each further one counts.
        min_share = DEAD_SHARE if number == 0 else 0.0
        outliers, noise = _outlier_mask(counts, filled, doubtful, histogram, min_share)
        if outliers is None:
            break
        invalid, doubtful = _union(invalid, outliers), _union(doubtful, outliers)
    share = 0.0 if invalid is None else cv2.countNonZero(invalid) / counts.size
    if doubtful is None or share > MAX_INVALID:
        return Validity(None, 0.0, lambda: histogram, noise)
    return Validity(doubtful, share, lambda: _histogram_without(histogram, counts, doubtful), noise)


def _outlier_mask(
    counts: Counts,
    filled: Counts,
    doubtful: Mask | None,
    histogram: NDArray[np.int64],
    min_share: float,
) -> tuple[Mask | None, float]:
    """
    Outliers of a frame (None: none), and its noise [counts].

    `filled` are the counts with invalid ones replaced, `min_share` as in `_isolated_outliers`.
    """
    smooth = np.asarray(cv2.medianBlur(filled, 3), np.uint16)
    difference = np.asarray(cv2.absdiff(filled, smooth), np.uint16)
    stride = max(round((difference.size / NOISE_SAMPLES) ** 0.5), 1)
    noise = float(np.median(difference[::stride, ::stride]))
    span = _span(smooth[::2, ::2], None if doubtful is None else doubtful[::2, ::2] == 0)
    candidates = _unlike_neighbours(filled, difference, doubtful, noise, span)
    if candidates is None:
        return None, noise
    excluded = _union(doubtful, candidates)
    scene = scene_window(_histogram_without(histogram, counts, excluded), noise)
    highest = min(scene.high, CONTAINER_TOP)  # of a plain frame at the top it lies one beyond
    inside = np.clip(smooth, np.uint16(scene.low), np.uint16(highest))
    distance = np.asarray(cv2.absdiff(smooth, inside), np.uint16)  # [counts] from the window
    # Far counts may vary more: an object has its own structure.
    limit = np.maximum(ROUGH * distance, max(NOISES * noise, ROUGH * span, 1))
    outliers = _noise_regions(candidates & _mask(difference > limit))
    near_window = _mask(distance <= UNLIKE * (scene.high - scene.low))
    outliers |= _isolated_outliers(counts, candidates & near_window & ~outliers, scene, min_share)
    return outliers if outliers.any() else None, noise


def _filled(counts: Counts, invalid: Mask) -> Counts:
    """Counts (H, W) with the highest of the valid neighbours in place of invalid ones."""
    valid = np.asarray(cv2.copyTo(counts, cv2.bitwise_not(invalid)), np.uint16)
    nearest = np.asarray(cv2.dilate(valid, np.ones((FILL_SIDE, FILL_SIDE), np.uint8)), np.uint16)
    if not nearest.all():  # 0: no valid pixel is near
        np.putmask(nearest, nearest == 0, np.uint16(np.median(valid[::8, ::8])))
    return np.asarray(cv2.copyTo(nearest, invalid, counts.copy()), np.uint16)


def find_invalid_levels(levels: NDArray[np.uint8], profile: CameraProfile) -> Validity:
    """The same for an 8-bit frame: every level is valid unless the profile states otherwise."""
    invalid = stated_invalid(levels, profile)
    if invalid is None or cv2.countNonZero(invalid) == levels.size:
        return Validity(None, 0.0, lambda: _histogram_of_levels(levels), 0.0)
    share, values = cv2.countNonZero(invalid) / levels.size, profile.invalid or ()
    return Validity(invalid, share, lambda: _histogram_of_levels(levels, values), 0.0)


def _histogram_of_levels(
    levels: NDArray[np.uint8], without: Iterable[int] = ()
) -> NDArray[np.int64]:
    # OpenCV's is several times as fast as NumPy's.
    counted = cv2.calcHist([levels.reshape(-1)], [0], None, [256], [0, 256])
    histogram = np.asarray(counted, np.int64).ravel()
    for value in without:
        histogram[value : value + 1] = 0
    return histogram


def stated_invalid(pixels: NDArray[np.uint8] | Counts, profile: CameraProfile) -> Mask | None:
    """The pixels (H, W) with values that the profile states as invalid; None without any."""
    chosen: Mask | None = None
    for value in profile.invalid or ():
        if value <= np.iinfo(pixels.dtype).max:
            chosen = _union(chosen, _equal(pixels, value))
    if profile.bits is not None and pixels.dtype == np.uint16:
        chosen = _union(chosen, _mask(pixels >= 2**profile.bits))
    return chosen if chosen is not None and chosen.any() else None


def _without_data(
    counts: Counts, histogram: NDArray[np.int64], profile: CameraProfile
) -> tuple[Mask | None, Mask | None]:
    """Pixels without data, and those together with the edges that may be mixed with them."""
    invalid = stated_invalid(counts, profile)
    suspects = _no_data_values(histogram, profile)
    if invalid is not None:
        suspects = [value for value in suspects if value not in (profile.invalid or ())]
        histogram = _histogram_without(histogram, counts, invalid)
    rest = histogram.copy()
    rest[suspects] = 0
    low, high = percentiles(rest)
    margin = DETACHED * max(high - low, 1)
    edges = None if invalid is None else _mixed_edges(invalid)
    for value in suspects:
        if rest.any() and _is_detached(
            rest, value, low - margin, high + margin, int(histogram[value])
        ):
            beyond = _below(counts, low - margin) if value < low else _above(counts, high + margin)
            areas = _equal(counts, value) & ~_objects(beyond)
            invalid, edges = _union(invalid, areas), _union(edges, _mixed_edges(areas))
    if invalid is None or edges is None or not invalid.any():
        return None, None
    return invalid, invalid | (edges & _beyond_window(counts, histogram, edges))


def _is_detached(
    rest: NDArray[np.int64], value: int, lowest: float, highest: float, count: int
) -> bool:
    """
    Whether a value with `count` pixels is far from the window and its neighbours are rare.

    If a sensor or a gain clips, the values next to the last one are frequent too.
    """
    if lowest <= value <= highest:
        return False
    step = int(np.median(np.diff(np.flatnonzero(rest)))) if np.count_nonzero(rest) > 1 else 1
    gap = max(round(BESIDE * (lowest - value if value < lowest else value - highest)), step)
    beside = rest[max(value - gap, 0) : value + gap + 1]
    return int(beside.sum()) < BESIDE_SHARE * count


def _no_data_values(histogram: NDArray[np.int64], profile: CameraProfile) -> list[int]:
    """The values that may mean "no data": the ends of the range of files and sensors."""
    highest = len(histogram) - 1 - int((histogram != 0)[::-1].argmax())
    tops = {CONTAINER_TOP} | ({highest} & set(TOPS))
    if profile.bits is not None:
        tops.add(2**profile.bits - 1)
    return [value for value in (0, *sorted(tops)) if histogram[value]]


def _objects(beyond: Mask) -> Mask:
    """
    Connected far areas with the shape of objects, not of a border without data.

    A saturated object may have the value of "no data", but it lies within the frame or at one side
    of it.
    """
    coarse = beyond if beyond.size < COARSE_FROM else np.ascontiguousarray(beyond[::2, ::2])
    if cv2.countNonZero(coarse) < SMALLEST_OBJECT * coarse.size:
        return np.zeros_like(beyond)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(coarse, connectivity=8)
    is_object = _object_shaped(np.asarray(stats, np.int32), coarse.shape)
    is_object[0] = False  # the background
    if not is_object.any():
        return np.zeros_like(beyond)
    objects = _mask(is_object[labels])
    if coarse is beyond:
        return objects
    enlarged = cv2.resize(objects, beyond.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return cast(Mask, cv2.dilate(enlarged, np.ones((3, 3), np.uint8)))


def _object_shaped(stats: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """
    Whether each area may be an object; (N,) for OpenCV's statistics (N, 5) of connected areas.

    A border without data lies along one side, from side to side, or in several corners.
    """
    height, width = shape[:2]
    x, y, w, h, area = (stats[:, column] for column in range(5))
    touched = np.stack([x == 0, y == 0, x + w == width, y + h == height])  # (4, N)
    left, top, right, bottom = touched
    in_corner = (left | right) & (top | bottom)
    tall, wide = h / np.maximum(w, 1), w / np.maximum(h, 1)
    elongation = np.where(left | right, tall, wide)  # length along the side to depth
    elongation = np.where(in_corner, np.maximum(tall, wide), elongation)
    inside = touched.sum(axis=0) == 0
    from_side_to_side = (left & right) | (top & bottom)
    shaped = inside | (~from_side_to_side & (elongation <= ELONGATED))
    in_several_corners = in_corner & (in_corner[1:].sum() > 1)  # the first is the background
    large = area >= SMALLEST_OBJECT * height * width
    return np.asarray(large & shaped & ~in_several_corners)


def _unlike_neighbours(
    counts: Counts, difference: Counts, doubtful: Mask | None, noise: float, span: float
) -> Mask | None:
    """Pixels that differ from all neighbours; None if there are hardly any."""
    limit = max(NOISES * noise, UNLIKE * span, 1)
    outliers = _above(difference, limit)
    if doubtful is not None:
        outliers &= ~doubtful
    if cv2.countNonZero(outliers) < NOTICEABLE * counts.size:
        return None
    rows, columns = np.nonzero(outliers > 0)
    padded = cv2.copyMakeBorder(counts, 1, 1, 1, 1, cv2.BORDER_REFLECT_101).astype(np.int32)
    own = padded[rows + 1, columns + 1]
    similar = np.zeros(len(own), np.int32)  # pixels of the 3x3 neighbourhood
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            similar += np.abs(padded[rows + down, columns + right] - own) <= limit
    supported = similar - 1 >= SUPPORT  # each is similar to itself
    outliers[rows[supported], columns[supported]] = 0
    return outliers


def _noise_regions(outliers: Mask) -> Mask:
    """Regions, rows and columns of noise: most of their pixels are outliers."""
    side = (ROUGH_SIDE, ROUGH_SIDE)
    noisy = _mask(np.asarray(cv2.blur(outliers, side)) > 255 * ROUGH_SHARE)
    if noisy.any():
        noisy = cast(Mask, cv2.dilate(noisy, np.ones((5, 5), np.uint8)))
    noisy[(outliers > 0).mean(axis=1) > ROUGH_ROW] = 255
    noisy[:, (outliers > 0).mean(axis=0) > ROUGH_ROW] = 255
    return noisy


def _isolated_outliers(counts: Counts, outliers: Mask, scene: Window, min_share: float) -> Mask:
    """Invalid ones: all of many, else those beyond the window from `min_share` of the pixels on."""
    if cv2.countNonZero(outliers) >= IMPULSE_SHARE * counts.size:
        return outliers
    margin = UNLIKE * (scene.high - scene.low)
    beyond = outliers & _outside(counts, scene.low - margin, scene.high + margin)
    enough = cv2.countNonZero(beyond) >= min_share * counts.size
    return beyond if enough else np.zeros_like(outliers)


def _beyond_window(counts: Counts, histogram: NDArray[np.int64], doubtful: Mask | None) -> Mask:
    """Pixels clearly outside the window of the others, without the doubtful ones."""
    low, high = percentiles(_histogram_without(histogram, counts, doubtful))
    margin = UNLIKE * max(high - low, 1)
    return _outside(counts, low - margin, high + margin)


def _span(smooth: Counts, chosen: NDArray[np.bool_] | None) -> float:
    """Counts from the 1st to the 99th percentile, without far objects."""
    histogram = histogram_of(smooth, None if chosen is None else chosen.view(np.uint8))
    if not histogram.any():
        return 1.0
    window = scene_window(histogram, 0.0)
    return window.high - window.low


def _mixed_edges(chosen: Mask) -> Mask:
    """The thick parts of an area and two pixels around: cubic interpolation mixes so far."""
    thick = cv2.erode(chosen, np.ones((3, 3), np.uint8))
    return cast(Mask, cv2.dilate(thick, np.ones((7, 7), np.uint8)))


def _histogram_without(
    histogram: NDArray[np.int64], counts: Counts, chosen: Mask | None
) -> NDArray[np.int64]:
    if chosen is None:
        return histogram
    return histogram - histogram_of(counts[chosen > 0])  # few, so a mask would take longer


def _union(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return first if second is None else second
    return first | second


def _mask(chosen: NDArray[np.bool_]) -> Mask:
    return chosen.view(np.uint8) * np.uint8(255)


def _below(counts: Counts, limit: float) -> Mask:
    return _mask(counts < math.ceil(limit))  # NumPy would compare with a float as floats, slowly


def _above(counts: Counts, limit: float) -> Mask:
    return _mask(counts > math.floor(limit))


def _outside(counts: Counts, low: float, high: float) -> Mask:
    return _below(counts, low) | _above(counts, high)


def _equal(pixels: NDArray[np.uint8] | Counts, value: int) -> Mask:
    return _mask(pixels == value)
