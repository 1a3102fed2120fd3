"""Rigs as Kalibr writes them: camchains of two cameras or more."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from segmif.geometry.rig import Camera, Floats, Model, Rig, numbers, trim_coefficients
from segmif.parsing import brief

from .rig_fields import Document, ReadOptions, fields, load, save, whole_number

KALIBR_MODELS: dict[Model, str] = {"radtan": "radtan", "fisheye": "equidistant"}
KALIBR_COEFFICIENTS = 4
REFIT_GRID = 20  # points along either side of the frame
REFIT_PX = 0.5  # a lens that four coefficients miss by more is not written
CAMERA = re.compile(r"cam\d{1,3}")


def read_kalibr(paths: Sequence[Path], choice: ReadOptions) -> Rig:
    """
    Read two cameras of a camchain, cam0 and cam1 (visible, infrared) unless `choice` names others.

    T_cn_cnm1 takes points of the camera before to camera n, so a chain of more is multiplied.
    """
    document = load(paths[0])
    visible, infrared = _chosen_cameras([str(name) for name in document], choice)
    cameras = []
    for name in (visible, infrared):
        try:
            cameras.append(_from_kalibr(fields(document[name], name)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    T = _chained_transform(document, _number(visible), _number(infrared))
    source = f"Kalibr, {visible} visible and {infrared} infrared"
    shift_s = _time_shift(document[visible], document[infrared])
    if shift_s is not None:
        source += (
            f"; add {1e3 * shift_s:.3f} ms to infrared stamps (`segmif calibrate pair --offset-ms`)"
        )
    return Rig(cameras[0], cameras[1], T, source=source)


def _chosen_cameras(names: Sequence[str], choice: ReadOptions) -> tuple[str, str]:
    """Names of the visible and the infrared camera in a chain; ValueError if ambiguous."""
    chain = sorted((name for name in names if CAMERA.fullmatch(name)), key=_number)
    visible, infrared = choice.visible, choice.infrared
    if visible is None and infrared is None and len(chain) <= 2:
        return "cam0", "cam1"
    if visible is None or infrared is None or visible == infrared:
        raise ValueError(
            f"the chain holds {', '.join(chain)}: name two, such as --visible cam0 --infrared cam1"
        )
    for name in (visible, infrared):
        if name not in chain:
            raise ValueError(f"there is no {brief(name)}; the chain holds {', '.join(chain)}")
    return visible, infrared


def _chained_transform(document: Document, visible: int, infrared: int) -> Floats:
    """T_infrared_visible (4, 4) by the links of the chain from one camera to the other."""
    T: Floats = np.eye(4)
    for index in range(min(visible, infrared) + 1, max(visible, infrared) + 1):
        link = fields(document[f"cam{index}"], f"cam{index}")["T_cn_cnm1"]
        T = np.asarray(_transform_matrix(link, f"T_cn_cnm1 of cam{index}") @ T, np.float64)
    if visible > infrared:
        T = np.asarray(np.linalg.inv(T), np.float64)
    T[3] = 0, 0, 0, 1  # exact, as in the file
    return T


def write_kalibr(paths: Sequence[Path], rig: Rig) -> None:
    """Write a camchain. Its radtan has four coefficients, so k3 and more are fitted into them."""
    document = {"cam0": _to_kalibr(rig.visible), "cam1": _to_kalibr(rig.infrared)}
    document["cam1"]["T_cn_cnm1"] = rig.T_infrared_visible.tolist()
    save(paths[0], "# cam0 visible, cam1 infrared, metres\n", document)


def _from_kalibr(document: Document) -> Camera:
    if document["camera_model"] != "pinhole":
        raise ValueError(
            f"the camera model is {brief(document['camera_model'])!r}, expected pinhole"
        )
    names = {name: model for model, name in KALIBR_MODELS.items()}
    word = document["distortion_model"]
    model = names.get(word) if isinstance(word, str) else None
    if model is None:
        raise ValueError(f"the distortion model is {brief(word)!r}, expected one of {list(names)}")
    intrinsics = numbers(document["intrinsics"], "intrinsics")
    if intrinsics.shape != (4,):
        raise ValueError(f"intrinsics must be fx fy cx cy, got {brief(document['intrinsics'])}")
    fx, fy, cx, cy = intrinsics
    coefficients = numbers(document["distortion_coeffs"], "distortion_coeffs")
    width, height = _resolution(document["resolution"])
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera(width, height, K, trim_coefficients(coefficients, model), model)


def _resolution(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"resolution must be [width, height], got {brief(value)}")
    return whole_number(value[0], "resolution"), whole_number(value[1], "resolution")


def _transform_matrix(value: object, name: str) -> Floats:
    T = numbers(value, name)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise ValueError(f"{name} must be 4x4 finite numbers, got {brief(value)}")
    if not np.array_equal(T[3], [0, 0, 0, 1]):
        raise ValueError(f"the last row of {name} is {T[3].tolist()}, expected [0, 0, 0, 1]")
    return T


def _number(name: str) -> int:
    return int(str(name).removeprefix("cam"))


def _time_shift(visible: Document, infrared: Document) -> float | None:
    """
    What to add to infrared stamps [s]; None if the file has no time shifts.

    t_imu = t_cam + timeshift_cam_imu, so t_visible = t_infrared + infrared's shift less visible's.
    """
    shifts = [each.get("timeshift_cam_imu") for each in (visible, infrared)]
    if shifts == [None, None]:
        return None
    if None in shifts:
        raise ValueError("one camera alone has a timeshift_cam_imu: state both, or remove it")
    first, second = (numbers(shift, "timeshift_cam_imu") for shift in shifts)
    if first.shape or second.shape or not np.isfinite(second - first):
        raise ValueError(f"timeshift_cam_imu must be seconds, got {brief(shifts)}")
    return float(second - first)


def _to_kalibr(camera: Camera) -> Document:
    coefficients = camera.distortion if camera.model == "fisheye" else four_coefficients(camera)
    return {
        "camera_model": "pinhole",
        "intrinsics": [camera.fx, camera.fy, *camera.K[:2, 2].tolist()],
        "distortion_model": KALIBR_MODELS[camera.model],
        "distortion_coeffs": coefficients.tolist(),
        "resolution": [camera.width, camera.height],
    }


def four_coefficients(camera: Camera) -> Floats:
    """
    k1 k2 p1 p2 that come nearest to a radtan camera of 5 or 8 over its frame.

    The distorted point is linear in them. Raises ValueError if they miss by more than half a pixel.
    """
    k = camera.distortion
    if not k[KALIBR_COEFFICIENTS:].any():
        return k[:KALIBR_COEFFICIENTS]
    sides = np.linspace(0, 1, REFIT_GRID)
    grid = np.stack(np.meshgrid(sides, sides), axis=-1).reshape(-1, 2)
    pixels = grid * (camera.width - 1, camera.height - 1)
    x, y, _ = camera.rays(pixels).T
    r2 = x**2 + y**2
    rows = np.concatenate(
        [
            np.stack([x * r2, x * r2**2, 2 * x * y, r2 + 2 * x**2], axis=1) * camera.fx,
            np.stack([y * r2, y * r2**2, r2 + 2 * y**2, 2 * x * y], axis=1) * camera.fy,
        ]
    )
    straight = np.stack([x * camera.fx, y * camera.fy], axis=1) + camera.K[:2, 2]
    wanted = (pixels - straight).T.ravel()
    fitted = cast(Floats, np.linalg.lstsq(rows, wanted, rcond=None)[0])
    miss = float(np.abs(rows @ fitted - wanted).max())
    if miss > REFIT_PX:
        raise ValueError(
            f"Kalibr's radtan has four coefficients, which miss this lens by {miss:.1f} px: "
            "write another format"
        )
    return fitted
