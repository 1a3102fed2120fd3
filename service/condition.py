"""Whether two frames are a pair worth fusing: skew, and frames that show nothing or nothing new."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.images import Pixels
from segmif.thermal import Window

Sensor = Literal["visible", "infrared"]
Skew = Literal["within", "beyond", "unknown"]
Fault = Literal["missing", "black", "saturated", "shutter", "frozen"]

SENSORS: tuple[Sensor, Sensor] = ("visible", "infrared")
BLIND: frozenset[Fault] = frozenset({"missing", "black", "saturated", "shutter"})  # shows nothing

EVERY = 4  # rows looked at: a fault fills the frame, and a quarter tells it
BLACK_LEVEL = 3  # of 255; 99 % of a black frame's pixels lie at or below: an unlit street has lamps
CEILING_LEVEL = 250  # of 255; what JPEG leaves of white
CEILINGS = (2**12 - 1, 2**14 - 1, 2**16 - 1)  # [counts] of the sensors' usual depths
SATURATED_SHARE = 0.9
# A closed shutter is a plate of one temperature: what is left is noise. Scenes spread over hundreds
# of counts; 8 bit stretched by the camera would show the noise, unstretched shows a level or two.
SHUTTER_SPREAD = {"uint8": 2, "uint16": 32}


@dataclass(frozen=True)
class Condition:
    """What is known of a pair's fitness."""

    sensors: tuple[Sensor, ...]  # whose frames the answer rests on
    flags: tuple[str, ...] = ()  # such as infrared_frozen; empty: nothing is wrong
    skew: Skew = "unknown"
    skew_ms: float | None = None  # how much later infrared was taken; None: no timestamps


@dataclass
class Memory:
    """What a stream's last pair left behind."""

    digests: dict[Sensor, bytes] = field(default_factory=dict)
    window: Window | None = None  # of its 16-bit infrared


def examine(
    frames: Mapping[Sensor, Pixels | None],
    stamps_ns: tuple[int | None, int | None],
    max_skew_ms: float,
    memory: Memory | None,
    shutter: bool = False,
) -> Condition:
    """
    Judge the frames of a pair and, with the memory of their stream, against the pair before.

    `stamps_ns` are visible's and infrared's on one clock; `shutter` is what the camera says itself.
    """
    faults = {sensor: _fault(sensor, pixels, memory) for sensor, pixels in frames.items()}
    if shutter and faults["infrared"] != "missing":
        faults["infrared"] = "shutter"
    flags = [f"{sensor}_{fault}" for sensor, fault in faults.items() if fault]
    skew, skew_ms = _skew(stamps_ns, max_skew_ms)
    if skew == "beyond":
        flags.append("skewed")
    sensors = tuple(sensor for sensor in SENSORS if faults[sensor] not in BLIND)
    return Condition(sensors, tuple(flags), skew, skew_ms)


def _fault(sensor: Sensor, pixels: Pixels | None, memory: Memory | None) -> Fault | None:
    if pixels is None:
        return "missing"
    frozen = memory is not None and _repeats(sensor, pixels, memory)
    counts = _histogram(pixels[::EVERY])
    low, high = np.searchsorted(counts.cumsum() / counts.sum(), (0.01, 0.99))
    if high <= (BLACK_LEVEL if pixels.dtype == np.uint8 else 0):
        return "black"
    white = range(CEILING_LEVEL, 256) if pixels.dtype == np.uint8 else CEILINGS
    at_ceiling = sum(counts[value] for value in white if value < counts.size)
    if at_ceiling >= SATURATED_SHARE * counts.sum():
        return "saturated"
    if sensor == "infrared" and high - low <= SHUTTER_SPREAD[pixels.dtype.name]:
        return "shutter"
    return "frozen" if frozen else None


def _histogram(pixels: Pixels) -> NDArray[np.float64]:
    """How many pixels have each value: 256, or for counts as many as occur."""
    if pixels.dtype == np.uint16:
        return np.bincount(pixels.ravel()).astype(np.float64)
    # Of bytes OpenCV's is several times as fast.
    counts = cv2.calcHist([pixels.reshape(-1)], [0], None, [256], [0, 256])
    return counts.ravel().astype(np.float64)


def _repeats(sensor: Sensor, pixels: Pixels, memory: Memory) -> bool:
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
    repeats = memory.digests.get(sensor) == digest
    memory.digests[sensor] = digest
    return repeats


def _skew(
    stamps_ns: tuple[int | None, int | None], max_skew_ms: float
) -> tuple[Skew, float | None]:
    visible_ns, infrared_ns = stamps_ns
    if visible_ns is None or infrared_ns is None:
        return "unknown", None
    skew_ms = (infrared_ns - visible_ns) / 1e6
    return ("within" if abs(skew_ms) <= max_skew_ms else "beyond"), skew_ms
