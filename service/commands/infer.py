"""Folders of recorded frames to folders of fused frames and masks."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from segmif import files
from segmif.folders import BY_NAME, FilePair, Paired, Pairing, pair_files
from segmif.spared_inputs import check_spared

from ..pipeline.result_files import FOLDERS, are_whole, make_folders
from .folder_pairs import Line, line_of
from .infer_report import REPORT, ReportFile, Summary, note_on_others
from .recordings.image_output import remove_temporaries
from .recordings.kept_lines import read_lines
from .recordings.recording import locked
from .recordings.run_record import RECORD, Facts, RunRecord, facts_of_files, read_record

# Gives the lines of the pairs, less so many that an earlier run has processed.
Process = Callable[[Sequence[FilePair], int], Iterator[Line]]


def infer_folders(
    visible: Path,
    infrared: Path,
    out: Path,
    process: Process,
    *,
    how: Pairing = BY_NAME,
    go_on: bool = False,
    settings: Facts | None = None,
) -> Summary:
    """
    Fuse and label every pair; writes `out`/fused/NAME.png, `out`/mask/NAME.png and a report.

    A failed pair is reported on stderr and in the summary; the others go on. With `settings`, what
    decides on the results, the run is recorded, so that a later one can `go_on` with it.
    Raises OSError if a folder cannot be listed or made, ValueError for a wrong pairs file, if
    `out` is an input, or if an earlier run was another one.
    """
    paired = pair_files(visible, infrared, how)
    files_read = [path for pair in paired.pairs for path in (pair.visible, pair.infrared)]
    check_spared(
        [out / REPORT, out / RECORD, *(out / name for name in FOLDERS)],
        [visible, infrared, *files_read],
    )
    make_folders(out)
    summary, start = Summary(), perf_counter()
    with locked(out / REPORT), files.synced_at_end():
        kept = end = 0
        if settings is None:
            (out / RECORD).unlink(missing_ok=True)  # it would be of another run
        else:
            record = RunRecord(
                facts_of_files(str(visible), files_read[::2]),
                facts_of_files(str(infrared), files_read[1::2]),
                {**settings, "pairs_sha256": _digest(paired)},
            )
            if go_on:
                kept, end = _kept(out, paired, record, summary)
            record.write(out / RECORD)
        _process(out, paired, process, kept, end, summary)
    lines = (line for _, line in read_lines(out / REPORT))
    done = {line["name"] for line in lines if line["status"] == "done"}
    summary.notes += note_on_others(out, done)
    summary.out = out
    summary.seconds = perf_counter() - start
    return summary


def _kept(out: Path, paired: Paired, record: RunRecord, summary: Summary) -> tuple[int, int]:
    """How many lines of an earlier run stay, and where they end; raises ValueError."""
    earlier = read_record(out / RECORD)
    if earlier is None:
        return 0, 0
    if changes := "; ".join(record.changes(earlier)):
        raise ValueError(
            f"{files.shown(out)} was begun with something else: {changes}; call it as it was "
            "begun, or start anew with --overwrite"
        )
    remove_temporaries(out, FOLDERS)
    names = [*(None for _ in paired.complaints), *(pair.name for pair in paired.pairs)]
    kept = end = 0
    for name, (after, line) in zip(names, read_lines(out / REPORT), strict=False):
        if line.get("name") != name or not _is_written(out, line):
            break
        kept, end = kept + 1, after
        summary.take(line)
    summary.before = summary.done
    if summary.failures:
        said = "failed in an earlier run and are not tried again: --overwrite starts anew"
        summary.notes.append(f"{len(summary.failures)} {said}")
    return kept, end


def _digest(paired: Paired) -> str:
    """Which files pair."""
    names = [(pair.visible.name, pair.infrared.name) for pair in paired.pairs]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _is_written(out: Path, line: Line) -> bool:
    """Whether the pictures of a line are there, if it is of a pair that is done."""
    return line.get("status") != "done" or are_whole(out, line["name"])


def _process(
    out: Path, paired: Paired, process: Process, kept: int, end: int, summary: Summary
) -> None:
    """Process what comes behind the kept lines."""
    complaints = paired.complaints[kept:]
    pairs_kept = max(0, kept - len(paired.complaints))
    with ExitStack() as opened:
        lines = opened.enter_context(ReportFile(out / REPORT, end))
        pairs = len(paired.pairs)
        bar = opened.enter_context(
            tqdm(initial=pairs_kept, total=pairs, unit="pair", file=sys.stderr)
        )
        say = partial(bar.write, file=sys.stderr)
        for note in paired.notes:
            say(note)
        for complaint in complaints:
            summary.take(line := line_of(None, "failed", complaint, None))
            lines.write(line)
            say(complaint)
        opened.push(partial(_say_interrupted, summary, pairs, (out / RECORD).exists()))
        for line in process(paired.pairs, pairs_kept):
            lines.write(line)
            summary.take(line)
            if line["status"] != "done":
                say(f"{line['name']}: {line['detail']}")
            bar.update()


def _say_interrupted(
    summary: Summary,
    pairs: int,
    goes_on: bool,
    kind: type[BaseException] | None,
    *_: object,
) -> None:
    if kind is KeyboardInterrupt:
        more = "goes on" if goes_on else "starts anew"
        said = f"{summary.done} of {pairs} pairs are written: the same command {more}"
        print(said, file=sys.stderr)
