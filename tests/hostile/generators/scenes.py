"""Pairs as cameras really send them: each with the flags and the picture that are right."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.imaging.codecs import encode_png, read_infrared, read_visible

Array = NDArray[Any]
Said = dict[str, Any]  # of a pair: fields of `meta`

SAMPLE = Path(__file__).parents[3] / "service" / "web" / "samples" / "night"
VISIBLE = np.ascontiguousarray(read_visible(SAMPLE / "visible.png")[::2, ::2])
LEVELS = read_infrared(SAMPLE / "infrared.png")[::2, ::2]  # a street by night with persons
COUNTS = (29_000 + 6 * LEVELS.astype(int)).astype(np.uint16)
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


@dataclass(frozen=True)
class Scene:
    """
    Pairs of one stream, and what is right of the last: its flags, and whether it is like COUNTS.

    `flags` are exactly those of the last answer. `refused` is part of the sentence that refuses it.
    """

    name: str
    pairs: Callable[[], list[tuple[Array, Array, Said]]]
    flags: frozenset[str] = frozenset()
    refused: str | None = None
    like_counts: bool = True  # window and persons are those of COUNTS as they are
    invalid: tuple[float, float] = field(default=(0.0, 0.001))  # from, to: share of the pixels


def once(infrared: Array, **said: Any) -> Callable[[], list[tuple[Array, Array, Said]]]:
    """One pair."""
    return lambda: [(VISIBLE, infrared, said)]


def replaced(value: int, share: float) -> Array:
    """Counts of which a share, here and there, is a value that is no measurement."""
    random = np.random.default_rng(7)
    return np.where(random.random(COUNTS.shape) < share, value, COUNTS).astype(np.uint16)


def rotated() -> Array:
    """Counts as a rectification leaves them: turned by three degrees, zeros at the border."""
    height, width = COUNTS.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 1)
    return np.asarray(cv2.warpAffine(COUNTS, turn, (width, height), flags=cv2.INTER_NEAREST))


def with_rows(rows: int) -> Array:
    """A frame of 256x192 with rows of telemetry under it."""
    small = cv2.resize(COUNTS, (256, 192), interpolation=cv2.INTER_NEAREST)
    telemetry = np.random.default_rng(3).integers(0, 65_536, (rows, 256))
    return np.vstack([small, telemetry]).astype(np.uint16)


def plate() -> Array:
    """A closed shutter: one temperature, and the noise of the sensor."""
    noise = np.random.default_rng(5).normal(0, 2, COUNTS.shape)
    return (29_500 + noise).round().astype(np.uint16)


def stamped(*stamps_ns: int) -> Callable[[], list[tuple[Array, Array, Said]]]:
    """Pairs of one stream that differ, with these stamps of both cameras."""

    def pairs() -> list[tuple[Array, Array, Said]]:
        return [
            (
                np.roll(VISIBLE, index, 1),
                np.roll(COUNTS, index, 1),
                {"visible_ns": stamp, "infrared_ns": stamp},
            )
            for index, stamp in enumerate(stamps_ns)
        ]

    return pairs


def after_odd_frames() -> list[tuple[Array, Array, Said]]:
    """Frames of a stream with one of zeros' border between: smoothing keeps nothing of it."""
    frames = [COUNTS, np.roll(COUNTS, 1), replaced(0, 0.1), np.roll(COUNTS, 2)]
    return [(np.roll(VISIBLE, index, 1), frame, {}) for index, frame in enumerate(frames)]


def flags(*names: str) -> frozenset[str]:
    """Flags of a report."""
    return frozenset(names)


BOTH_LATE = flags("visible_late", "infrared_late")
HOT = np.where(np.hypot(*(np.indices(COUNTS.shape) - 100)) < 25, 45_000, COUNTS).astype(np.uint16)
TENTHS = (2_930 + LEVELS.astype(int) // 8).astype(np.uint16)  # 0.1 K a count: 32 counts in all

SCENES = [
    Scene("counts", once(COUNTS)),
    Scene("zeros_around_after_a_rotation", once(rotated()), flags("infrared_invalid"),
          invalid=(0.01, 0.12)),
    Scene("no_data_65535", once(replaced(65_535, 0.0125)), flags("infrared_invalid"),
          invalid=(0.005, 0.02)),
    Scene("a_tenth_zeros", once(replaced(0, 0.1)), flags("infrared_invalid"),
          invalid=(0.05, 0.12)),
    Scene("zeros_in_a_stream", after_odd_frames),
    Scene("black_hot_as_stated", once(COUNTS.max() - COUNTS + 29_000,
          infrared_polarity="black_hot"), like_counts=False),
    Scene("telemetry_under_the_picture", once(with_rows(4)), flags("infrared_telemetry",
          "infrared_invalid"),
          like_counts=False, invalid=(0.0, 0.1)),
    Scene("telemetry_cut_as_stated", once(with_rows(4), infrared_crop="0,0,0,4"),
          like_counts=False),
    Scene("bytes_swapped", once(COUNTS.byteswap()), refused="swap"),
    Scene("tenths_of_a_kelvin", once(TENTHS), like_counts=False),
    Scene("closed_shutter", once(plate()), flags("infrared_shutter"), like_counts=False),
    Scene("hot_chimney", once(HOT), like_counts=False),
    Scene("stamps_that_go_on", stamped(START, START + SECOND // 10, START + SECOND // 5)),
    Scene("stamps_that_go_back", stamped(START, START + SECOND, START + SECOND // 2), BOTH_LATE),
    Scene("stamps_that_repeat", stamped(START, START + SECOND, START + SECOND),
          flags("visible_repeated", "infrared_repeated")),
    Scene("stamps_of_a_bag_that_loops", stamped(START, START + 60 * SECOND, START),
          flags("visible_jump", "infrared_jump")),
    Scene("stamps_of_a_clock_that_was_set", stamped(START, START + SECOND // 10, START + 10**16),
          flags("visible_jump", "infrared_jump")),
    Scene("stamps_in_milliseconds", lambda: [(VISIBLE, COUNTS,
          {"visible_ns": START, "infrared_ns": START // 10**6})],
          flags("infrared_unit", "skewed")),
]  # fmt: skip


def as_files(visible: Array, infrared: Array) -> dict[str, bytes]:
    """A pair as PNG."""
    return {"visible": encode_png(visible), "infrared": encode_png(infrared)}
