"""Checks of an engine's manifest against this machine and the frames that come."""

from pathlib import Path
from typing import Any

from segmif.runtime.errors import ArtefactError, SizeError

REQUIRED_FACTS = ("tensorrt", "device", "capability", "attention", "plugin_sha256")
DIMENSIONS = ("batch", "height", "width")  # of a profile, each [min, opt, max]


def check_facts(path: Path, facts: dict[str, Any]) -> None:
    """Raises ArtefactError if the facts of an engine are incomplete."""
    profile = facts.get("profile")
    held = profile if isinstance(profile, dict) else {}
    lacking = [name for name in REQUIRED_FACTS if name not in facts]
    lacking += [f"profile.{name}" for name in DIMENSIONS if not _is_range(held.get(name))]
    if lacking:
        raise ArtefactError(
            f"the manifest of {path.name} does not say {', '.join(lacking)} of the engine: "
            "`segmif export engine --rebuild` makes both again"
        )


def _is_range(sizes: object) -> bool:
    return isinstance(sizes, list) and [type(size) for size in sizes] == [int] * 3


def check_machine(built: dict[str, Any], here: dict[str, str]) -> None:
    """Raises ArtefactError if an engine was built for another TensorRT or kind of GPU."""
    for what in ("tensorrt", "capability"):
        if built[what] != here[what]:
            raise ArtefactError(
                f"this engine was built for TensorRT {built['tensorrt']} on {built['device']} "
                f"({built['capability']}); here are TensorRT {here['tensorrt']} and "
                f"{here['device']} ({here['capability']}): `segmif export engine --rebuild` "
                "makes one that fits"
            )


def check_size(profile: dict[str, list[int]], size: tuple[int, ...]) -> None:
    """Raises SizeError if the profile does not hold `size`: batch, height and width."""
    limits = [(name, profile[name][0], profile[name][2]) for name in DIMENSIONS]
    if any(not least <= n <= most for n, (_, least, most) in zip(size, limits, strict=True)):
        takes = ", ".join(f"{name} {least} to {most}" for name, least, most in limits)
        raise SizeError(
            f"frames of batch {size[0]}, {size[1]}x{size[2]}: this engine takes {takes}; "
            "give it such, or build it for others (--batch, --height, --width)"
        )
