"""The file that describes a rig: rig.yaml, read and written."""

import hashlib
from pathlib import Path
from typing import cast

import numpy as np
import yaml

from segmif.files import read_bytes, text_of, write_bytes
from segmif.geometry.cameras import COEFFICIENTS as COEFFICIENTS
from segmif.geometry.cameras import Camera as Camera
from segmif.geometry.cameras import Floats as Floats
from segmif.geometry.cameras import Homography as Homography
from segmif.geometry.cameras import Model as Model
from segmif.geometry.cameras import Rig as Rig
from segmif.geometry.cameras import trim_coefficients as trim_coefficients
from segmif.parsing import MAX_YAML_BYTES, brief, yaml_value
from segmif.thermal.camera_profile import cameras_from, cameras_text

POSITION_TOLERANCE = 1e-3  # of the baseline
CAMERA_FIELDS = ("width", "height", "model", "K", "distortion")
RIG_FIELDS = (
    *("format", "source", "visible", "infrared", "T_infrared_visible", "infrared_position_m"),
    *("baseline_m", "baseline_std_m", "frames"),
)
HOMOGRAPHY_FIELDS = (
    *("format", "source", "visible_size", "infrared_size", "H_infrared_visible", "frames"),
)


def read_rig(path: Path) -> Rig | Homography:
    """Read rig.yaml; raises OSError, or ValueError with the path and the fault."""
    return open_rig(path)[0]


def open_rig(path: Path) -> tuple[Rig | Homography, str]:
    """As `read_rig`, and the SHA-256 of the bytes that were read."""
    data = read_bytes(path, MAX_YAML_BYTES)
    text = text_of(data, path)
    try:
        return _parsed(yaml_value(text)), hashlib.sha256(data).hexdigest()
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error


def _parsed(document: object) -> Rig | Homography:
    if not isinstance(document, dict):
        raise ValueError("not a rig file: expected `format: segmif-rig 1`")
    if document.get("format") == "segmif-homography 1":
        return _homography(document)
    if document.get("format") != "segmif-rig 1":
        raise ValueError(
            f"the format is {brief(document.get('format'))!r}, expected `segmif-rig 1`: "
            "`segmif calibrate convert` makes it of files of Kalibr, ROS and OpenCV"
        )
    return _rig(document)


def write_rig(path: Path, rig: Rig | Homography) -> None:
    """Write rig.yaml atomically; numbers are exact."""
    write_bytes(path, rig_bytes(rig))


def rig_bytes(rig: Rig | Homography) -> bytes:
    """The content of rig.yaml for a rig."""
    text = _rig_text(rig) if isinstance(rig, Rig) else _homography_text(rig)
    return text.encode("utf-8", "backslashreplace")


def _refuse_unknown(document: dict[str, object], known: tuple[str, ...]) -> None:
    """Raise ValueError for a field that nobody reads: what it states would be ignored."""
    if unknown := [name for name in document if name not in known]:
        raise ValueError(f"there is no field {brief(unknown[0])!r}; there are {', '.join(known)}")


def camera_from(document: dict[str, object]) -> Camera:
    """A camera from the fields of rig.yaml; raises KeyError, TypeError or ValueError."""
    model, lens = cast(Model, document["model"]), numbers(document["distortion"], "distortion")
    camera = Camera(
        _whole(document["width"], "width"),
        _whole(document["height"], "height"),
        numbers(document["K"], "K"),
        trim_coefficients(lens, model) if lens.size > 5 else lens,  # four are a fisheye's
        model,
    )
    _refuse_unknown(document, CAMERA_FIELDS)
    return camera


def numbers(value: object, name: str) -> Floats:
    """A list (of lists) from a file as an array; raises ValueError that calls it `name`."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be rows of numbers, got {brief(value)}") from None


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of pixels, got {brief(value)}")
    return value


def _rig(document: dict[str, object]) -> Rig:
    cameras = []
    for name in ("visible", "infrared"):
        try:
            entry = document[name]
            if not isinstance(entry, dict):
                raise ValueError(f"it must have fields, got {brief(entry)}")
            cameras.append(camera_from(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the {name} camera: {error}") from None
    std = None if document.get("baseline_std_m") is None else _std(document["baseline_std_m"])
    T = numbers(document["T_infrared_visible"], "T_infrared_visible")
    _refuse_unknown(document, RIG_FIELDS)
    source = str(document.get("source") or "")
    rig = Rig(cameras[0], cameras[1], T, std, source, cameras_from(document.get("frames")))
    if "infrared_position_m" in document:
        _check_position(rig, numbers(document["infrared_position_m"], "infrared_position_m"))
    if "baseline_m" in document:
        _check_baseline(rig, document["baseline_m"])
    return rig


def _std(value: object) -> float:
    std = numbers(value, "baseline_std_m")
    if std.shape or not 0 <= std < np.inf:
        raise ValueError(f"baseline_std_m must be a length in metres, got {brief(value)}")
    return float(std)


def _check_baseline(rig: Rig, stated: object) -> None:
    found = numbers(stated, "baseline_m")
    if found.shape or not abs(found - rig.baseline_m) <= POSITION_TOLERANCE * rig.baseline_m:
        raise ValueError(
            f"T_infrared_visible has a baseline of {rig.baseline_m:g} m, baseline_m says "
            f"{brief(stated)}: change the translation, not its length alone"
        )


def _check_position(rig: Rig, stated: Floats) -> None:
    # A transposed rotation is a rotation too: only a second statement reveals it.
    off = float(np.abs(rig.infrared_position_m - stated).max()) if stated.shape == (3,) else np.nan
    if not off <= POSITION_TOLERANCE * rig.baseline_m:
        raise ValueError(
            f"T_infrared_visible puts the infrared camera at {rig.infrared_position_m.round(4)} m, "
            f"infrared_position_m says {brief(stated.tolist())}: is the rotation transposed, or "
            "the direction turned round?"
        )


def _homography(document: dict[str, object]) -> Homography:
    sizes = []
    for name in ("visible_size", "infrared_size"):
        size = document[name]
        if not isinstance(size, list) or len(size) != 2:
            raise ValueError(f"{name} must be [width, height] in pixels, got {brief(size)}")
        sizes.append((_whole(size[0], name), _whole(size[1], name)))
    H = numbers(document["H_infrared_visible"], "H_infrared_visible")
    _refuse_unknown(document, HOMOGRAPHY_FIELDS)
    source = str(document.get("source") or "")
    return Homography(sizes[0], sizes[1], H, cameras_from(document.get("frames")), source)


def _rig_text(rig: Rig) -> str:
    std = "null" if rig.baseline_std_m is None else repr(float(rig.baseline_std_m))
    return f"""\
format: segmif-rig 1
{_source_text(rig.source)}
# Frames: x right, y down, z forward, metres. Pixels: centre of the top left one is (0, 0).
visible:
{_camera_text(rig.visible)}
infrared:
{_camera_text(rig.infrared)}
# x_infrared = T_infrared_visible @ x_visible: a point in the visible camera's frame goes to the
# infrared camera's frame, metres.
T_infrared_visible:
{_rows(rig.T_infrared_visible, 2)}
# The same once more, as a check: where the infrared camera stands in the visible camera's frame.
infrared_position_m: {rig.infrared_position_m.tolist()}
baseline_m: {rig.baseline_m!r}
baseline_std_m: {std}
{cameras_text(rig.frames)}"""


def _source_text(source: str) -> str:
    quoted: str = yaml.safe_dump(source, default_style='"', width=10**6)
    return f"source: {quoted.strip()}"


def _camera_text(camera: Camera) -> str:
    return f"""\
  width: {camera.width}  # px
  height: {camera.height}  # px
  model: {camera.model}
  K:  # px
{_rows(camera.K, 4)}
  distortion: {camera.distortion.tolist()}"""


def _homography_text(homography: Homography) -> str:
    return f"""\
format: segmif-homography 1
{_source_text(homography.source)}
visible_size: {list(homography.visible_size)}  # width, height, px
infrared_size: {list(homography.infrared_size)}  # width, height, px
# (x, y, 1)_infrared ~ H_infrared_visible @ (x, y, 1)_visible, pixels.
H_infrared_visible:
{_rows(homography.H_infrared_visible, 2)}
{cameras_text(homography.frames)}"""


def _rows(matrix: Floats, indent: int) -> str:
    return "\n".join(f"{' ' * indent}- {row}" for row in matrix.tolist())
