"""Recordings: folders of pairs, and what the command line states of their frames."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segmif import folders
from segmif.argument_types import FloatRange
from segmif.files import read_frame
from segmif.folders import EVERY
from segmif.imaging.codecs import Pixels, read_visible
from segmif.imaging.headers import read_header
from segmif.imaging.luma import luma
from segmif.imaging.sensor_format import has_telemetry
from segmif.thermal.camera_profile import CameraProfile, Cameras, cameras_from_flat


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that name a rig file, a recording of that rig, and a depth."""
    parser.add_argument("--rig", type=Path, required=True, help="the rig file")
    add_folder_arguments(parser)
    parser.add_argument(
        "--depth-m",
        type=FloatRange(0, np.inf),
        default=np.inf,
        help="distance of most of the scene, metres (%(default)s)",
    )


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that name the two folders of a recording, and how their files are paired."""
    parser.add_argument("--visible", type=Path, required=True, help="folder of colour frames")
    parser.add_argument(
        "--infrared", type=Path, required=True, help="folder of 8/16-bit frames of the same names"
    )
    folders.add_arguments(parser)


def list_folder(folder: Path, pattern: str = EVERY) -> dict[str, Path]:
    """The frames of a folder by name; ValueError for no folder, or for two files of one name."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found = folders.list_frames(folder, pattern)
    if found.ambiguous:
        raise ValueError(found.ambiguous[0])
    print_notes(found.superseded)
    return dict(found.files)


def list_pairs(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """
    The pairs (visible, infrared) that the flags name, sorted by name or as the pairs file has them.

    Files without a partner are printed on stderr. Raises OSError, or ValueError without any pair.
    """
    how = folders.pairing_of(args)
    found = folders.pair_files(args.visible, args.infrared, how)
    print_notes((*found.notes, *found.complaints))
    if not found.pairs:
        raise ValueError(f"no frame in {args.visible} pairs with one in {args.infrared}")
    return [(pair.visible, pair.infrared) for pair in found.pairs]


def check_no_frames(out: Path) -> None:
    """Raise ValueError if OUT/visible or OUT/infrared holds anything: it may be of another rig."""
    for folder in (out / "visible", out / "infrared"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder} is not empty: name a new folder")


def print_notes(sentences: Iterable[str]) -> None:
    """Print sentences on stderr, one a line."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)


CAMERA_OPTIONS = {
    "visible_crop": "pixels to cut from visible: left,top,right,bottom",
    "infrared_crop": "pixels to cut from infrared, such as telemetry: left,top,right,bottom",
    "infrared_polarity": "white_hot or black_hot",
    "infrared_byte_order": "swapped if the two bytes of each count changed places",
    "infrared_invalid": "counts that mean 'not measured': 0,65535",
}


def add_camera_arguments(
    parser: argparse.ArgumentParser, kept: str = "and kept in the rig file"
) -> None:
    """The flags of camera profiles: crop, polarity, byte order, invalid counts."""
    group = parser.add_argument_group(f"what is stated of the cameras, {kept}")
    for name, text in CAMERA_OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", help=text)


def cameras_from_args(args: argparse.Namespace) -> Cameras:
    """What the flags of `add_camera_arguments` state; raises ValueError."""
    return cameras_from_flat(vars(args))


def camera_flags(args: argparse.Namespace) -> list[str]:
    """The flags of `add_camera_arguments` as they were given."""
    given = {name: getattr(args, name) for name in CAMERA_OPTIONS}
    return [f"--{name.replace('_', '-')}={text}" for name, text in given.items() if text]


def telemetry_hint(shape: tuple[int, ...], profile: CameraProfile) -> list[str]:
    """A sentence if an infrared frame (H, W) seems to have telemetry rows and no crop is stated."""
    if profile.crop is not None or not has_telemetry(shape):
        return []
    return ["infrared has the size of a sensor and some rows more: --infrared-crop=0,0,0,ROWS?"]


def swapped_files_hint(visible: Path, infrared: Path) -> list[str]:
    """A sentence if visible is a grey file and infrared a coloured one: probably swapped."""
    channels = [read_header(read_frame(path)).channels for path in (visible, infrared)]
    if channels[0] == 1 and channels[1] > 1:
        return [f"{visible} is grey and {infrared} is not: perhaps the two files are swapped"]
    return []


def read_grey(path: Path, profile: CameraProfile = CameraProfile()) -> Pixels:  # noqa: B008
    """A colour frame as (H, W) uint8 luma; raises ImageError."""
    return luma(read_visible(path, profile))
