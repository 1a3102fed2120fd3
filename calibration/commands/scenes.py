"""Makes a rig file without a board, from people and vehicles that pass before both cameras."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from segmif.argument_types import FloatRange
from segmif.geometry.alignment import align, check_sizes
from segmif.geometry.rig import Homography, Rig, read_rig, write_rig
from segmif.sources.open_source import local_path
from segmif.spared_inputs import check_spared
from segmif.thermal.camera_profile import Cameras

from ..io.live_sources import add_pairing_arguments, live_pairs
from ..io.recordings import add_camera_arguments, cameras_from_args, print_notes, telemetry_hint
from ..scenes.estimate import SceneFit, Scenes, fit_scenes
from ..scenes.plane_model import homography, homography_model, rig_model, turned
from ..scenes.recording import collect

UNKNOWN = "the lenses, the baseline, and where infrared lies of what stands off that plane"
UNKNOWN_OF_RIG = "the length of the baseline, which stays that of the rig file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("visible", "infrared"):
        parser.add_argument(
            f"--{name}",
            required=True,
            help="a camera's number, a stream's address, a recording, or a folder of frames",
        )
    parser.add_argument(
        "--rig",
        type=Path,
        help="a calibrated rig of these cameras that has moved: its lenses and baseline are kept "
        "and T_infrared_visible turned; else the rig file has a homography",
    )
    parser.add_argument(
        "--minutes",
        type=FloatRange(0, 1440),
        default=10.0,
        help="to read at most (%(default)s); Ctrl-C ends it sooner",
    )
    add_pairing_arguments(parser, 0.0, "folders that fill")
    add_camera_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="the rig file to write")


def main(args: argparse.Namespace) -> int:
    rig = calibrated(args.rig) if args.rig else None
    cameras = cameras_from_args(args)
    if rig:
        cameras = cameras.over(rig.frames)
    check_spared([args.out], filter(None, map(local_path, (args.visible, args.infrared))))
    tolerance_ns = round(args.tolerance_ms * 1e6)
    pairs = live_pairs(args.visible, args.infrared, tolerance_ns, args.patience_s)
    scenes = collect(pairs, cameras, 60 * args.minutes)
    print_notes(telemetry_hint(scenes.sizes[1][::-1], cameras.infrared))
    if rig:
        check_sizes(rig, *scenes.sizes)
    found = fit_scenes(scenes, rig_model(rig) if rig else homography_model(scenes.sizes))
    made = solved(found, scenes, rig, cameras)
    align(made)  # raises ValueError for one that shows nothing
    write_rig(args.out, made)
    print("\n".join([f"{args.out}: {made.source}", *facts(found, rig)]))
    return 0


def calibrated(path: Path) -> Rig:
    """The rig of a file; raises ValueError for a homography."""
    rig = read_rig(path)
    if isinstance(rig, Homography):
        raise ValueError(
            f"{path} has a homography and no lenses: leave --rig out to make another one, or give "
            "a rig file by `segmif calibrate solve`"
        )
    return rig


def solved(found: SceneFit, scenes: Scenes, rig: Rig | None, cameras: Cameras) -> Rig | Homography:
    """The rig that a fit is of, with its provenance."""
    numbers = found.fit.numbers
    what = "a homography" if rig is None else "T_infrared_visible turned"
    source = (
        f"{what} by {found.targets} sightings of {found.tracks} persons and vehicles in "
        f"{len(scenes.visible)} pairs; half of the frame is within {found.median_px:.1f} px of "
        f"visible and 95 % of it within {found.most_px:.1f} px, each at 95 %"
    )
    if rig is None:
        return Homography(*scenes.sizes, homography(numbers, scenes.sizes), cameras, source)
    return replace(rig, T_infrared_visible=turned(rig, numbers), source=source, frames=cameras)


def facts(found: SceneFit, rig: Rig | None) -> list[str]:
    """What a fit rests on, and what it does not know, in sentences."""
    told = [
        f"the edges of the targets are {found.residual_px:.2f} px of infrared off (median)",
        "it holds for the plane on which they moved; not known from scenes: "
        + (UNKNOWN_OF_RIG if rig else UNKNOWN),
    ]
    if rig:
        std = float(np.degrees(np.sqrt(np.trace(found.fit.covariance[:3, :3]))))
        told.append(f"the rotation is known to {std:.2f} degrees (one standard deviation)")
    if found.empty:
        told.append(f"nothing moved through {', '.join(found.empty)}: there the map is extended")
    return told
