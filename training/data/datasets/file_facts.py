"""Facts of frame files beside their pixels, and the doubts that follow from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MUCH_INVALID = 0.01  # of the pixels; the service flags a pair from there on


@dataclass(frozen=True)
class FileFacts:
    """Facts of one frame's file."""

    bits: int = 8  # of a sample in the file
    guessed: bool = False  # how many of them are significant, from the frame's maximum
    rows_too_many: bool = False  # the size of a known sensor and some rows, with no crop stated
    invalid: float = 0.0  # share of the pixels that are no measurement, 0..1


Files = Mapping[str, FileFacts]  # by sensor


def depths_of(pairs: Sequence[Files]) -> dict[str, Counter[int]]:
    """How many frames have how many bits a sample, by sensor."""
    return {
        sensor: Counter(files[sensor].bits for files in pairs if sensor in files)
        for sensor in ("visible", "infrared")
    }


def doubt_counts(pairs: Sequence[Files]) -> dict[str, int]:
    """How many frames were read in a way that the service would flag, by its flag."""
    visible, infrared = (
        [files[sensor] for files in pairs if sensor in files] for sensor in ("visible", "infrared")
    )
    return {
        "visible_bits_guessed": sum(each.guessed for each in visible),
        "infrared_telemetry": sum(each.rows_too_many for each in infrared),
        "infrared_invalid": sum(each.invalid > MUCH_INVALID for each in infrared),
    }


def most_invalid(pairs: Sequence[Files]) -> float:
    """The largest share of an infrared frame that is no measurement, 0..1."""
    return max((files["infrared"].invalid for files in pairs if "infrared" in files), default=0.0)


def doubt_notes(pairs: Sequence[Files]) -> list[str]:
    """A sentence on each kind of doubt, with what to state in dataset.toml."""
    doubts, of = doubt_counts(pairs), len(pairs)
    said = {
        "visible_bits_guessed": "visible files do not say how many of their 16 bits are "
        "significant: the least that hold each maximum were taken. State bits in [frames.visible] "
        "of dataset.toml",
        "infrared_telemetry": "infrared frames have the size of a known sensor and some rows "
        "more: telemetry? State crop in [frames.infrared] of dataset.toml, [0, 0, 0, 0] if all "
        "is picture",
        "infrared_invalid": f"infrared frames have more than {MUCH_INVALID:.0%} of pixels without "
        f"measurement, up to {most_invalid(pairs):.1%}: they are filled. Look at them, and state "
        "crop or invalid in [frames.infrared] of dataset.toml",
    }
    return [f"{count} of {of} {said[flag]}." for flag, count in doubts.items() if count]
