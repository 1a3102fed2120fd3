"""Rigs as ROS writes them: two camera_info files of a rectified pair."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segmif.files import shown
from segmif.geometry.rectification import rectifying_rotations
from segmif.geometry.rig import Camera, Floats, Rig, numbers, trim_coefficients
from segmif.parsing import brief
from segmif.sources.camera_info import ROS_MODELS, model_name

from .rig_fields import SIDES, Document, ReadOptions, error_text, fields, load, save, whole_number


def read_ros(paths: Sequence[Path], choice: ReadOptions) -> Rig:
    """
    Read two camera_info files, visible and infrared, of a rectified pair.

    In each, x_rectified = R x, and P holds f b, with b the position of the pair's first camera.
    So x_infrared = R_infrared^T (R_visible x_visible + b_infrared - b_visible).
    """
    cameras, turns, places = [], [], []
    for path in paths:
        document = load(path)
        try:
            cameras.append(_from_ros(document))
            turns.append(_matrix(document, "rectification_matrix", (3, 3)))
            places.append(_offset(_matrix(document, "projection_matrix", (3, 4))))
            _check_turn(turns[-1])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{shown(path)}: {error_text(error)}") from None
    T = np.eye(4)
    T[:3, :3] = turns[1].T @ turns[0]
    T[:3, 3] = turns[1].T @ (places[1] - places[0])
    if not T[:3, 3].any():
        raise ValueError(
            "the projection matrices hold no baseline: each camera was calibrated alone, calibrate "
            "both together"
        )
    return Rig(cameras[0], cameras[1], T)


def write_ros(paths: Sequence[Path], rig: Rig) -> None:
    """Write two camera_info files with the rectification that carries the pair's transform."""
    first, second, _ = rectifying_rotations(rig)
    b = second @ rig.t
    for path, name, camera, R, offset in (
        (paths[0], "visible", rig.visible, first, np.zeros(3)),
        (paths[1], "infrared", rig.infrared, second, b),
    ):
        P = np.zeros((3, 4))
        P[:, :3] = rig.infrared.K  # any pinhole would do, if it is the same in both
        P[:2, 3] = rig.infrared.fx * offset[0], rig.infrared.fy * offset[1]
        save(path, "", _to_ros(name, camera, R, P))


def _from_ros(document: Document) -> Camera:
    name = document["distortion_model"]
    models = {ros: model for model, by in ROS_MODELS.items() for ros in by.values()}
    if not isinstance(name, str) or name not in models:
        raise ValueError(
            f"the distortion model is {brief(name)!r}, expected one of {sorted(models)}"
        )
    width, height = (whole_number(document[f"image_{side}"], f"image_{side}") for side in SIDES)
    _check_whole_frame(document, width, height)
    model = models[name]
    coefficients = fields(document["distortion_coefficients"], "distortion_coefficients")["data"]
    return Camera(
        width,
        height,
        _matrix(document, "camera_matrix", (3, 3)),
        trim_coefficients(numbers(coefficients, "distortion_coefficients"), model),
        model,
    )


def _check_whole_frame(document: Document, width: int, height: int) -> None:
    """Raise ValueError for binned or cropped frames: the numbers are those of whole ones."""
    binning = [document.get(f"binning_{axis}") for axis in "xy"]
    if any(step not in (None, 0, 1) for step in binning):
        raise ValueError(
            f"frames come binned ({brief(binning)}), the numbers are of whole ones: calibrate at "
            "the resolution that is sent"
        )
    roi = fields(document.get("roi") or {}, "roi")
    cut = [roi.get(name) or 0 for name in ("x_offset", "y_offset", "width", "height")]
    if cut != [0, 0, 0, 0] and cut != [0, 0, width, height]:
        raise ValueError(
            f"frames come cut (roi {brief(cut)}), the numbers are of whole ones: calibrate what is "
            "sent, or send whole frames"
        )


def _offset(P: Floats) -> Floats:
    """Position (3,) of the pair's first camera in a rectified camera [m]."""
    if not (P[0, 0] > 0 and P[1, 1] > 0 and np.isfinite(P).all()):
        raise ValueError(
            f"the projection_matrix is {brief(P.tolist())}, without a focal length: the pair was "
            "not calibrated together"
        )
    return np.array([P[0, 3] / P[0, 0], P[1, 3] / P[1, 1], 0.0])


def _check_turn(R: Floats) -> None:
    if not np.isfinite(R).all() or np.abs(R).max() > 2 or np.abs(R @ R.T - np.eye(3)).max() > 1e-4:
        raise ValueError(f"the rectification_matrix is no rotation: {brief(R.tolist())}")


def _to_ros(name: str, camera: Camera, R: Floats, P: Floats) -> Document:
    def matrix(values: Floats) -> Document:
        rows, columns = values.shape
        return {"rows": rows, "cols": columns, "data": values.ravel().tolist()}

    return {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": matrix(camera.K),
        "distortion_model": model_name(camera),
        "distortion_coefficients": matrix(camera.distortion[None]),
        "rectification_matrix": matrix(R),
        "projection_matrix": matrix(P),
    }


def _matrix(document: Document, name: str, shape: tuple[int, int]) -> Floats:
    values = numbers(fields(document[name], name)["data"], name)
    if values.size != shape[0] * shape[1]:
        raise ValueError(f"{name} has {values.size} numbers, expected {shape[0]}x{shape[1]}")
    return values.reshape(shape)
