"""Pairs the frames of two folders by their time stamps, into a CSV file for --pairs."""

import argparse
import csv
import io
import re
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
from tqdm import tqdm

from segmif import folders
from segmif.argument_types import FloatRange
from segmif.files import write_bytes
from segmif.folders import EVERY
from segmif.geometry.motion import change, downscaled
from segmif.geometry.time_sync import Floats, Offset, Pairs, Stamps, clock_offset, pair
from segmif.imaging.codecs import Pixels, read_counts
from segmif.parsing import brief, read_table
from segmif.sources.timestamps import UNITS, nanoseconds, stamp_of
from segmif.spared_inputs import check_spared
from segmif.thermal.camera_profile import CameraProfile, Cameras
from segmif.thermal.invalid_counts import stated_invalid

from ..io.recordings import add_camera_arguments, cameras_from_args, list_folder, read_grey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--visible", type=Path, required=True, help="folder of colour frames")
    parser.add_argument("--infrared", type=Path, required=True, help="folder of 8/16-bit frames")
    for name in ("visible", "infrared"):
        parser.add_argument(
            f"--{name}-stamps",
            type=Path,
            help="CSV with the columns file and stamp_ns (or _us, _ms, _s); else the file names",
        )
    parser.add_argument(
        "--unit", choices=list(UNITS), help="of stamps in file names; else by their digits"
    )
    parser.add_argument(
        "--tolerance-ms", type=FloatRange(0, 3.6e6), help="default: half a frame period"
    )
    clock = parser.add_mutually_exclusive_group()
    clock.add_argument(
        "--offset-ms", type=FloatRange(-1e15, 1e15), default=0.0, help="to add to infrared stamps"
    )
    clock.add_argument(
        "--offset-from-motion",
        action="store_true",
        help="find it from the motion that both cameras see",
    )
    folders.add_patterns(parser)
    add_camera_arguments(parser, "for --offset-from-motion")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")


def main(args: argparse.Namespace) -> int:
    patterns, cameras = folders.patterns_of(args), cameras_from_args(args)
    visible = frames_by_stamp(args.visible, args.visible_stamps, args.unit, patterns[0])
    infrared = frames_by_stamp(args.infrared, args.infrared_stamps, args.unit, patterns[1])
    tables = [each for each in (args.visible_stamps, args.infrared_stamps) if each]
    check_spared([args.out], [*tables, *visible.values(), *infrared.values()])
    stamps = [np.array(list(each), np.int64) for each in (visible, infrared)]
    offset_ns = round(args.offset_ms * UNITS["ms"])
    if args.offset_from_motion:
        found = offset_from_motion(visible, infrared, cameras)
        offset_ns = found.ns
        print(
            f"offset {found.ns / 1e6:.1f} +/- {found.std_ns / 1e6:.1f} ms to add to infrared "
            f"stamps (the motions correlate by {found.correlation:.2f})"
        )
    tolerance = None if args.tolerance_ms is None else round(args.tolerance_ms * UNITS["ms"])
    pairs = pair(stamps[0], stamps[1], tolerance, offset_ns)
    if not len(pairs.visible):
        raise ValueError(
            f"no two frames are within {pairs.tolerance_ns / 1e6:g} ms: do the clocks differ "
            "(--offset-ms, --offset-from-motion)?"
        )
    names = [[path.name for path in each.values()] for each in (visible, infrared)]
    write_bytes(args.out, as_csv(pairs, names[0], names[1]).encode(errors="surrogateescape"))
    skew = np.abs(pairs.skew_ns) / 1e6
    print(
        f"{len(skew)} pairs within {pairs.tolerance_ns / 1e6:.1f} ms (skew: median "
        f"{np.median(skew):.1f}, largest {skew.max():.1f} ms); unpaired: "
        f"{pairs.visible_unpaired} visible, {pairs.infrared_unpaired} infrared"
    )
    return 0


def frames_by_stamp(
    folder: Path, stamps: Path | None, unit: str | None, pattern: str = EVERY
) -> dict[int, Path]:
    """Frames by their stamps [ns], sorted; raises OSError or ValueError."""
    files = list_folder(folder, pattern)
    if stamps is not None:
        found = _read_stamps(stamps, files)
    else:
        named = ((path.with_name(name + path.suffix), path) for name, path in files.items())
        found = [(stamp_of(name, unit), path) for name, path in named]
    by_stamp = dict(sorted(found))
    if len(by_stamp) < len(found):
        raise ValueError(f"{stamps or folder}: {len(found) - len(by_stamp)} frames share a stamp")
    return by_stamp


def offset_from_motion(
    visible: Mapping[int, Path],
    infrared: Mapping[int, Path],
    cameras: Cameras = Cameras(),  # noqa: B008  frozen
) -> Offset:
    """Clock offset from the motion between frames in either camera; raises as `clock_offset`."""
    grey, raw = (
        partial(read_grey, profile=cameras.visible),
        partial(_read_without_invalid, cameras.infrared),
    )
    first, second = (
        _motion(downscaled(read(path)) for path in tqdm(each.values(), desc=name, disable=None))
        for name, each, read in (("visible", visible, grey), ("infrared", infrared, raw))
    )
    return clock_offset(_between(visible), first, _between(infrared), second)


def as_csv(pairs: Pairs, visible: list[str], infrared: list[str]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["visible", "infrared", "skew_ms"])
    for a, b, skew in zip(pairs.visible, pairs.infrared, pairs.skew_ns, strict=True):
        rows.writerow([visible[a], infrared[b], f"{skew / 1e6:.3f}"])
    return text.getvalue()


def _read_stamps(path: Path, files: Mapping[str, Path]) -> list[tuple[int, Path]]:
    header, rows = read_table(path, ())
    columns = [name for name in header if name in map("stamp_{}".format, UNITS)]
    if "file" not in header or len(columns) != 1:
        raise ValueError(
            f"{path}: expected the columns file and stamp_ns (or stamp_us, stamp_ms, stamp_s), "
            f"got {brief(header)}"
        )
    unit = columns[0].removeprefix("stamp_")
    by_name = {frame.name: frame for frame in files.values()} | dict(files)
    found = []
    for line, row in rows:
        if row["file"] not in by_name:
            raise ValueError(f"{path}, line {line}: no frame {brief(row['file'])!r}")
        text = row[columns[0]]
        if not re.fullmatch(r"\d{1,25}(\.\d{1,25})?", text):
            raise ValueError(f"{path}, line {line}: {brief(text)!r} is not a time in {unit}")
        found.append((nanoseconds(text, unit), by_name[row["file"]]))
    return found


def _read_without_invalid(profile: CameraProfile, path: Path) -> Pixels:
    """An infrared frame (H, W) whose stated invalid pixels have the median of the others."""
    counts = read_counts(path, profile)
    invalid = stated_invalid(counts, profile)
    if invalid is not None and not invalid.all():
        counts[invalid > 0] = np.median(counts[invalid == 0])
    return counts


def _motion(frames: Iterable[Floats]) -> Floats:
    """Change (N - 1,) from each frame to the next; its scale does not matter to `clock_offset`."""
    return np.array([change(before, after) for before, after in pairwise(frames)])


def _between(frames: Mapping[int, Path]) -> Stamps:
    stamps = np.array(list(frames), np.int64)
    return cast(Stamps, stamps[:-1] + np.diff(stamps) // 2)
