"""
Rigs in the files of others: Kalibr camchains, pairs of ROS camera_info, OpenCV FileStorage.

All give metres and T_infrared_visible with the visible camera first (Kalibr: cam0, OpenCV: 1).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import yaml

from calibration.rectify import rectifying_rotations
from segmif.files import write_bytes
from segmif.rig import Camera, Floats, Model, Rig, numbers, read_rig, write_rig

KALIBR_MODELS: dict[Model, str] = {"radtan": "radtan", "fisheye": "equidistant"}
ROS_MODELS = {"radtan": {5: "plumb_bob", 8: "rational_polynomial"}, "fisheye": {4: "equidistant"}}
KALIBR_COEFFICIENTS = 4
REFIT_GRID = 20  # points along either side of the frame
REFIT_PX = 0.5  # a lens that four coefficients miss by more is not written

Document = dict[str, Any]


def read_kalibr(paths: Sequence[Path]) -> Rig:
    """Read a camchain of two cameras; T_cn_cnm1 takes points of cam0 (visible) to cam1."""
    document = _load(paths[0])
    cameras = [_from_kalibr(document[name]) for name in ("cam0", "cam1")]
    return Rig(cameras[0], cameras[1], numbers(document["cam1"]["T_cn_cnm1"], "T_cn_cnm1"))


def write_kalibr(paths: Sequence[Path], rig: Rig) -> None:
    """Write a camchain; radtan there has four coefficients, so k3 and more are fitted into them."""
    document = {"cam0": _to_kalibr(rig.visible), "cam1": _to_kalibr(rig.infrared)}
    document["cam1"]["T_cn_cnm1"] = rig.T_infrared_visible.tolist()
    _save(paths[0], "# cam0 visible, cam1 infrared, metres\n", document)


def read_ros(paths: Sequence[Path]) -> Rig:
    """
    Read two camera_info files, visible and infrared, of a rectified pair.

    x_rectified = R x in each, and infrared's P holds f b, with b
    the place of the visible camera from the infrared one, so
    x_infrared = R_infrared^T (R_visible x_visible + b).
    """
    documents = [_load(path) for path in paths]
    cameras = [_from_ros(document) for document in documents]
    first, second = (_matrix(document, "rectification_matrix", (3, 3)) for document in documents)
    P = _matrix(documents[1], "projection_matrix", (3, 4))
    T = np.eye(4)
    T[:3, :3] = second.T @ first
    T[:3, 3] = second.T @ np.array([P[0, 3] / P[0, 0], P[1, 3] / P[1, 1], 0.0])
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
        _save(path, "", _to_ros(name, camera, R, P))


def read_opencv(paths: Sequence[Path]) -> Rig:
    """Read M1 D1 M2 D2 R T, as OpenCV's stereo calibration sample names them, and the sizes."""
    storage = cv2.FileStorage(str(paths[0]), cv2.FILE_STORAGE_READ)
    if not storage.isOpened():
        raise ValueError(f"{paths[0]}: OpenCV cannot read it")
    try:
        cameras = [_from_opencv(storage, index) for index in (1, 2)]
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = _node(storage, "R"), _node(storage, "T").ravel()
    finally:
        storage.release()
    return Rig(cameras[0], cameras[1], T)


def write_opencv(paths: Sequence[Path], rig: Rig) -> None:
    """Write YAML, XML or JSON by the file's name, for cv2.FileStorage."""
    flags = cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY
    storage = cv2.FileStorage(paths[0].name, flags)
    storage.writeComment("1 visible, 2 infrared; x2 = R x1 + T, metres")
    for index, camera in enumerate((rig.visible, rig.infrared), 1):
        storage.write(f"image_width{index}", camera.width)
        storage.write(f"image_height{index}", camera.height)
        storage.write(f"model{index}", camera.model)
        storage.write(f"M{index}", camera.K)
        storage.write(f"D{index}", camera.distortion.reshape(1, -1))
    storage.write("R", rig.R)
    storage.write("T", rig.t.reshape(3, 1))
    write_bytes(paths[0], storage.releaseAndGetString().encode())


def read_own(paths: Sequence[Path]) -> Rig:
    """Read rig.yaml; raises ValueError for a homography, which no other format knows."""
    rig = read_rig(paths[0])
    if not isinstance(rig, Rig):
        raise ValueError(f"{paths[0]}: a homography has no cameras to convert")
    return rig


def write_own(paths: Sequence[Path], rig: Rig) -> None:
    """Write rig.yaml."""
    write_rig(paths[0], rig)


def _load(path: Path) -> Document:
    text = path.read_text("utf-8")
    # Some camera_info files begin with OpenCV's own line, which no YAML parser takes.
    lines = [line for line in text.splitlines() if not line.startswith("%YAML:")]
    try:
        document = yaml.safe_load("\n".join(lines))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected fields, got {type(document).__name__}")
    return document


def _save(path: Path, comment: str, document: Document) -> None:
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=10**6)
    write_bytes(path, (comment + text).encode())


def _from_kalibr(document: Document) -> Camera:
    if document["camera_model"] != "pinhole":
        raise ValueError(f"the camera model is {document['camera_model']!r}, expected pinhole")
    names = {name: model for model, name in KALIBR_MODELS.items()}
    model = names.get(document["distortion_model"])
    if model is None:
        raise ValueError(f"the distortion model is {document['distortion_model']!r}")
    fx, fy, cx, cy = numbers(document["intrinsics"], "intrinsics")
    coefficients = numbers(document["distortion_coeffs"], "distortion_coeffs")
    if model == "radtan":
        coefficients = np.append(coefficients, 0.0)
    width, height = (int(side) for side in document["resolution"])
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera(width, height, K, coefficients, model)


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

    The distorted point is linear in them. Raises ValueError where they miss by more than half a
    pixel.
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


def _from_ros(document: Document) -> Camera:
    name = document["distortion_model"]
    models = {ros: model for model, by in ROS_MODELS.items() for ros in by.values()}
    if name not in models:
        raise ValueError(f"the distortion model is {name!r}, expected one of {sorted(models)}")
    return Camera(
        int(document["image_width"]),
        int(document["image_height"]),
        _matrix(document, "camera_matrix", (3, 3)),
        numbers(document["distortion_coefficients"]["data"], "distortion_coefficients"),
        cast(Model, models[name]),
    )


def _to_ros(name: str, camera: Camera, R: Floats, P: Floats) -> Document:
    def matrix(values: Floats) -> Document:
        rows, columns = values.shape
        return {"rows": rows, "cols": columns, "data": values.ravel().tolist()}

    return {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": name,
        "camera_matrix": matrix(camera.K),
        "distortion_model": ROS_MODELS[camera.model][camera.distortion.size],
        "distortion_coefficients": matrix(camera.distortion[None]),
        "rectification_matrix": matrix(R),
        "projection_matrix": matrix(P),
    }


def _matrix(document: Document, name: str, shape: tuple[int, int]) -> Floats:
    values = numbers(document[name]["data"], name)
    if values.size != shape[0] * shape[1]:
        raise ValueError(f"{name} has {values.size} numbers, expected {shape[0]}x{shape[1]}")
    return values.reshape(shape)


def _from_opencv(storage: cv2.FileStorage, index: int) -> Camera:
    sides = [storage.getNode(f"image_{side}{index}") for side in ("width", "height")]
    if any(side.empty() for side in sides):
        raise KeyError(f"image_width{index}")
    width, height = (int(side.real()) for side in sides)
    model = storage.getNode(f"model{index}").string() or "radtan"
    distortion = _node(storage, f"D{index}").ravel()
    return Camera(width, height, _node(storage, f"M{index}"), distortion, cast(Model, model))


def _node(storage: cv2.FileStorage, name: str) -> Floats:
    node = storage.getNode(name)
    matrix = None if node.empty() else node.mat()
    if matrix is None:
        raise KeyError(name)
    return np.asarray(matrix, np.float64)


READERS = {"rig": read_own, "kalibr": read_kalibr, "ros": read_ros, "opencv": read_opencv}
WRITERS = {"rig": write_own, "kalibr": write_kalibr, "ros": write_ros, "opencv": write_opencv}
FILES = {"rig": 1, "kalibr": 1, "ros": 2, "opencv": 1}
