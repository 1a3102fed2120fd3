"""Says whether a rig still stands as its file says, from a recording of any scene."""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from segmif.argument_types import FloatRange
from segmif.geometry.alignment import align, check_sizes, parallax_direction
from segmif.geometry.registration import ENOUGH, WATCHED, Drift, DriftMonitor
from segmif.geometry.rig import Homography, read_rig, write_rig
from segmif.imaging.codecs import infrared_levels, read_visible

from ..io.recordings import add_recording, paired, read_raw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recording(parser)
    parser.add_argument(
        "--depth-m",
        type=FloatRange(0, np.inf),
        default=np.inf,
        help="of most of the scene (%(default)s)",
    )
    parser.add_argument(
        "--limit-px",
        type=FloatRange(0, 1e6),
        default=3.0,
        help="of the visible frame (%(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, help="a rig file by `pick`, refined by what the scenes show, to write"
    )


def main(args: argparse.Namespace) -> int:
    rig = read_rig(args.rig)
    if args.out and not isinstance(rig, Homography):
        raise ValueError(f"{args.rig} was solved: scenes refine only a rig file by `pick`")
    warp = align(rig, args.depth_m)
    watch = DriftMonitor(parallax_direction(rig), args.limit_px)
    pairs = paired(args)
    drift: Drift | None = None
    # Evenly over the recording: neighbours show the same scene, and tell the same.
    chosen = np.unique(np.linspace(0, len(pairs) - 1, WATCHED).round().astype(int))
    for index in tqdm(chosen.tolist(), desc="pairs", disable=None):
        visible = read_visible(pairs[index][0], rig.frames.visible)
        infrared = read_raw(pairs[index][1], rig.frames.infrared)
        check_sizes(rig, visible.shape[1::-1], infrared.shape[1::-1])
        grey = np.asarray(cv2.cvtColor(visible, cv2.COLOR_RGB2GRAY), np.uint8)
        levels = infrared_levels(infrared, profile=rig.frames.infrared).pixels
        drift = watch.see(grey, warp.apply(levels))
    if drift is None:
        raise ValueError(
            f"fewer than {ENOUGH} of {len(chosen)} pairs show structure in both spectra: record "
            "more of it, or a scene with more edges"
        )
    print(drift)
    if args.out and isinstance(rig, Homography):
        A = np.vstack([watch.correction(*rig.visible_size), [0, 0, 1]])
        refined = replace(rig, H_infrared_visible=rig.H_infrared_visible @ A)
        align(refined)  # raises ValueError for one that shows nothing
        write_rig(args.out, refined)
        print(f"{args.out}: refined by {drift.residual_px:.1f} px")
    return 1 if drift.moved else 0
