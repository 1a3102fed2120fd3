"""`segmif infer`: two folders of pairs, two recordings, or a list of such."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import get_args

from segmif import folders
from segmif.addresses import masked
from segmif.files import shown
from segmif.interrupts import end_in_order

from ..live.sinks.sink_error import SinkError
from ..pipeline.decoder.pool import open_decoder
from ..pipeline.infer import PairRules
from ..scheduler.model_loading import LoadedModel, hangs, too_slow
from ..schemas.pair_options import Policy
from .infer import infer_folders
from .infer_report import Summary
from .recordings.command import (
    COLUMNS,
    add_recording_arguments,
    infer_each,
    infer_one,
    read_list,
    stated_for_recordings,
)
from .recordings.open_recording import BAG, NO_OUTPUTS, VIDEOS


def add_infer_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif infer` besides those of the network."""
    for name, text in (
        ("visible", "colour frames: a folder, or a recording"),
        ("infrared", "thermal frames, likewise; those of folders are paired by name"),
        ("out", "folder, or FILE.mp4, FILE.mkv or FILE.mcap"),
    ):
        parser.add_argument(f"--{name}", metavar="SRC" if name != "out" else "OUT", help=text)
    parser.add_argument(
        "--refine", action="store_true", help="mend what misalignment the pairs themselves show"
    )
    parser.add_argument(
        "--objects", action="store_true", help="list the objects of each mask in the report"
    )
    parser.add_argument(
        "--degraded", choices=get_args(Policy), help="what becomes of pairs with a fault (flag)"
    )
    folders.add_arguments(parser)
    parser.add_argument(
        "--recording",
        action="store_true",
        help="folders: the pairs follow one another; flag frozen frames, smooth the gain",
    )
    add_recording_arguments(parser)


def check_infer(options: argparse.Namespace) -> None:
    """Raise ValueError for flags that do not go together."""
    stated = [name for name in COLUMNS if getattr(options, name)]
    if options.list and stated:
        raise ValueError(f"--list names all recordings: leave out --{stated[0]}")
    if not options.list and len(stated) < len(COLUMNS):
        raise ValueError("segmif infer needs --visible, --infrared and --out, or --list")


def infer(options: argparse.Namespace, opened: LoadedModel) -> int:
    """
    Process what the flags name and print a summary; gives the exit code.

    0: all pairs are done, 1: some failed or were refused, 2: nothing could be begun.
    """
    limit_s = opened.settings.self_test_s
    if hangs(opened.runtime, limit_s):
        print(too_slow(limit_s), file=sys.stderr)
        return 1
    end_in_order()
    try:
        if options.list:
            rows = read_list(options.list)
            return 0 if infer_each(rows, partial(_infer_row, options, opened)) else 1
        summary = infer_pair(options, opened)
    except (OSError, ValueError, SinkError) as error:
        print(masked(str(error)), file=sys.stderr)
        return 2
    finally:
        opened.close()
    print(*summary.lines(), sep="\n")
    return 0 if summary.whole else 1


def _infer_row(
    options: argparse.Namespace, opened: LoadedModel, row: argparse.Namespace
) -> Summary:
    return infer_pair(argparse.Namespace(**(vars(options) | vars(row))), opened)


def infer_pair(options: argparse.Namespace, opened: LoadedModel) -> Summary:
    """Process two folders or two recordings; raises ValueError, SinkError or OSError."""
    out, how = output_path(options.out), folders.pairing_of(options)
    rules = PairRules.of(opened.settings, opened.rig_aligner)
    if not _are_folders(options, out):
        if given := _stated_for_folders(options):
            raise ValueError(f"{given} is for two folders, and recordings are paired by time")
        return infer_one(options, out, opened.runtime, rules)
    settings = opened.settings
    decoder = open_decoder(settings.decode_processes, settings.decode_limit_s)
    try:
        return infer_folders(
            *(Path(options.visible), Path(options.infrared), out),
            opened.runtime,
            rules,
            how=how,
            refine=options.refine,
            objects=options.objects,
            recording=options.recording,
            decoder=decoder,
        )
    finally:
        decoder.close()


def output_path(word: str) -> Path:
    """The path of --out, a suffix in small letters; ValueError for a file that is none of ours."""
    path = Path(word)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in NO_OUTPUTS:
        return path
    if suffix not in (*VIDEOS, BAG):
        raise ValueError(
            f"--out {shown(word)}: expected FILE{VIDEOS[0]}, FILE{VIDEOS[1]}, FILE{BAG} or a folder"
        )
    return path.with_suffix(suffix)


def _are_folders(options: argparse.Namespace, out: Path) -> bool:
    """Whether two folders of frames are to become folders of pictures, paired by name."""
    if out.suffix in (*VIDEOS, BAG) or stated_for_recordings(options):
        return False
    given = [Path(options.visible), Path(options.infrared)]
    return all(path.is_dir() and not (path / "metadata.yaml").is_file() for path in given)


def _stated_for_folders(options: argparse.Namespace) -> str | None:
    stated = {
        "--pairs": options.pairs,
        "--patterns": tuple(options.patterns) != (folders.EVERY, folders.EVERY),
        "--recording": options.recording,
    }
    return next((name for name, value in stated.items() if value), None)
