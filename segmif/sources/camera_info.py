"""CameraInfo of ROS: the intrinsics that a driver states of its own camera."""

import logging
from typing import Any

import numpy as np

from segmif.geometry.cameras import Camera, Floats, Model, trim_coefficients

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Lens models by the number of their coefficients, and what ROS calls them.
ROS_MODELS: dict[Model, dict[int, str]] = {
    "radtan": {5: "plumb_bob", 8: "rational_polynomial"},
    "fisheye": {4: "equidistant"},
}

log = logging.getLogger(__name__)


def info_topics(topic: str) -> tuple[str, str]:
    """The topics that may state the intrinsics of an image topic: below it, and beside it."""
    image = topic.removesuffix("/compressed")
    return f"{image}/camera_info", f"{image.rpartition('/')[0]}/camera_info"


def model_name(camera: Camera) -> str:
    """What ROS calls the lens model of a camera."""
    return ROS_MODELS[camera.model][camera.distortion.size]


def camera_of(info: Any) -> Camera | None:
    """
    The camera that a sensor_msgs/CameraInfo states; None for one that was never calibrated.

    Raises ValueError for frames that come binned or cut, and for numbers that no camera has.
    """
    K = _numbers(info, "k").reshape(3, 3)
    if not K[0, 0]:
        return None
    roi = info.roi
    cut = roi.x_offset or roi.y_offset
    cut = cut or (roi.width, roi.height) not in ((0, 0), (info.width, info.height))
    if cut or info.binning_x > 1 or info.binning_y > 1:
        raise ValueError("frames come binned or cut, and the numbers are of whole ones")
    coefficients = _numbers(info, "d")
    if info.distortion_model == "" and not coefficients.any():
        return Camera(info.width, info.height, K, np.zeros(5))
    models = {ros: model for model, by in ROS_MODELS.items() for ros in by.values()}
    if info.distortion_model not in models:
        raise ValueError(
            f"the distortion model is {info.distortion_model!r:.40}, expected one of "
            f"{', '.join(models)}"
        )
    model = models[info.distortion_model]
    lens = trim_coefficients(coefficients, model) if coefficients.size else np.zeros(5)
    return Camera(info.width, info.height, K, lens, model)


def _numbers(info: Any, name: str) -> Floats:
    # ROS 1 has capitals.
    values = getattr(info, name if hasattr(info, name) else name.upper())
    return np.array(values, np.float64)


class StatedCamera:
    """The camera that the last CameraInfo of a source states."""

    def __init__(self, address: str) -> None:
        """`address` of the source, for the log."""
        self._address, self._said = address, ""
        self._key: bytes | None = None
        self.camera: Camera | None = None

    def see(self, info: Any) -> None:
        """Take a message; what cannot be used is logged once, and states nothing."""
        key = b"".join(_numbers(info, name).tobytes() for name in ("k", "d"))
        key += repr((info.width, info.height, info.distortion_model, info.roi)).encode()
        if key == self._key:
            return
        self._key = key
        try:
            self.camera = camera_of(info)
        except ValueError as error:
            self.camera = None
            if str(error) != self._said:
                log.warning("%s: its camera_info is not used: %s", self._address, error)
            self._said = str(error)
