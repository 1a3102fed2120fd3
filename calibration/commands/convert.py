"""Converts rig files: rig.yaml, Kalibr camchain, ROS camera_info, OpenCV FileStorage."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segmif.files import shown
from segmif.geometry.rig import Rig
from segmif.spared_inputs import check_apart, check_spared

from ..io.rig_fields import ReadOptions
from ..io.rig_formats import FILES, READERS, WRITERS
from .pick import parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ros = "ros takes two, visible and infrared; opencv reads two as well (intrinsics, extrinsics)"
    parser.add_argument("--from", dest="source", choices=list(READERS), required=True)
    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, help=f"files to read; {ros}"
    )
    parser.add_argument("--to", dest="target", choices=list(WRITERS), required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help=f"files to write; {ros}")
    for name in ("visible", "infrared"):
        parser.add_argument(
            f"--{name}", metavar="CAMERA", help=f"the {name} camera of a Kalibr chain, such as cam2"
        )
        parser.add_argument(
            f"--{name}-size",
            metavar="WIDTHxHEIGHT",
            type=parse_size,
            help="of its frames, pixels, if an OpenCV file has none",
        )


def main(args: argparse.Namespace) -> int:
    for word, form, paths, counts in (
        ("--input", args.source, args.input, FILES[args.source]),
        ("--out", args.target, args.out, FILES[args.target][:1]),
    ):
        if len(paths) not in counts:
            expected = " or ".join(map(str, counts))
            raise ValueError(f"{word}: {form} is {expected} file(s), got {len(paths)}")
    choice = ReadOptions(args.visible, args.infrared, args.visible_size, args.infrared_size)
    for form, words, given in (
        ("kalibr", "--visible and --infrared", args.visible or args.infrared),
        ("opencv", "--visible-size and --infrared-size", args.visible_size or args.infrared_size),
    ):
        if given and args.source != form:
            raise ValueError(f"{words} are for --from {form}")
    check_spared(args.out, args.input)
    check_apart(args.out)
    rig = read(args.source, args.input, choice)
    WRITERS[args.target](args.out, rig)
    if rig.source:
        print(rig.source)
    print(f"baseline {1e3 * rig.baseline_m:.2f} mm, written to {', '.join(map(str, args.out))}")
    return 0


def read(form: str, paths: Sequence[Path], choice: ReadOptions) -> Rig:
    """Read a rig in a format; raises OSError, or ValueError with the files and what is wrong."""
    for path in paths:
        if not path.exists():
            raise ValueError(f"{shown(path)} is not a file")
    try:
        return READERS[form](paths, choice)
    except KeyError as error:
        raise ValueError(f"{shown(paths[0])}: {error} is missing; is it {form}?") from None
    except (TypeError, ValueError) as error:
        if str(error).startswith(tuple(shown(path) for path in paths)):
            raise
        raise ValueError(f"{' and '.join(map(shown, paths))}: {error}") from error
