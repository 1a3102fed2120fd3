"""Processes every pair of two recordings, and goes on where an earlier run was ended."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

from tqdm import tqdm

from segmif.imaging.image_header import MAX_PIXELS
from segmif.runtime import Runtime

from ...errors import ServiceError
from ...live.pair_queue import DAY_NS, TWO_CLOCKS
from ...live.sinks.jsonl import frame_facts
from ...pipeline.pair_jobs import Network, NetworkHere, run_jobs
from ...pipeline.pair_rules import PairRules
from ...pipeline.prepare import PreparedPair
from ...pipeline.stage_times import StageTimes
from ...schemas.pair_options import PairOptions
from ..infer_report import Report, ReportFile, Status, Summary, status_of
from .clock import offset_ns
from .kept_lines import KeptLine, read_lines, resumed_tracks
from .preparation import Preparation
from .recorded_pairs import RecordedPair, RecordedPairs
from .recording import RIG, Recording, locked
from .writer import Writer


def infer_recording(
    recording: Recording, runtime: Runtime, rules: PairRules, network: Network | None = None
) -> Summary:
    """
    Process every pair of two recordings; `network` (None: here) predicts as `runtime` would.

    A failed pair is reported on stderr and in the summary; the others go on. Raises ValueError if
    an earlier run was another one or no frame can be read, OSError or SinkError if the output
    cannot be written.
    """
    with locked(recording.report):
        earlier, summary = recording.earlier(), Summary(out=recording.output.target)
        complete = earlier is not None and earlier.complete and recording.is_whole(earlier)
        kept = recording.usable_lines() if earlier and not complete else []
        for _, line in islice(read_lines(recording.report), None if complete else len(kept)):
            summary.take(line)
        summary.before = summary.done
        if complete:
            return summary
        recording.write_record()
        start = perf_counter()
        rules = replace(rules, max_pixels=MAX_PIXELS)
        try:
            _process(recording, runtime, rules, network or NetworkHere(runtime), kept, summary)
        except BaseException as error:
            recording.forget_if_empty()
            if isinstance(error, KeyboardInterrupt):
                _say_kept(recording, summary)
            raise
        recording.write_record(complete=True)
        recording.output.publish()
        summary.notes += recording.note_on_others()
        summary.seconds = perf_counter() - start
        return summary


def _say_kept(recording: Recording, summary: Summary) -> None:
    """Say how far an interrupted run came."""
    handled = summary.done + summary.refused + len(summary.failures)
    of = f" of about {recording.expected}" if recording.expected else ""
    more = "the same command goes on" if summary.done else "the same command starts anew"
    print(f"{handled}{of} pairs are kept: {more}", file=sys.stderr)


def _process(
    recording: Recording,
    runtime: Runtime,
    rules: PairRules,
    network: Network,
    kept: Sequence[KeptLine],
    summary: Summary,
) -> None:
    """Process what comes behind the kept lines."""
    output, end = recording.output, kept[-1].end if kept else 0
    with ExitStack() as opened:
        lines = opened.enter_context(ReportFile(recording.report, end))
        offset = offset_ns(recording.offset_ms, recording.sources, summary.notes.append)
        output.go_on_behind([line.stamps_ns[0] for line in kept if line.done])
        opened.callback(output.leave)  # does nothing once it is finished
        pairs = RecordedPairs(recording.sources, offset, recording.tolerance_ns)
        opened.callback(pairs.close)
        bar = opened.enter_context(
            tqdm(initial=len(kept), total=recording.expected, unit="pair", file=sys.stderr)
        )
        say = partial(bar.write, file=sys.stderr)
        rules = rules.paired_within(pairs.settle_tolerance() / 1e6)
        options = PairOptions(
            stream=RIG, refine=recording.refine, registration=recording.registration
        )
        preparation = Preparation(rules, options, offset)
        tasks = iter(pairs)
        preparation.replay(islice(tasks, len(kept)), kept)
        ordered = opened.enter_context(ThreadPoolExecutor(1, "order"))
        tracks = resumed_tracks(recording.report, end) if recording.objects else None
        thread = opened.enter_context(ThreadPoolExecutor(1, "write"))
        writer = Writer(output, runtime, rules, thread, tracks)
        read = partial(_submit, ordered, preparation)
        jobs = run_jobs(tasks, read, network, writer.submit, confidence=recording.objects)
        for job, written in jobs:
            lines.write(_outcome(job.task, written, summary, say))
            bar.update()
        for sentence in list(_lost(pairs, summary)):
            say(sentence)
            lines.write(line := _line(None, "failed", sentence, None))
            summary.take(line)
        summary.notes += _notes(pairs)
        writer.finish()


def _submit(
    ordered: Executor, preparation: Preparation, pair: RecordedPair, times: StageTimes
) -> Future[PreparedPair]:
    return ordered.submit(preparation.prepare, pair, times)


def _outcome(
    pair: RecordedPair, written: Future[Report], summary: Summary, say: Callable[[str], object]
) -> dict[str, Any]:
    """The line of a pair, counted; raises what ends the run."""
    try:
        line = _line(pair, "done", None, written.result())
    except ServiceError as error:
        line = _line(pair, status_of(error), str(error), None)
        say(f"{pair.name}: {error}")
    summary.take(line)
    return line


def _line(
    pair: RecordedPair | None, status: Status, detail: str | None, report: Report | None
) -> dict[str, Any]:
    """The line of a pair; None: of what is in no pair."""
    return {
        "name": pair.name if pair else None,
        "status": status,
        "detail": detail,
        "visible": frame_facts(pair.visible) if pair else None,
        "infrared": frame_facts(pair.infrared) if pair else None,
        "report": report,
    }


def _lost(pairs: RecordedPairs, summary: Summary) -> Iterator[str]:
    """Sentences on frames that could not be read; raises SourceError if there is not one."""
    for part, camera in pairs.cameras.items():
        reading = camera.reading
        if reading.broke and not reading.frames:
            raise reading.broke
        if reading.broke:
            yield f"{part}: {reading.broke}"
        if reading.source.damaged:
            yield f"{part}: {reading.source.damaged} packets or frames are damaged"
    if not summary.done and not summary.failures and not summary.refused:
        yield _no_pairs(pairs)


def _no_pairs(pairs: RecordedPairs) -> str:
    if pairs.least_gap_ns is None:
        return "no pairs: one of the recordings holds no frame"
    if abs(pairs.least_gap_ns) > DAY_NS:
        return TWO_CLOCKS
    return (
        f"no pairs: the nearest infrared frame is stamped {pairs.least_gap_ns / 1e6:.1f} ms after "
        f"a visible one, and {(pairs.tolerance_ns or 0) / 1e6:.1f} ms are taken; state --offset-ms "
        "(start: both begin at one moment) or --tolerance-ms"
    )


def _notes(pairs: RecordedPairs) -> Iterator[str]:
    """Sentences on frames that are in no pair."""
    for part, camera in pairs.cameras.items():
        if camera.unpaired:
            yield f"{camera.unpaired} frames of {part} have no partner"
        if camera.reading.source.dropped:
            late = f"{camera.reading.source.dropped} frames of {part} are late"
            yield f"{late}: their stamps repeat or go back"
        if camera.peek():
            yield f"{part} goes on after the other camera's end: not read further"
