"""Board frames from files."""

import argparse
from pathlib import Path
from typing import cast

import cv2

from calibration.detect import Raw
from segmif.images import decode_infrared, read_visible

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


def add_recording(parser: argparse.ArgumentParser) -> None:
    """The flags that name a rig file and a recording of that rig."""
    parser.add_argument("--rig", type=Path, required=True, help="the rig file")
    parser.add_argument("--visible", type=Path, required=True, help="folder of colour frames")
    parser.add_argument(
        "--infrared", type=Path, required=True, help="folder of 8/16-bit frames of the same names"
    )


def frames_in(folder: Path) -> dict[str, Path]:
    """The frames of a folder by their names without suffix, sorted; ValueError for no folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}


def read_grey(path: Path) -> Raw:
    """A colour frame as (H, W) uint8 luma; raises ImageError."""
    return cast(Raw, cv2.cvtColor(read_visible(path), cv2.COLOR_RGB2GRAY))


def read_raw(path: Path) -> Raw:
    """An infrared frame (H, W) as the sensor wrote it, uint8 or uint16; raises ImageError."""
    try:
        return decode_infrared(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
