"""A rig corrected by hand: infrared moved by pixels of the visible frame."""

from dataclasses import replace

import cv2
import numpy as np

from segmif.geometry.cameras import Floats, Homography, Rig


def nudged(
    rig: Rig | Homography, right_px: float, down_px: float, depth_m: float = np.inf
) -> Rig | Homography:
    """
    The rig by which infrared lies `right_px` and `down_px` [px of visible] from where it lay.

    A homography moves as a whole. Of a calibrated rig the infrared camera turns about its own
    place, by as much as it takes in the middle of the frame at `depth_m` [m].
    """
    if isinstance(rig, Homography):
        back = np.array([[1, 0, -right_px], [0, 1, -down_px], [0, 0, 1]])
        return replace(rig, H_infrared_visible=rig.H_infrared_visible @ back)
    middle = np.array([rig.visible.width - 1, rig.visible.height - 1]) / 2
    here, there = rig.visible.rays(np.array([middle, middle - [right_px, down_px]]))
    position = rig.infrared_position_m
    # From the infrared camera's place; an infinite depth leaves the directions alone.
    turn = _turn(here - position / depth_m, there - position / depth_m)
    T = np.eye(4)
    T[:3, :3] = rig.R @ turn
    T[:3, 3] = -T[:3, :3] @ position
    return replace(rig, T_infrared_visible=T)


def _turn(one: Floats, other: Floats) -> Floats:
    """The smallest rotation (3, 3) that takes one direction (3,) to another."""
    first, second = one / np.linalg.norm(one), other / np.linalg.norm(other)
    axis = np.cross(first, second)
    sine = float(np.linalg.norm(axis))
    if sine == 0:
        return np.eye(3)
    angle = np.arctan2(sine, float(first @ second))
    return np.asarray(cv2.Rodrigues(axis / sine * angle)[0], np.float64)
