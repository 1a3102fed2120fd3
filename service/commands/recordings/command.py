"""The part of `segmif infer` that reads recordings: its flags, and one or many of them."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import get_args

from segmif.addresses import masked
from segmif.argument_types import IntegerRange
from segmif.files import shown, words_of
from segmif.parsing import read_table
from segmif.runtime import Runtime
from segmif.sources.open_source import local_path
from segmif.spared_inputs import check_spared

from ...live.sinks.sink_error import SinkError
from ...pipeline.pair_jobs import Network
from ...pipeline.pair_rules import PairRules
from ..infer_report import Summary
from ..pairing_flags import add_pairing_arguments
from .infer_recording import infer_recording
from .open_recording import BAG, VIDEOS, PictureChoice, RecordingOptions, open_recording

LARGEST_MS = 1e13  # a recording may count from 1970, and the other one from its start
SOURCES = ("visible", "infrared")
COLUMNS = (*SOURCES, "out")
FOR_FOLDERS = ("refine", "objects", "overwrite")  # flags that are for folders of pairs too


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that are for recordings alone; None: not stated."""
    group = parser.add_argument_group("recordings")
    group.add_argument(
        "--list",
        type=Path,
        metavar="CSV",
        help="process many: a file with the columns visible, infrared and out",
    )
    group.add_argument(
        "--picture", choices=get_args(PictureChoice), help="what the video shows (fused)"
    )
    group.add_argument(
        "--codec", help="of the video: h264, mpeg4, ffv1 (no loss), or an encoder of FFmpeg (h264)"
    )
    group.add_argument(
        "--quality", type=IntegerRange(0, 51), help="constant rate factor of h264, 0 is best (21)"
    )
    group.add_argument(
        "--frames", action="store_true", default=None, help="write pictures, not a video"
    )
    group.add_argument(
        "--registration",
        action="store_true",
        default=None,
        help="keep infrared in place by what all pairs show, in milliseconds",
    )
    add_pairing_arguments(group, LARGEST_MS)
    group.add_argument(
        "--overwrite",
        action="store_true",
        default=None,
        help="start anew instead of going on where an earlier run was ended",
    )


def stated_for_recordings(options: argparse.Namespace) -> list[str]:
    """The flags that were stated and are for recordings alone."""
    names = [each.name for each in fields(RecordingOptions) if each.name not in FOR_FOLDERS]
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]


def infer_one(
    options: argparse.Namespace,
    out: Path,
    runtime: Runtime,
    rules: PairRules,
    network: Network | None = None,
) -> Summary:
    """
    Process the two recordings of the flags; `network` (None: here) predicts as `runtime` would.

    Raises ValueError, SinkError or OSError.
    """
    stated = {each.name: getattr(options, each.name) for each in fields(RecordingOptions)}
    chosen = RecordingOptions(**{k: value for k, value in stated.items() if value is not None})
    if out.suffix == BAG or chosen.frames:
        for name in ("codec", "quality"):
            if stated[name] is not None:
                raise ValueError(f"--{name} is for a video, and {shown(out)} becomes none")
    recording = open_recording(options.visible, options.infrared, out, chosen, runtime, rules)
    return infer_recording(recording, runtime, rules, network)


def read_list(path: Path) -> list[dict[str, str]]:
    """The rows of a file of --list; raises ValueError and OSError."""
    rows = []
    for line, row in read_table(path, COLUMNS)[1]:
        if empty := [name for name in COLUMNS if not row[name].strip()]:
            raise ValueError(f"{shown(path)}, line {line}: {empty[0]} is empty")
        rows.append({name: row[name].strip() for name in COLUMNS})
    if not rows:
        raise ValueError(f"{shown(path)} lists nothing: expected {', '.join(COLUMNS)}")
    outs = [row["out"] for row in rows]
    reports = [_reported_beside(Path(out)) for out in outs]
    for out, report in zip(outs, reports, strict=True):
        if reports.count(report) > 1:
            raise ValueError(
                f"{shown(path)}: {shown(out)} is the output of two recordings: name another, and "
                "not by the suffix alone, since their reports would have one name"
            )
    named = (local_path(row[name]) for row in rows for name in SOURCES)
    check_spared(map(Path, outs), filter(None, named))
    return rows


def _reported_beside(out: Path) -> tuple[Path, bool]:
    """What two outputs have in common if their reports are one file."""
    is_file = out.suffix.lower() in (*VIDEOS, BAG)
    return (out.with_suffix("") if is_file else out).resolve(), is_file


def infer_each(rows: list[dict[str, str]], infer: Callable[[argparse.Namespace], Summary]) -> bool:
    """Process one after the other, and say what became of each; gives whether all are whole."""
    whole = []
    for row in rows:
        print(f"{shown(row['out'])}:")
        try:
            summary = infer(argparse.Namespace(**row))
        except (OSError, ValueError, SinkError) as error:
            print(masked(words_of(error)), file=sys.stderr)
            print("not done")
            whole.append(False)
            continue
        print(*summary.lines(), sep="\n")
        whole.append(summary.whole)
    print(f"{sum(whole)} of {len(rows)} recordings are whole")
    return all(whole)
