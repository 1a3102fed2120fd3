"""Render street scenes: DIR/{visible,infrared,label}/NAME.png, day and night by turns."""

import argparse
import re
from pathlib import Path

from tqdm import tqdm

from segmif.argument_types import IntegerRange
from segmif.files import synced_at_end
from segmif.imaging.codecs import write_png

from .scenes import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--count", type=_positive, default=100, help="scenes (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=IntegerRange(0, 2**32 - 1),
        default=0,
        help="of the first scene; the next has the next",
    )
    parser.add_argument(
        "--size", type=_size, default=(480, 640), metavar="HxW", help="in pixels (default: 480x640)"
    )


def main(args: argparse.Namespace) -> int:
    """Write the scenes; names end in D or N for day or night, as those of MFNet do."""
    height, width = args.size
    for kind in ("visible", "infrared", "label"):
        (args.out / kind).mkdir(parents=True, exist_ok=True)
    with synced_at_end():
        for seed in tqdm(range(args.seed, args.seed + args.count), unit="scene"):
            night = seed % 2 == 1
            scene = render(seed, height, width, night)
            name = f"{seed:05d}{'N' if night else 'D'}.png"
            write_png(args.out / "visible" / name, scene.visible)
            write_png(args.out / "infrared" / name, scene.infrared)
            write_png(args.out / "label" / name, scene.labels)
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of scenes: give 1 or more")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or min(size := (int(match[1]), int(match[2]))) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give HEIGHTxWIDTH, 32x32 or more")
    return size
