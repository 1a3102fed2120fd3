"""Whether two frames are a pair worth fusing: skew, and frames that show nothing or nothing new."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import Pixels
from segmif.thermal.gain_control import GainState
from segmif.thermal.invalid_counts import Validity
from segmif.thermal.shutter import MAX_SPREAD, shows_shutter

from .object_tracks import ObjectTracks
from .register import StreamRegistrar
from .timestamps import StampMemory, stamp_fault, wrong_units
from .unknown_objects import UnknownObjects

Sensor = Literal["visible", "infrared"]
Skew = Literal["within", "beyond", "unknown"]
Fault = Literal["missing", "black", "saturated", "shutter", "frozen"]
Stamps = tuple[int | None, int | None]  # [ns] of visible and of infrared, on one clock

SENSORS: tuple[Sensor, Sensor] = ("visible", "infrared")
BLIND: frozenset[Fault] = frozenset({"missing", "black", "saturated", "shutter"})  # shows nothing

EVERY = 4  # rows looked at: a fault fills the frame, and a quarter shows it
BLACK_LEVEL = 3  # of 255
BLACK_SHARE = 0.99  # of a black frame's pixels lie at or below: an unlit street has lamps
CEILING_LEVEL = 250  # of 255; what JPEG leaves of white
CEILINGS = (2**12 - 1, 2**14 - 1, 2**16 - 1)  # [counts] of the sensors' usual depths
SATURATED_SHARE = 0.9
PERCENTILE = 0.01  # of the pixels lie beyond either end of the range that shows a shutter
SURE = 2  # times as many pixels as decide
GREY_LEVELS = 2  # between channels, which a codec leaves


@dataclass(frozen=True)
class Condition:
    """What is known of a pair's fitness."""

    sensors: tuple[Sensor, ...]  # whose frames the answer rests on
    flags: tuple[str, ...] = ()  # such as infrared_frozen; empty: nothing is wrong
    skew: Skew = "unknown"
    skew_ms: float | None = None  # how much later infrared was taken; None: no timestamps


@dataclass
class StreamHistory:
    """What a stream's last pairs left behind."""

    digests: dict[Sensor, bytes] = field(default_factory=dict)
    gain: GainState | None = None  # of its 16-bit infrared
    stamps: dict[Sensor, StampMemory] = field(default_factory=dict)
    tracks: ObjectTracks = field(default_factory=ObjectTracks)
    unknown: UnknownObjects = field(default_factory=UnknownObjects)
    registrar: StreamRegistrar = field(default_factory=StreamRegistrar)

    def forget(self) -> None:
        """Clear everything except the stamps, and where the rig holds its cameras."""
        self.digests.clear()
        self.gain = None
        self.tracks.forget()
        self.unknown.forget()
        self.registrar.renew("jump")


@dataclass(frozen=True)
class CheckLimits:
    """The limits of a fit pair, and what is known of the infrared frame besides its pixels."""

    max_skew_ms: float
    max_invalid: float = 1.0  # share of the infrared pixels
    bits: int | None = None  # of the infrared counts, if stated
    shutter: bool = False  # what the camera says itself
    same_stamps: bool = False  # they were judged with the pair before, of the same request


def check_pair(
    frames: Mapping[Sensor, Pixels | None],
    stamps_ns: Stamps,
    bounds: CheckLimits,
    memory: StreamHistory | None,
    validity: Validity | None,
) -> Condition:
    """
    Check the frames of a pair; with the memory of their stream, compare them with earlier pairs.

    `validity` is that of infrared. A jump of the stamps clears the memory.
    """
    stamp_flags = list(_stamp_flags(stamps_ns, None if bounds.same_stamps else memory))
    faults = {s: _fault(s, pixels, memory, validity, bounds) for s, pixels in frames.items()}
    if bounds.shutter and faults["infrared"] != "missing":
        faults["infrared"] = "shutter"
    flags = [f"{sensor}_{fault}" for sensor, fault in faults.items() if fault]
    if validity and validity.share > bounds.max_invalid and faults["infrared"] not in BLIND:
        flags.append("infrared_invalid")
    skew, skew_ms = _skew(stamps_ns, bounds.max_skew_ms)
    if skew == "beyond":
        flags.append("skewed")
    sensors = tuple(sensor for sensor in SENSORS if faults[sensor] not in BLIND)
    return Condition(sensors, tuple(flags + stamp_flags), skew, skew_ms)


def is_grey(pixels: Pixels | None) -> bool:
    """Whether there is a visible picture (H, W, 3), and it has no colour, as a thermal camera's."""
    if pixels is None:
        return False
    few = pixels[::8, ::8]  # all of them would take half as long as the network
    return bool((few.max(axis=2) - few.min(axis=2)).max() <= GREY_LEVELS)


def _stamp_flags(stamps_ns: Stamps, memory: StreamHistory | None) -> Iterator[str]:
    """Flags for stamps that cannot be right; a jump clears the memory."""
    wrong = wrong_units(*stamps_ns)
    for sensor, stamp_ns, unit in zip(SENSORS, stamps_ns, wrong, strict=True):
        if stamp_ns is None:
            continue
        fault = None
        if memory is not None:
            fault = stamp_fault(stamp_ns, memory.stamps.setdefault(sensor, StampMemory()))
        if unit:
            yield f"{sensor}_unit"
        elif fault:
            yield f"{sensor}_{fault}"
        if fault == "jump" and memory is not None:
            memory.forget()


def _fault(
    sensor: Sensor,
    pixels: Pixels | None,
    memory: StreamHistory | None,
    validity: Validity | None,
    bounds: CheckLimits,
) -> Fault | None:
    if pixels is None:
        return "missing"
    frozen = memory is not None and _repeats(sensor, pixels, memory)
    heat = validity if sensor == "infrared" else None
    if surely_shows(pixels, heat):
        return "frozen" if frozen else None
    black, ceiling, looked_at = _extremes(pixels, heat, bounds)
    if black >= BLACK_SHARE * looked_at:
        return "black"
    if ceiling >= SATURATED_SHARE * looked_at:
        return "saturated"
    if heat and shows_shutter(pixels, heat):
        return "shutter"
    return "frozen" if frozen else None


def surely_shows(pixels: Pixels, validity: Validity | None) -> bool:
    """
    Whether a quarter of the pixels excludes a black, saturated or shut frame of 8 bit.

    It decides nearly every frame, in half of the time of the checks that decide the others.
    """
    if pixels.dtype != np.uint8 or (validity and validity.invalid is not None):
        return False
    looked_at = pixels[::EVERY] if validity is None else pixels
    few, size = looked_at[::EVERY], looked_at.size
    middle = int(cv2.mean(few)[0])
    needed = (
        (few > max(middle, BLACK_LEVEL), max(PERCENTILE, 1 - BLACK_SHARE)),
        (few < middle - MAX_SPREAD["uint8"], PERCENTILE),
        (few < CEILING_LEVEL, 1 - SATURATED_SHARE),
    )
    return all(_how_many(chosen) > SURE * share * size for chosen, share in needed)


def _extremes(
    pixels: Pixels, validity: Validity | None, bounds: CheckLimits
) -> tuple[int, int, int]:
    """How many pixels are black, are at a value that no pixel exceeds, and are looked at."""
    if validity is None:  # two comparisons take a third of a histogram's time
        rows = pixels[::EVERY]
        black, white = _how_many(rows <= BLACK_LEVEL), _how_many(rows >= CEILING_LEVEL)
        return black, white, rows.size
    counts, levels = validity.histogram, pixels.dtype == np.uint8
    stated = CEILINGS if bounds.bits is None else (2**bounds.bits - 1,)
    ceilings = range(CEILING_LEVEL, 256) if levels else stated
    darkest = counts[: BLACK_LEVEL + 1] if levels else counts[:1]
    reached = sum(int(counts[value]) for value in ceilings if value < counts.size)
    return int(darkest.sum()), reached, int(counts.sum())


def _how_many(chosen: NDArray[np.bool_]) -> int:
    return cv2.countNonZero(chosen.view(np.uint8).reshape(-1))  # in half of NumPy's time


def _repeats(sensor: Sensor, pixels: Pixels, memory: StreamHistory) -> bool:
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
