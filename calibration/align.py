"""Brings a recording into the visible camera's own pixels: pairs for training, quantize, verify."""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from calibration.frames import add_recording, paired, read_raw
from segmif.alignment import Alignment, align, check_sizes
from segmif.images import infrared_levels, read_visible, write_png
from segmif.rig import Homography, Rig, read_rig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recording(parser)
    parser.add_argument(
        "--depth-m", type=float, default=np.inf, help="of the plane to align [%(default)s]"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for visible/ and infrared/"
    )


def main(args: argparse.Namespace) -> int:
    rig = read_rig(args.rig)
    warp, pairs = align(rig, args.depth_m), paired(args)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ValueError(f"{args.out} is not empty: name a new folder")
    for name in ("visible", "infrared"):
        (args.out / name).mkdir(parents=True)
    for visible, infrared in tqdm(pairs, desc="pairs", disable=None):
        write_aligned(rig, warp, visible, infrared, args.out)
    print(
        f"{args.out}: {len(pairs)} pairs; infrared sees {warp.seen.mean():.0%} of the visible "
        "view and is black elsewhere"
    )
    return 0


def write_aligned(
    rig: Rig | Homography, warp: Alignment, visible: Path, infrared: Path, out: Path
) -> None:
    """
    Writes OUT/visible/NAME.png and OUT/infrared/NAME.png, 8 bit, of one size.

    The gain of 16-bit infrared comes before the warp, as in the service. Raises ValueError for
    frames of other sizes than the rig's, ImageError for what is no frame.
    """
    colour, raw = read_visible(visible), read_raw(infrared)
    try:
        check_sizes(rig, colour.shape[1::-1], raw.shape[1::-1])
    except ValueError as error:
        raise ValueError(f"{visible} and {infrared}: {error}") from error
    write_png(out / "visible" / f"{visible.stem}.png", colour)
    write_png(out / "infrared" / f"{visible.stem}.png", warp.apply(infrared_levels(raw).pixels))
