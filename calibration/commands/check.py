"""Checks from a recording of any scene whether the cameras still stand as the rig file states."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segmif.argument_types import FloatRange
from segmif.geometry.alignment import align, check_sizes, parallax_direction
from segmif.geometry.registration import MIN_PAIRS, WINDOW_PAIRS, Drift, DriftMonitor
from segmif.geometry.rig import Homography, read_rig, write_rig
from segmif.imaging.codecs import infrared_levels, read_counts, read_visible
from segmif.imaging.luma import luma

from ..io.recordings import add_recording_arguments, list_pairs

MOVED = 3  # exit code; errors have 1, and argparse ends with 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"Exit code: 0 if the rig stands as calibrated, {MOVED} if it moved, 1 if it could not be "
        "checked."
    )
    add_recording_arguments(parser)
    parser.add_argument(
        "--limit-px",
        type=FloatRange(0, 1e6),
        default=3.0,
        help="drift that is reported, pixels of the visible frame (%(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="a rig file by `segmif calibrate pick`, refined by what the scenes show, to write",
    )


def main(args: argparse.Namespace) -> int:
    rig = read_rig(args.rig)
    if args.out and not isinstance(rig, Homography):
        raise ValueError(
            f"{args.rig} is a solved rig: scenes refine only a rig file by `segmif calibrate pick`"
        )
    warp = align(rig, args.depth_m)
    watch = DriftMonitor(parallax_direction(rig), args.limit_px)
    pairs = list_pairs(args)
    drift: Drift | None = None
    # Evenly over the recording, since neighbours show the same scene.
    chosen = np.unique(np.linspace(0, len(pairs) - 1, WINDOW_PAIRS).round().astype(int))
    for index in tqdm(chosen.tolist(), desc="pairs", disable=None):
        visible = read_visible(pairs[index][0], rig.frames.visible)
        infrared = read_counts(pairs[index][1], rig.frames.infrared)
        check_sizes(rig, visible.shape[1::-1], infrared.shape[1::-1])
        levels = infrared_levels(infrared, profile=rig.frames.infrared).pixels
        drift = watch.see(luma(visible), warp.apply(levels))
    if drift is None:
        raise ValueError(
            f"fewer than {MIN_PAIRS} of {len(chosen)} pairs show structure in both spectra: record "
            "more of it, or a scene with more edges"
        )
    print(drift)
    if args.out and isinstance(rig, Homography):
        A = np.vstack([watch.correction(*rig.visible_size), [0, 0, 1]])
        refined = replace(rig, H_infrared_visible=rig.H_infrared_visible @ A)
        align(refined)  # raises ValueError for one that shows nothing
        write_rig(args.out, refined)
        print(f"{args.out}: refined by {drift.residual_px:.1f} px")
    return MOVED if drift.moved else 0
