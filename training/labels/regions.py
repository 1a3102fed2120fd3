"""The connected regions of a mask as shapes: exact masks, or outlines with few points."""

import math
from typing import Literal

import cv2
import numpy as np

from segmif.classes import IGNORE, Taxonomy

from .shapes import IGNORED, Labels, Mask, Outline, Shape

Drawing = Literal["masks", "polygons"]


def shapes_of(
    labels: Labels, classes: Taxonomy, drawing: Drawing, deviation: float, least: int = 1
) -> tuple[Shape, ...]:
    """
    A shape for each connected region (8 neighbours) but the background, the largest first.

    With "polygons", a region is an outline that leaves its edge by at most `deviation` pixels; one
    with holes stays a mask, since tools know no polygon with holes. Regions of fewer than `least`
    pixels are left out. Labels that are IGNORE everywhere give no shape: nobody labelled.
    """
    if (labels == IGNORE).all():
        return ()
    found = []
    for id_ in np.unique(labels).tolist():
        if id_ == classes.background:
            continue
        name = IGNORED if id_ == IGNORE else classes.names[id_]
        count, places, boxes, _ = cv2.connectedComponentsWithStats(
            (labels == id_).astype(np.uint8), connectivity=8
        )
        for number in range(1, count):
            left, top, width, height, area = boxes[number].tolist()
            if area < least:
                continue
            mask = places[top : top + height, left : left + width] == number
            outline = outline_around(mask, deviation) if drawing == "polygons" else None
            shape = (
                Shape(name, mask=mask, left=left, top=top)
                if outline is None
                else Shape(name, (np.add(outline, (left, top)),))
            )
            found.append((area, shape))
    return tuple(shape for _, shape in sorted(found, key=lambda each: -each[0]))


def outline_around(mask: Mask, deviation: float) -> Outline | None:
    """
    The outline of a connected mask (h, w) along the edges of its pixels; None if it has holes.

    Points are left out as long as the outline stays within `deviation` [px] of the edges.
    """
    # On a grid of twice the size, a pixel has the odd place in its middle and the even ones at its
    # corners. So the contour through the cells of the grid runs along the pixels' edges.
    height, width = mask.shape
    grid = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = mask
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    rings, _ = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(rings) != 1:
        return None
    ring = rings[0]
    simple = cv2.approxPolyDP(ring, 2 * deviation, closed=True) if deviation else ring
    if len(simple) < 3 or math.isclose(cv2.contourArea(simple), 0):
        simple = ring  # what is thinner than the deviation would vanish
    return np.asarray(simple.reshape(-1, 2) / 2, np.float64)
