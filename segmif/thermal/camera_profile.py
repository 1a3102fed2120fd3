"""Camera profiles: the crop of the frames and the meaning of the counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np

Polarity = Literal["white_hot", "black_hot"]
ByteOrder = Literal["native", "swapped"]

BITS = (8, 16)  # of a sample, in files of 16 bit
MAX_CROP = 16_384  # [px] of one side
MAX_INVALID = 16  # counts that may be stated as invalid
KELVIN_PER_COUNT = (1e-6, 10.0)
KELVIN_AT_ZERO = (-1000.0, 1000.0)

Array = TypeVar("Array", bound=np.ndarray[Any, Any])


@dataclass(frozen=True)
class Crop:
    """Pixels to cut from each side of a frame, such as telemetry rows; raises ValueError."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        for side in fields(self):
            _check_integer(f"crop {side.name}", getattr(self, side.name), (0, MAX_CROP))

    def apply(self, pixels: Array) -> Array:
        """The picture within a frame (H, W, ...), a view; ValueError if nothing is left."""
        height, width = pixels.shape[:2]
        bottom, right = height - self.bottom, width - self.right
        if bottom <= self.top or right <= self.left:
            raise ValueError(f"a crop of {self} leaves nothing of a frame of {width}x{height}")
        return cast(Array, pixels[self.top : bottom, self.left : right])

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.right},{self.bottom}"


@dataclass(frozen=True)
class CameraProfile:
    """
    The statements about the frames of one camera; None: not stated.

    Raises ValueError for values that no camera has.
    """

    bits: int | None = None  # 8 to 16: the highest count is 2**bits - 1
    crop: Crop | None = None
    polarity: Polarity | None = None  # else white_hot
    invalid: tuple[int, ...] | None = None  # counts that mean "not measured"
    byte_order: ByteOrder | None = None  # swapped: the two bytes of each count changed places
    kelvin_per_count: float | None = None
    kelvin_at_zero: float | None = None  # temperature [K] at count 0; else 0

    def __post_init__(self) -> None:
        if self.bits is not None:
            _check_integer("bits", self.bits, BITS)
        _check_choice("polarity", self.polarity, get_args(Polarity))
        _check_choice("byte_order", self.byte_order, get_args(ByteOrder))
        if len(self.invalid or ()) > MAX_INVALID:
            raise ValueError(f"invalid has more than {MAX_INVALID} counts")
        for count in self.invalid or ():
            _check_integer("invalid", count, (0, 2**16 - 1))
        _check_number("kelvin_per_count", self.kelvin_per_count, KELVIN_PER_COUNT)
        _check_number("kelvin_at_zero", self.kelvin_at_zero, KELVIN_AT_ZERO)

    def over(self, below: "CameraProfile") -> "CameraProfile":
        """This profile, with the values of `below` for what it does not state."""
        return CameraProfile(
            **{
                each.name: getattr(below, each.name) if stated is None else stated
                for each in fields(self)
                for stated in (getattr(self, each.name),)
            }
        )

    def stated(self) -> dict[str, Any]:
        """The stated values, in the form of a rig file."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.crop:
            values["crop"] = [getattr(self.crop, side.name) for side in fields(self.crop)]
        if self.invalid is not None:
            values["invalid"] = list(self.invalid)
        return {name: value for name, value in values.items() if value is not None}


VISIBLE_KEYS = frozenset({"bits", "crop"})  # the others apply to infrared


@dataclass(frozen=True)
class Cameras:
    """The profiles of a pair's two cameras."""

    visible: CameraProfile = field(default_factory=CameraProfile)
    infrared: CameraProfile = field(default_factory=CameraProfile)

    def over(self, below: "Cameras") -> "Cameras":
        """These profiles, with the values of `below` for what they do not state."""
        if self == UNSTATED:  # most pairs
            return below
        return Cameras(self.visible.over(below.visible), self.infrared.over(below.infrared))


def cameras_from(document: object) -> Cameras:
    """Profiles from `{visible: {...}, infrared: {...}}` of a file; ValueError names the fault."""
    if document is None:
        return UNSTATED
    if not isinstance(document, Mapping) or document.keys() - {"visible", "infrared"}:
        raise ValueError(
            f"frames must have the entries visible and infrared, got {document!r:.100}"
        )
    known = frozenset(each.name for each in fields(CameraProfile))
    return Cameras(
        _profile_from("visible", document.get("visible"), VISIBLE_KEYS),
        _profile_from("infrared", document.get("infrared"), known),
    )


def cameras_from_flat(values: Mapping[str, object]) -> Cameras:
    """Profiles from names such as `infrared_crop`; others and None are ignored."""
    nested: dict[str, dict[str, object]] = {"visible": {}, "infrared": {}}
    for name, value in values.items():
        sensor, _, key = name.partition("_")
        if sensor in nested and key in CameraProfile.__dataclass_fields__ and value is not None:
            nested[sensor][key] = value
    return cameras_from(nested)


def cameras_text(cameras: Cameras) -> str:
    """Profiles as the lines of a rig file; empty if nothing is stated."""
    lines = []
    for sensor in ("visible", "infrared"):
        stated = getattr(cameras, sensor).stated()
        lines += [f"  {sensor}: {json.dumps(stated)}"] if stated else []
    return "\n".join(["frames:  # what is stated of their pixels", *lines, ""]) if lines else ""


def _profile_from(sensor: str, document: object, known: frozenset[str]) -> CameraProfile:
    if document is None:
        return CameraProfile()
    if not isinstance(document, Mapping):
        raise ValueError(f"{sensor}: expected entries such as crop, got {document!r:.100}")
    values: dict[str, Any] = dict(document)
    if unknown := sorted(map(str, values.keys() - known)):
        there = ", ".join(sorted(known))
        raise ValueError(f"{sensor}: there is no {unknown[0][:40]}; there are {there}")
    try:
        if values.get("crop") is not None:
            values["crop"] = _crop_from(values["crop"])
        if values.get("invalid") is not None:
            values["invalid"] = tuple(_integers("invalid", values["invalid"]))
        return CameraProfile(**values)
    except ValueError as error:
        raise ValueError(f"{sensor}: {error}") from None


def _crop_from(value: object) -> Crop:
    if isinstance(value, Crop):
        return value
    sides = _integers("crop", value)
    if len(sides) != 4:
        raise ValueError(f"crop is left,top,right,bottom in pixels, got {value!r:.100}")
    return Crop(*sides)


def _integers(name: str, value: object) -> list[int]:
    """Integers from a list, a number, or a text with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    listed: list[Any] = list(parts) if isinstance(parts, list | tuple) else [parts]
    try:
        return [int(part) if isinstance(part, str) else part for part in listed[: MAX_INVALID + 1]]
    except ValueError:
        raise ValueError(f"{name} must be whole numbers, got {value!r:.100}") from None


def _check_integer(name: str, value: object, limits: tuple[int, int]) -> None:
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r:.40}, expected a whole number from {low} to {high}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"{name} is {value!r:.40}, expected {' or '.join(choices)}")


def _check_number(name: str, value: object, limits: tuple[float, float]) -> None:
    low, high = limits
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r:.40}, expected a number from {low:g} to {high:g}")


UNSTATED = Cameras()
