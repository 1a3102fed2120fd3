"""Rig files of one format to another: rig.yaml, Kalibr camchain, ROS camera_info, OpenCV."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from calibration.formats import FILES, READERS, WRITERS
from segmif.rig import Rig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ros = "ros takes two, visible and infrared"
    parser.add_argument("--from", dest="source", choices=list(READERS), required=True)
    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, help=f"files to read; {ros}"
    )
    parser.add_argument("--to", dest="target", choices=list(WRITERS), required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help=f"files to write; {ros}")


def main(args: argparse.Namespace) -> int:
    for word, form, paths in (
        ("--input", args.source, args.input),
        ("--out", args.target, args.out),
    ):
        if len(paths) != FILES[form]:
            raise ValueError(f"{word}: {form} is {FILES[form]} file(s), got {len(paths)}")
    rig = read(args.source, args.input)
    WRITERS[args.target](args.out, rig)
    print(f"baseline {1e3 * rig.baseline_m:.2f} mm, written to {', '.join(map(str, args.out))}")
    return 0


def read(form: str, paths: Sequence[Path]) -> Rig:
    """Read a rig in a format; raises OSError, or ValueError with the files and what is wrong."""
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path} is not a file")
    try:
        return READERS[form](paths)
    except KeyError as error:
        raise ValueError(f"{paths[0]}: {error} is missing; is it {form}?") from None
    except (TypeError, ValueError) as error:
        if str(error).startswith(str(paths[0])):
            raise
        raise ValueError(f"{' and '.join(map(str, paths))}: {error}") from error
