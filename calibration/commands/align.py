"""Aligns the pairs of a recording to the visible view, for training, quantize and verify."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from segmif.files import synced_at_end
from segmif.geometry.alignment import Alignment, align, check_sizes
from segmif.geometry.rig import Homography, Rig, read_rig
from segmif.imaging.codecs import Pixels, infrared_levels, read_counts, read_visible, write_png
from segmif.thermal.camera_profile import CameraProfile
from segmif.thermal.invalid_counts import stated_invalid

from ..io.recordings import add_recording_arguments, list_pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recording_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for visible/ and infrared/"
    )
    parser.add_argument("--gain", action="store_true", help="write 16-bit infrared as 8-bit levels")


def main(args: argparse.Namespace) -> int:
    rig = read_rig(args.rig)
    warp, pairs = align(rig, args.depth_m), list_pairs(args)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ValueError(f"{args.out} is not empty: name a new folder")
    for name in ("visible", "infrared"):
        (args.out / name).mkdir(parents=True)
    with synced_at_end():
        for visible, infrared in tqdm(pairs, desc="pairs", disable=None):
            depth = write_aligned(rig, warp, visible, infrared, args.out, gain=args.gain)
    print(
        f"{args.out}: {len(pairs)} pairs; infrared has {depth} bit, sees {warp.seen.mean():.0%} of "
        "the visible view and is 0 elsewhere"
    )
    return 0


def write_aligned(
    rig: Rig | Homography,
    warp: Alignment,
    visible: Path,
    infrared: Path,
    out: Path,
    *,
    gain: bool = False,
) -> int:
    """
    Writes OUT/visible/NAME.png and OUT/infrared/NAME.png of one size; returns infrared's bits.

    Infrared is white hot, and 0 means "not measured". 16-bit counts stay counts, so the reader
    chooses the gain. With `gain` they become levels before the warp, as in the service.
    Raises ValueError for frames of other sizes than the rig's, ImageError for unreadable frames.
    """
    profile = rig.frames.infrared
    colour, raw = read_visible(visible, rig.frames.visible), read_counts(infrared, profile)
    try:
        check_sizes(rig, colour.shape[1::-1], raw.shape[1::-1])
    except ValueError as error:
        raise ValueError(f"{visible} and {infrared}: {error}") from error
    aligned: Pixels
    if raw.dtype == np.uint16 and not gain:
        counts = white_hot(raw, profile)
        aligned = warp.apply(counts)
        # A mixture of counts and "not measured" is no count.
        aligned[warp.apply(np.where(counts == 0, 0, 255).astype(np.uint8)) < 255] = 0
    else:
        aligned = warp.apply(infrared_levels(raw, profile=profile).pixels)
    write_png(out / "visible" / f"{visible.stem}.png", colour)
    write_png(out / "infrared" / f"{visible.stem}.png", aligned)
    return 8 * aligned.itemsize


def white_hot(raw: Pixels, profile: CameraProfile) -> NDArray[np.uint16]:
    """Counts (H, W) as of a white hot camera; 0 for counts that the profile states as invalid."""
    counts = raw.astype(np.uint16)
    invalid = stated_invalid(counts, profile)
    if profile.polarity == "black_hot":
        counts = np.uint16(2 ** (profile.bits or 16) - 1) - counts
    if invalid is not None:
        counts[invalid > 0] = 0
    return counts
