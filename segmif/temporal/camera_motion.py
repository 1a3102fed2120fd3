"""How a camera moved between two small pictures of a stream: one similarity for the whole view."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Points = NDArray[np.float32]
Similarity = NDArray[np.float64]
Box = tuple[int, int, int, int]

MOST_CORNERS, LEAST_CORNERS = 160, 12
QUALITY, APART = 0.003, 8  # of the best corner; [px] between two
WINDOW, LEVELS = (15, 15), 3  # of the tracker's pyramid
OFF_PX = 1.5  # by which a corner may miss the similarity
LEAST_AGREEING = 0.6  # of the corners; with fewer, near and far things move differently


def corners_of(picture: Bytes, without: Sequence[Box] = ()) -> Points:
    """
    Corners (n, 1, 2) of a picture (h, w), in pixels, by their least eigenvalue (Shi-Tomasi).

    `without`: boxes (left, top, width, height) of what may move by itself. They count if the rest
    of the picture has too few corners.
    """
    rest = np.full(picture.shape, 255, np.uint8)
    for left, top, width, height in without:
        rest[max(0, top) : top + height, max(0, left) : left + width] = 0
    found = _corners(picture, rest)
    return found if len(found) >= LEAST_CORNERS else _corners(picture, None)


def _corners(picture: Bytes, where: Bytes | None) -> Points:
    found = cv2.goodFeaturesToTrack(picture, MOST_CORNERS, QUALITY, APART, mask=where)
    return np.zeros((0, 1, 2), np.float32) if found is None else cast(Points, found)


def camera_motion(before: Bytes, corners: Points, now: Bytes) -> Similarity | None:
    """
    The similarity (2, 3) that brings a point of picture `before` (h, w) to its place in `now`.

    None if it is not known: too few corners are found again, or too few agree.
    `corners`: those of `before`. Tracked by Lucas-Kanade, agreed on by RANSAC.
    """
    if len(corners) < LEAST_CORNERS:
        return None
    places = np.empty_like(corners)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, now, corners, places, winSize=WINDOW, maxLevel=LEVELS
    )
    there = found.ravel() > 0
    if np.count_nonzero(there) < LEAST_CORNERS:
        return None
    similarity, agree = cv2.estimateAffinePartial2D(
        corners[there], moved[there], ransacReprojThreshold=OFF_PX
    )
    if similarity is None or agree.mean() < LEAST_AGREEING:
        return None
    return cast(Similarity, similarity)
