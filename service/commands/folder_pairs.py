"""Processes the pairs of two folders: each gives pictures and the line of a report."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from segmif import files
from segmif.folders import FilePair
from segmif.frames import Prediction
from segmif.imaging.image_header import MAX_PIXELS
from segmif.runtime import Runtime
from segmif.wire.raw_frames import Frame

from ..errors import ServiceError
from ..pipeline.decode import Decoded, DecodeOptions, decode
from ..pipeline.decoder.pool import Decoder
from ..pipeline.objects import ObjectRules
from ..pipeline.pair_checks import StreamHistory
from ..pipeline.pair_jobs import Job, Network, NetworkHere, run_jobs
from ..pipeline.pair_rules import PairRules
from ..pipeline.prepare import PreparedPair, align_pair, prepare
from ..pipeline.result import Result, describe
from ..pipeline.result_files import encode_pictures, write_pictures
from ..pipeline.result_objects import with_objects
from ..pipeline.stage_times import StageTimes
from ..schemas.pair_options import PairOptions
from .infer_report import Report, Status, status_of

CODEC_THREADS = 2
STAMP = re.compile(r"\d{16,19}")  # a file name that is a time in nanoseconds

Line = dict[str, Any]


@dataclass(frozen=True)
class FolderWork:
    """What becomes of each pair of two folders."""

    out: Path
    refine: bool = False  # correct the misalignment that is left, pair by pair
    objects: bool = False  # list them in the report, without tracks


@dataclass(frozen=True)
class Workshop:
    """What pairs are processed with."""

    runtime: Runtime
    rules: PairRules
    decoder: Decoder


def process_pairs(pairs: Iterable[FilePair], work: FolderWork, shop: Workshop) -> Iterator[Line]:
    """Write the pictures of each pair by itself; gives their lines in the order of the pairs."""
    shop, options = _unbounded(shop), PairOptions(refine=work.refine)
    with ThreadPoolExecutor(CODEC_THREADS, "codec") as codecs:
        read = partial(_read_alone, codecs, shop, options)
        yield from _lines(pairs, read, NetworkHere(shop.runtime), codecs, work, shop)


def process_stream(
    pairs: Iterable[FilePair],
    work: FolderWork,
    shop: Workshop,
    network: Network,
    kept: int = 0,
) -> Iterator[Line]:
    """
    As `process_pairs`, but each pair is checked against those before it and the gain is smoothed.

    The first `kept` pairs are remembered and not written. Names of 16 to 19 digits are times in
    nanoseconds.
    """
    shop, options, memory = _unbounded(shop), PairOptions(refine=work.refine), StreamHistory()
    tasks = iter(pairs)
    with (
        ThreadPoolExecutor(CODEC_THREADS, "codec") as codecs,
        ThreadPoolExecutor(1, "order") as ordered,
    ):
        for pair in islice(tasks, kept):
            with suppress(ServiceError, OSError):  # as in the earlier run
                alone = PairOptions()  # a refinement leaves nothing behind
                _read_next(codecs, ordered, shop, alone, memory, pair, StageTimes()).result()
        read = partial(_read_next, codecs, ordered, shop, options, memory)
        yield from _lines(tasks, read, network, codecs, work, shop)


def line_of(
    pair: FilePair | None, status: Status, detail: str | None, report: Report | None
) -> Line:
    """The line of a pair; None: a file that has no partner."""
    paths = {"visible": str(pair.visible), "infrared": str(pair.infrared)} if pair else {}
    line = {"name": pair.name if pair else None, "status": status, "detail": detail}
    return line | {"files": paths or None, "report": report}


def _unbounded(shop: Workshop) -> Workshop:
    return replace(shop, rules=replace(shop.rules, max_pixels=MAX_PIXELS))


def _lines(
    pairs: Iterable[FilePair],
    read: partial[Future[PreparedPair]],
    network: Network,
    codecs: Executor,
    work: FolderWork,
    shop: Workshop,
) -> Iterator[Line]:
    write = partial(_submit, codecs, shop, work)
    for job, written in run_jobs(pairs, read, network, write, confidence=work.objects):
        if error := written.exception():
            yield line_of(job.task, status_of(error), str(error), None)
        else:
            yield line_of(job.task, "done", None, written.result())


def _read_alone(
    codecs: Executor, shop: Workshop, options: PairOptions, task: FilePair, times: StageTimes
) -> Future[PreparedPair]:
    def work() -> PreparedPair:
        visible, infrared = map(Frame, map(files.read_frame, (task.visible, task.infrared)))
        decoding = DecodeOptions(shop.decoder)
        return prepare(visible, infrared, shop.rules, times, options, decoding)

    return codecs.submit(work)


def _read_next(
    codecs: Executor,
    ordered: Executor,
    shop: Workshop,
    options: PairOptions,
    memory: StreamHistory,
    task: FilePair,
    times: StageTimes,
) -> Future[PreparedPair]:
    """As `_read_alone`, but a pair is checked after the one before it."""
    rules = shop.rules

    def decoded() -> Decoded:
        visible, infrared = map(Frame, map(files.read_frame, (task.visible, task.infrared)))
        decoding = DecodeOptions(shop.decoder)
        return decode(visible, infrared, rules.max_pixels, times, decoding, rules.cameras)

    waiting = codecs.submit(decoded)
    stamps = {"visible_ns": _stamp_ns(task.visible), "infrared_ns": _stamp_ns(task.infrared)}
    stamped = options.model_copy(update=stamps)
    return ordered.submit(lambda: align_pair(waiting.result(), rules, times, stamped, memory))


def _stamp_ns(path: Path) -> int | None:
    return int(path.stem) if STAMP.fullmatch(path.stem) else None


def _submit(
    codecs: Executor,
    shop: Workshop,
    work: FolderWork,
    job: Job[FilePair],
    prepared: PreparedPair,
    prediction: Prediction,
) -> Future[Report]:
    name, rules = job.task.name, shop.rules
    result = Result(prediction, prepared, shop.runtime, rules.gain, job.times, name, None)
    return codecs.submit(_write, result, work.out, rules.objects if work.objects else None)


def _write(result: Result, out: Path, objects: ObjectRules | None) -> Report:
    with result.times.measure("encode"):
        pictures = encode_pictures(result.prediction, result.runtime.manifest.classes)
    write_pictures(out, result.request_id, pictures)
    if objects:
        result = with_objects(result, objects, None)
    return describe(result).model_dump(mode="json")
