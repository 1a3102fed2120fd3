"""Board frames from files."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import cv2

from segmif import folders
from segmif.files import read_frame
from segmif.folders import EVERY
from segmif.imaging.codecs import read_counts, read_visible
from segmif.imaging.headers import read_header
from segmif.imaging.sensor_format import has_telemetry
from segmif.thermal.camera_profile import CameraProfile, Cameras, cameras_from_flat

from ..boards.detection import Raw


def add_recording(parser: argparse.ArgumentParser) -> None:
    """The flags that name a rig file and a recording of that rig."""
    parser.add_argument("--rig", type=Path, required=True, help="the rig file")
    parser.add_argument("--visible", type=Path, required=True, help="folder of colour frames")
    parser.add_argument(
        "--infrared", type=Path, required=True, help="folder of 8/16-bit frames of the same names"
    )
    folders.add_arguments(parser)


def frames_in(folder: Path, pattern: str = EVERY) -> dict[str, Path]:
    """The frames of a folder by the names that fit; ValueError for no folder and for doubles."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found = folders.list_frames(folder, pattern)
    if found.ambiguous:
        raise ValueError(found.ambiguous[0])
    say(found.passed_over)
    return dict(found.files)


def paired(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """
    The pairs (visible, infrared) that the flags name, sorted by name or as the pairs file has them.

    What has no partner is said on stderr. Raises ValueError where nothing pairs, or OSError.
    """
    how = folders.pairing_of(args)
    found = folders.pair_files(args.visible, args.infrared, how)
    say((*found.notes, *found.complaints))
    if not found.pairs:
        raise ValueError(f"no frame in {args.visible} pairs with one in {args.infrared}")
    return [(pair.visible, pair.infrared) for pair in found.pairs]


def say(sentences: Iterable[str]) -> None:
    """Prints what is to be known of the files, a line each, on stderr."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)


STATED = {
    "visible_crop": "pixels to cut from visible: left,top,right,bottom",
    "infrared_crop": "pixels to cut from infrared, such as telemetry: left,top,right,bottom",
    "infrared_polarity": "white_hot or black_hot",
    "infrared_byte_order": "swapped if the two bytes of each count changed places",
    "infrared_invalid": "values that mean 'not measured': 0,65535",
}


def add_cameras(parser: argparse.ArgumentParser, kept: str = "and kept in the rig file") -> None:
    """The flags that state which part of the frames is picture, and how to read the counts."""
    group = parser.add_argument_group(f"what is stated of the cameras, {kept}")
    for name, text in STATED.items():
        group.add_argument(f"--{name.replace('_', '-')}", help=text)


def cameras_of(args: argparse.Namespace) -> Cameras:
    """What the flags of `add_cameras` state; raises ValueError."""
    return cameras_from_flat(vars(args))


def camera_words(args: argparse.Namespace) -> list[str]:
    """The flags of `add_cameras` as they were given."""
    given = {name: getattr(args, name) for name in STATED}
    return [f"--{name.replace('_', '-')}={text}" for name, text in given.items() if text]


def hint_of_rows(shape: tuple[int, ...], profile: CameraProfile) -> list[str]:
    """A sentence if an infrared frame (H, W) seems to have rows of telemetry, and no crop."""
    if profile.crop is not None or not has_telemetry(shape):
        return []
    return ["infrared has the size of a sensor and some rows more: --infrared-crop=0,0,0,ROWS?"]


def hint_of_order(visible: Path, infrared: Path) -> list[str]:
    """A sentence if visible is a grey file and infrared one of colours, which is rarely meant."""
    channels = [read_header(read_frame(path)).channels for path in (visible, infrared)]
    if channels[0] == 1 and channels[1] > 1:
        return [f"{visible} is grey and {infrared} is not: perhaps the two files are swapped"]
    return []


def read_grey(path: Path, profile: CameraProfile = CameraProfile()) -> Raw:  # noqa: B008
    """A colour frame as (H, W) uint8 luma; raises ImageError."""
    return cast(Raw, cv2.cvtColor(read_visible(path, profile), cv2.COLOR_RGB2GRAY))


def read_raw(path: Path, profile: CameraProfile = CameraProfile()) -> Raw:  # noqa: B008
    """The infrared picture (H, W) as the sensor wrote it, uint8 or uint16; raises ImageError."""
    return read_counts(path, profile)
