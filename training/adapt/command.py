"""
Adapt weights to a recording of another rig, without labels.

Its flags can be read in the base install. The work itself, in `run`, needs torch.
"""

import argparse
from pathlib import Path

from segmif.argument_types import FloatRange, IntegerRange

METHODS = ("statistics", "teach")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif train adapt`."""
    parser.add_argument(
        "--from", type=Path, dest="start", required=True, metavar="WEIGHTS", help="to start from"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with visible/ and infrared/ of one rig"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="statistics",
        help="estimate the statistics of the norms anew, or go on to learn from the network's own "
        "confident pixels [statistics]",
    )
    parser.add_argument("--out", type=Path, help="weights to write [FOLDER-VARIANT.safetensors]")
    parser.add_argument(
        "--minutes", type=FloatRange(0, 10_000), default=30, help="of learning at most [30]"
    )
    parser.add_argument(
        "--steps", type=IntegerRange(1), default=1000, help="of learning at most [1000]"
    )
    parser.add_argument("--seed", type=IntegerRange(0), default=0, help="of what is drawn [0]")
    parser.add_argument("--report", type=Path, metavar="JSON", help="what the check found")


def main(args: argparse.Namespace) -> int:
    """Adapt as the arguments say; gives the exit code."""
    from . import run

    return run.main(args)
