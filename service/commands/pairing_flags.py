"""The flags that say how the frames of two cameras pair in time."""

import argparse
from collections.abc import Callable

from segmif.argument_types import FloatRange

from ..live.rig_settings import MAX_OFFSET_MS

WORDS = ("start", "motion")


def add_pairing_arguments(
    parser: argparse._ActionsContainer, largest_ms: float = MAX_OFFSET_MS
) -> None:
    """The flags --offset-ms, up to `largest_ms`, and --tolerance-ms."""
    parser.add_argument(
        "--offset-ms",
        type=_offset(FloatRange(-largest_ms, largest_ms)),
        metavar="MS",
        help="to add to infrared stamps, to bring them to the visible camera's clock; start: both "
        "begin at one moment; motion: find it from the motion that both show (0)",
    )
    parser.add_argument(
        "--tolerance-ms",
        type=FloatRange(0, MAX_OFFSET_MS),
        metavar="MS",
        help="between the frames of a pair at most (half the faster camera's period)",
    )


def _offset(number: FloatRange) -> Callable[[str], float | str]:
    def offset(text: str) -> float | str:
        return text if text in WORDS else number(text)

    return offset
