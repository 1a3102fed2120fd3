"""Hands the results of a run to its output."""

from concurrent.futures import Executor, Future

from segmif.files import shown
from segmif.frames import Prediction
from segmif.runtime import Runtime

from ...errors import ServiceError
from ...live.live_result import LiveResult
from ...live.sinks.sink_error import SinkError
from ...pipeline.object_tracks import ObjectTracks
from ...pipeline.pair_jobs import Job
from ...pipeline.pair_rules import PairRules
from ...pipeline.prepare import PreparedPair
from ...pipeline.result import Result
from ...pipeline.result_objects import with_objects, with_unknown
from ...pipeline.unknown_objects import UnknownObjects
from ..infer_report import Report
from .output import Output
from .recorded_pairs import RecordedPair
from .recording import RIG


class Writer:
    """Writes results in their order, in a thread; after a failure of the output no more."""

    def __init__(
        self,
        output: Output,
        runtime: Runtime,
        rules: PairRules,
        thread: Executor,
        tracks: ObjectTracks | None = None,
    ) -> None:
        """With `tracks` the reports have the objects of each pair."""
        self._tracks, self._unknown = tracks, UnknownObjects()
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
        if self._tracks:
            result = self._with_objects(result, pair)
        live = LiveResult(RIG, pair.sequence, pair.visible, pair.infrared, result)
        try:
            with times.measure("encode"):
                self._output.write(live)
        except ServiceError:
            raise
        except Exception as error:
            self._broken = self._failed(error)
            raise self._broken from error
        return live.report

    def _with_objects(self, result: Result, pair: RecordedPair) -> Result:
        rules, stamp_ns = self._rules.objects, pair.visible.stamp_ns
        result = with_objects(result, rules, self._tracks)
        if rules.unknown:
            return with_unknown(result, rules.unknown, self._unknown, stamp_ns)
        return result

    def finish(self) -> None:
        """Have the disk hold the whole; raises SinkError."""
        try:
            self._output.finish()
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SinkError:
        words = getattr(error, "strerror", None) or str(error)
        return SinkError(
            f"{shown(self._output.target)} cannot be written ({words}): make room or mend it, then "
            "call the same again, and it goes on"
        )
