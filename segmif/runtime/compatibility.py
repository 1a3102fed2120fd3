"""Checks of an engine's manifest against this machine and the frames that come."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segmif.runtime import tensorrt_rtx_ as rtx
from segmif.runtime.errors import ArtefactError, SizeError

Ranges = dict[str, list[int]]  # of batch, height and width, each [min, opt, max]

REQUIRED_FACTS = ("tensorrt", "device", "capability", "attention", "plugin_sha256")
DIMENSIONS = ("batch", "height", "width")  # of a profile


def check_facts(path: Path, facts: dict[str, Any]) -> None:
    """Raises ArtefactError if the facts of an engine are incomplete."""
    lacking = [name for name in REQUIRED_FACTS if name not in facts]
    lacking += [f"profile.{name}" for name in _missing_ranges(facts.get("profile"))]
    profiles = facts.get("profiles")
    if not isinstance(profiles, list) or not profiles or any(map(_missing_ranges, profiles)):
        lacking.append("profiles")
    if lacking:
        raise ArtefactError(
            f"the manifest of {path.name} does not say {', '.join(lacking)} of the engine: "
            "`segmif export engine --rebuild` makes both again"
        )


def _missing_ranges(profile: object) -> list[str]:
    held = profile if isinstance(profile, dict) else {}
    return [name for name in DIMENSIONS if not _is_range(held.get(name))]


def _is_range(sizes: object) -> bool:
    return isinstance(sizes, list) and [type(size) for size in sizes] == [int] * 3


def check_machine(built: dict[str, Any], here: dict[str, str]) -> None:
    """Raises ArtefactError if an engine was built for another TensorRT or model of GPU."""
    if built["device"] == rtx.CARDS:
        rtx.check_card(built["tensorrt"], here["tensorrt"], here["capability"], here["device"])
        return
    for what in ("tensorrt", "capability", "device"):
        if built[what] != here[what]:
            raise ArtefactError(
                f"this engine was built for TensorRT {built['tensorrt']} on {built['device']} "
                f"({built['capability']}); here are TensorRT {here['tensorrt']} and "
                f"{here['device']} ({here['capability']}): `segmif export engine --rebuild` "
                "makes one that fits"
            )


def profile_of(profiles: Sequence[Ranges], size: tuple[int, ...]) -> int:
    """The first of an engine's profiles that holds `size`; raises SizeError if none does."""
    for number, profile in enumerate(profiles):
        if _holds(profile, size):
            return number
    raise SizeError(f"no profile of this engine holds {size}: {profiles}")


def _holds(profile: Ranges, size: tuple[int, ...]) -> bool:
    ranges = (profile[name] for name in DIMENSIONS)
    return all(low <= n <= high for n, (low, _, high) in zip(size, ranges, strict=True))


def check_size(profile: Ranges, size: tuple[int, ...]) -> None:
    """Raises SizeError if the profile does not hold `size`: batch, height and width."""
    if not _holds(profile, size):
        limits = [(name, profile[name][0], profile[name][2]) for name in DIMENSIONS]
        takes = ", ".join(f"{name} {least} to {most}" for name, least, most in limits)
        raise SizeError(
            f"frames of batch {size[0]}, {size[1]}x{size[2]}: this engine takes {takes}; "
            "give it such, or build it for others (--batch, --height, --width)"
        )
