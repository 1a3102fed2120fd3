"""Processes every pair of two recordings, and goes on where an earlier run was ended."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

from tqdm import tqdm

from segmif.frames import Prediction
from segmif.imaging.image_header import MAX_PIXELS
from segmif.runtime import Runtime
from segmif.thermal.camera_profile import Cameras

from ...errors import ServiceError
from ...live.live_result import LiveResult
from ...live.raw_pair import raw_frame, stated_of
from ...live.sinks.jsonl import frame_facts
from ...pipeline.decode import decode
from ...pipeline.infer import PairRules, PreparedPair, align_pair
from ...pipeline.pair_checks import StreamHistory
from ...pipeline.pair_jobs import Job, run_jobs
from ...pipeline.result import Result
from ...pipeline.stage_times import StageTimes
from ...schemas.pair_options import PairOptions
from ..infer_report import Report, ReportFile, Status, Summary, status_of
from .clock import offset_ns
from .kept_lines import KeptLine, read_lines
from .output import Output
from .recorded_pairs import RecordedPair, RecordedPairs
from .recording import RIG, Recording


def infer_recording(recording: Recording, runtime: Runtime, rules: PairRules) -> Summary:
    """
    Process every pair of two recordings.

    A failed pair is reported on stderr and in the summary; the others go on. Raises ValueError if
    an earlier run was another one or no frame can be read, OSError or SinkError if the output
    cannot be written.
    """
    with recording.locked():
        earlier, summary = recording.earlier(), Summary()
        complete = earlier is not None and earlier.complete and recording.output.publish()
        kept = recording.usable_lines() if earlier and not complete else []
        for _, line in islice(read_lines(recording.report), None if complete else len(kept)):
            _count(summary, line)
        summary.before = summary.done
        if earlier and complete:
            summary.failures += earlier.lost
            return summary
        recording.write_record()
        start = perf_counter()
        rules = replace(rules, max_pixels=MAX_PIXELS)
        try:
            lost = _process(recording, runtime, rules, kept, summary)
        except BaseException:
            recording.forget_if_empty()
            raise
        recording.write_record(lost)
        recording.output.publish()
        summary.seconds = perf_counter() - start
        return summary


def _process(
    recording: Recording,
    runtime: Runtime,
    rules: PairRules,
    kept: Sequence[KeptLine],
    summary: Summary,
) -> list[str]:
    """Process what comes behind the kept lines; gives sentences on what was lost."""
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
        options = PairOptions(stream=RIG, refine=recording.refine)
        preparation = Preparation(rules, options, offset)
        tasks = iter(pairs)
        preparation.replay(islice(tasks, len(kept)), kept)
        ordered = opened.enter_context(ThreadPoolExecutor(1, "order"))
        writer = Writer(
            output, runtime, rules, opened.enter_context(ThreadPoolExecutor(1, "write"))
        )
        read = partial(_submit, ordered, preparation)
        for job, written in run_jobs(tasks, read, runtime, writer.submit):
            lines.write(_outcome(job.task, written, summary, say))
            bar.update()
        lost, notes = list(_lost(pairs, summary)), list(_notes(pairs))
        for sentence in lost:
            say(sentence)
        output.finish()
    summary.failures += lost
    summary.notes += notes
    return lost


def _submit(
    ordered: Executor, preparation: "Preparation", pair: RecordedPair, times: StageTimes
) -> Future[PreparedPair]:
    return ordered.submit(preparation.prepare, pair, times)


@dataclass
class Preparation:
    """Prepares the pairs of a recording in their order."""

    rules: PairRules
    options: PairOptions
    offset_ns: int

    def __post_init__(self) -> None:
        self._memory = StreamHistory()

    def prepare(self, pair: RecordedPair, times: StageTimes) -> PreparedPair:
        """Align a pair and check it against those before it; raises as `align_pair`."""
        return self._prepared(pair, times, self.options)

    def replay(self, pairs: Iterator[RecordedPair], kept: Sequence[KeptLine]) -> None:
        """
        Remember the pairs that an earlier run has processed, as it did.

        Raises ValueError if they are not those of its lines.
        """
        options = self.options.model_copy(update={"refine": False})  # leaves nothing behind
        count = 0
        for pair, line in zip(pairs, kept, strict=False):
            count += (pair.visible.stamp_ns, pair.infrared.stamp_ns) == line.stamps_ns
            try:
                self._prepared(pair, StageTimes(), options)
            except ServiceError:
                continue  # as in the earlier run
        if count < len(kept):
            raise ValueError(
                f"the recordings give other pairs than before: {count} of {len(kept)} are the "
                "same; start anew with --overwrite"
            )

    def _prepared(
        self, pair: RecordedPair, times: StageTimes, options: PairOptions
    ) -> PreparedPair:
        frames, rules = (pair.visible, pair.infrared), self.rules
        recorded = Cameras(*(frame.profile for frame in frames))
        if recorded != Cameras():
            rules = replace(rules, cameras=rules.cameras.over(recorded))
        options = options.model_copy(update=stated_of(*frames, self.offset_ns))
        cameras = rules.cameras_for(options)
        visible, infrared = map(raw_frame, frames)
        decoded = decode(visible, infrared, rules.max_pixels, times, cameras=cameras)
        return align_pair(decoded, rules, times, options, self._memory)


class Writer:
    """Writes results in their order, in a thread; after a failure of the output no more."""

    def __init__(
        self, output: Output, runtime: Runtime, rules: PairRules, thread: Executor
    ) -> None:
        self._output, self._runtime, self._rules, self._thread = output, runtime, rules, thread
        self._broken: Exception | None = None

    def submit(
        self, job: Job[RecordedPair], prepared: PreparedPair, prediction: Prediction
    ) -> Future[Report]:
        """Write a result; the future raises UnfitSize, or what ends the run."""
        return self._thread.submit(self._write, job, prepared, prediction)

    def _write(
        self, job: Job[RecordedPair], prepared: PreparedPair, prediction: Prediction
    ) -> Report:
        if self._broken:
            raise self._broken
        pair, times = job.task, job.times
        result = Result(
            prediction, prepared, self._runtime, self._rules.gain, times, pair.name, RIG
        )
        shown = LiveResult(RIG, pair.sequence, pair.visible, pair.infrared, result)
        try:
            with times.measure("encode"):
                self._output.write(shown)
        except ServiceError:
            raise
        except Exception as error:
            self._broken = error
            raise
        return shown.report


def _outcome(
    pair: RecordedPair, written: Future[Report], summary: Summary, say: Callable[[str], object]
) -> dict[str, Any]:
    """The line of a pair, counted; raises what ends the run."""
    try:
        report: Report | None = written.result()
        status: Status = "done"
        detail = None
    except ServiceError as error:
        status, detail, report = status_of(error), str(error), None
        say(f"{pair.name}: {error}")
    frames = {"visible": frame_facts(pair.visible), "infrared": frame_facts(pair.infrared)}
    line = {"name": pair.name, "status": status, "detail": detail} | frames | {"report": report}
    _count(summary, line)
    return line


def _count(summary: Summary, line: dict[str, Any]) -> None:
    if line["status"] == "done":
        summary.add(line["report"])
    else:
        summary.count(line["name"], line["status"], line["detail"])


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
            yield f"{camera.reading.source.dropped} frames of {part} are late: their stamps go back"
        if camera.peek():
            yield f"{part} goes on after the other camera's end: not read further"
