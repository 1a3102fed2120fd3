"""Folders of recorded frames to folders of fused frames and masks."""

import re
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from segmif import files
from segmif.folders import BY_NAME, FilePair, Paired, Pairing, pair_files
from segmif.frames import Prediction
from segmif.imaging.image_header import MAX_PIXELS
from segmif.runtime import Runtime
from segmif.spared_inputs import check_spared
from segmif.wire.raw_frames import Frame

from ..pipeline.decode import Decoded, DecodeOptions, decode
from ..pipeline.decoder.pool import IN_PROCESS, Decoder
from ..pipeline.infer import PairRules, PreparedPair, align_pair, prepare
from ..pipeline.objects import ObjectRules
from ..pipeline.pair_checks import StreamHistory
from ..pipeline.pair_jobs import Job, run_jobs
from ..pipeline.result import Result, describe
from ..pipeline.result_files import FOLDERS, encode_pictures, make_folders, write_pictures
from ..pipeline.result_objects import with_objects
from ..pipeline.stage_times import StageTimes
from ..schemas.pair_options import PairOptions
from .infer_report import REPORT, Report, ReportFile, Status, Summary

CODEC_THREADS = 2
STAMP = re.compile(r"\d{16,19}")  # a file name that is a time in nanoseconds


def infer_folders(
    visible: Path,
    infrared: Path,
    out: Path,
    runtime: Runtime,
    rules: PairRules = PairRules(MAX_PIXELS),  # noqa: B008  frozen
    *,
    how: Pairing = BY_NAME,
    refine: bool = False,
    objects: bool = False,
    recording: bool = False,
    decoder: Decoder = IN_PROCESS,
) -> Summary:
    """
    Fuse and label every pair; writes `out`/fused/NAME.png, `out`/mask/NAME.png and a report.

    `refine` corrects the misalignment that is left, pair by pair. `objects` lists them in the
    report, without tracks. In a `recording` each pair is
    checked against those before it, and the gain is smoothed. Names of 16 to 19 digits are times in
    nanoseconds. A failed pair is reported on stderr and in the summary; the others go on.
    Raises OSError if a folder cannot be listed or made, ValueError for a wrong pairs file, or if
    `out` is an input.
    """
    paired = pair_files(visible, infrared, how)
    files_read = (path for pair in paired.pairs for path in (pair.visible, pair.infrared))
    check_spared(
        [out / REPORT, *(out / name for name in FOLDERS)], [visible, infrared, *files_read]
    )
    make_folders(out)
    summary, start = Summary(), perf_counter()
    rules, options = replace(rules, max_pixels=MAX_PIXELS), PairOptions(refine=refine)
    decode_options = DecodeOptions(decoder)
    with ExitStack() as opened:
        lines = opened.enter_context(ReportFile(out / REPORT))
        codecs = opened.enter_context(ThreadPoolExecutor(CODEC_THREADS, "codec"))
        read = partial(_read_alone, codecs, decode_options, rules, options)
        if recording:
            ordered = opened.enter_context(ThreadPoolExecutor(1, "order"))
            read = partial(
                _read_next, codecs, ordered, decode_options, rules, options, StreamHistory()
            )
        bar = opened.enter_context(tqdm(total=len(paired.pairs), unit="pair", file=sys.stderr))
        say = partial(bar.write, file=sys.stderr)
        _report_unpaired(paired, summary, lines, say)
        write = partial(_submit, codecs, runtime, rules, out, objects)
        opened.push(partial(_say_interrupted, summary, len(paired.pairs)))
        for job, written in run_jobs(paired.pairs, read, runtime, write, confidence=objects):
            if error := written.exception():
                status = summary.fail(job.task.name, error)
                lines.write(_line(job.task, status, str(error), None))
                say(f"{job.task.name}: {error}")
            else:
                summary.add(written.result())
                lines.write(_line(job.task, "done", None, written.result()))
            bar.update()
    files.sync_all()
    summary.out = out
    summary.seconds = perf_counter() - start
    return summary


def _say_interrupted(
    summary: Summary, pairs: int, kind: type[BaseException] | None, *_: object
) -> None:
    if kind is KeyboardInterrupt:
        said = f"{summary.done} of {pairs} pairs are written: the same command starts anew"
        print(said, file=sys.stderr)


def _report_unpaired(
    paired: Paired, summary: Summary, lines: ReportFile, say: Callable[[str], object]
) -> None:
    """Report the files without a partner."""
    for note in paired.notes:
        say(note)
    for complaint in paired.complaints:
        summary.complain(complaint)
        lines.write(_line(None, "failed", complaint, None))
        say(complaint)


def _line(
    pair: FilePair | None, status: Status, detail: str | None, report: Report | None
) -> dict[str, Any]:
    """The line of a pair; None: a file that has no partner."""
    paths = {"visible": str(pair.visible), "infrared": str(pair.infrared)} if pair else {}
    line = {"name": pair.name if pair else None, "status": status, "detail": detail}
    return line | {"files": paths or None, "report": report}


def _read_alone(
    codecs: Executor,
    decode_options: DecodeOptions,
    rules: PairRules,
    options: PairOptions,
    task: FilePair,
    times: StageTimes,
) -> Future[PreparedPair]:
    def work() -> PreparedPair:
        visible, infrared = map(Frame, map(files.read_frame, (task.visible, task.infrared)))
        return prepare(visible, infrared, rules, times, options, decode_options)

    return codecs.submit(work)


def _read_next(
    codecs: Executor,
    ordered: Executor,
    decode_options: DecodeOptions,
    rules: PairRules,
    options: PairOptions,
    memory: StreamHistory,
    task: FilePair,
    times: StageTimes,
) -> Future[PreparedPair]:
    """As `_read_alone`, but a pair is checked after the one before it."""

    def decoded() -> Decoded:
        visible, infrared = map(Frame, map(files.read_frame, (task.visible, task.infrared)))
        return decode(visible, infrared, rules.max_pixels, times, decode_options, rules.cameras)

    decoding = codecs.submit(decoded)
    stamps = {"visible_ns": _stamp_ns(task.visible), "infrared_ns": _stamp_ns(task.infrared)}
    stamped = options.model_copy(update=stamps)
    return ordered.submit(lambda: align_pair(decoding.result(), rules, times, stamped, memory))


def _stamp_ns(path: Path) -> int | None:
    return int(path.stem) if STAMP.fullmatch(path.stem) else None


def _submit(
    codecs: Executor,
    runtime: Runtime,
    rules: PairRules,
    out: Path,
    objects: bool,
    job: Job[FilePair],
    prepared: PreparedPair,
    prediction: Prediction,
) -> Future[Report]:
    name = job.task.name
    result = Result(prediction, prepared, runtime, rules.gain, job.times, name, None)
    return codecs.submit(_write, result, out, rules.objects if objects else None)


def _write(result: Result, out: Path, objects: ObjectRules | None) -> Report:
    with result.times.measure("encode"):
        pictures = encode_pictures(result.prediction, result.runtime.manifest.classes)
    write_pictures(out, result.request_id, pictures)
    if objects:
        result = with_objects(result, objects, None)
    return describe(result).model_dump(mode="json")
