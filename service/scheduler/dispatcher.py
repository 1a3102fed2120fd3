"""The production line: which thread does what, in which order, and whether it works."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from segmif.frames import CONFIDENCE, FramePair, Prediction
from segmif.runtime import Runtime
from segmif.wire.raw_frames import Frame

from ..errors import BadParameter, EngineFailed, NotReady
from ..memory.budget import client_key
from ..observability.metrics import Metrics
from ..pipeline.align import RigAligner
from ..pipeline.decode import DecodeOptions, decode
from ..pipeline.decoder.pool import in_time, open_decoder
from ..pipeline.infer import (
    PairRules,
    PreparedPair,
    align_pair,
    check,
    compare,
    predict_all,
    prepare,
)
from ..pipeline.result import Result
from ..pipeline.stage_times import StageTimes
from ..schemas.pair_options import PairOptions
from ..settings import Settings
from .admission import Admission, QueueSlot
from .batching import Batcher, Job, largest_batch
from .camera_streams import QueuedPair, Stream, Streams
from .fairness import RankedSemaphore
from .latest_pairs import LatestPairs
from .model_loading import LoadedModel, too_slow
from .worker_threads import HEAVY_NICE, Workers, end_aside

GOLDEN = Path(__file__).parents[1] / "web" / "samples" / "day"
CODEC_THREADS = 2
HEAVY_PAIRS = "pairs with refine or a depth_m that was not in use"
MOST_SLOTS = 2  # of a runtime
logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class PairRequest:
    """Two frames of one moment, whose they are and when their answer is due."""

    visible: Frame | None  # None: the sensor gives none, which `ask.sensors` admits
    infrared: Frame | None
    ask: PairOptions
    client: str
    request_id: str
    due: float = math.inf  # on the clock of `time.monotonic`
    received_s: float = 0.0  # how long the request took to come
    same_stamps: bool = False  # as the pair before, of the same request


class Dispatcher:
    """
    Takes encoded pairs to encoded answers.

    Codecs and network work in threads of their own; the event loop only waits for them.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        rig_aligner: RigAligner | None = None,
        reference: Runtime | None = None,
    ) -> None:
        self.runtime = runtime
        self._reference = reference
        self._repeated_self_test: asyncio.Task[None] | None = None
        self.metrics = Metrics(runtime)
        self.admission = Admission(settings.max_pending, settings.max_pending_per_client)
        self._self_test_s = settings.self_test_s
        self.hangs = False  # whether the network did not end the golden pair in time
        self._not_ready_reason: str | None = "the golden pair has not come through yet"
        self._rules = PairRules.of(settings, rig_aligner)
        self._streams = Streams()
        self.tap = LatestPairs() if settings.hand_out_pairs else None
        self.codecs = Workers(CODEC_THREADS, "codec")
        self.heavy = Admission(settings.max_heavy_pending, what=HEAVY_PAIRS)
        self._heavy_codecs = Workers(1, "heavy", HEAVY_NICE)
        self._codec_order = RankedSemaphore(CODEC_THREADS)
        self._heavy_order = RankedSemaphore(1)
        self.decoder = open_decoder(
            settings.decode_processes, settings.decode_limit_s, self.metrics.lost
        )
        self._engine = Workers(MOST_SLOTS, "engine")
        self.batcher = Batcher(
            runtime,
            self._engine,
            largest_batch(settings, runtime),
            settings.batch_delay_ms / 1000,
            self.metrics.batches.observe,
            self.admission.retry_s,
        )
        self.sockets = 0
        self.metrics.watch("stream_sockets", "Open WebSockets", lambda: self.sockets)
        self.metrics.watch("pending", "Pairs in work", lambda: self.admission.pending)
        self.metrics.watch(
            "heavy_pending", f"In work of them: {HEAVY_PAIRS}", lambda: self.heavy.pending
        )
        self.metrics.watch(
            "queue_depth", "Pairs that wait for the network", lambda: self.batcher.depth
        )
        self.metrics.watch("ready", "1 once the golden pair came out right", self.is_ready)

    async def process(self, pair: PairRequest, finish: Callable[[Result], T]) -> T:
        """
        Answer one submission; cancelling takes it out of the line unless the network has it.

        `finish` makes the answer from the result, in a thread of the codecs.

        Raises BadFrame, BadPair, BadParameter, UnfitSize, Superseded, EngineFailed, DeadlineMissed,
        or what `Admission.check` raises.
        """
        ask = pair.ask
        if ask.depth_m is not None and not self._rules.rig_aligner:
            raise BadParameter("depth_m is for a service that was started with a rig (--rig)")
        if ask.live and ask.stream is None:
            raise BadParameter("live is for the pairs of a stream; name it with stream=")
        stream = self._streams.get(pair.client, ask.stream)
        if ask.live:
            stream.drop_waiting()
        if not self.is_heavy(ask):
            return await self._answer(pair, finish, stream)
        place = self.heavy.enter(client_key(pair.client), pair.due - monotonic())
        try:
            answer = await self._answer(pair, finish, stream, place)
        finally:
            place.leave()
        return answer

    def is_heavy(self, ask: PairOptions) -> bool:
        """Whether a request orders work that would keep others waiting in the codecs' threads."""
        rig_aligner = self._rules.rig_aligner
        return ask.refine or (rig_aligner is not None and not rig_aligner.knows(ask.depth_m))

    async def _answer(
        self,
        pair: PairRequest,
        finish: Callable[[Result], T],
        stream: Stream,
        heavy: QueueSlot | None = None,
    ) -> T:
        place = self.admission.enter(client_key(pair.client), pair.due - monotonic())
        queued, times = QueuedPair(place, pair.ask.live, heavy), StageTimes()
        place.holder = queued
        if heavy:
            heavy.holder = queued
        times.note("receive", pair.received_s * 1000)
        queued.work = asyncio.create_task(self._work(pair, finish, stream, queued, times))
        stream.queued_pairs.append(queued)
        try:
            answer: T = await in_time(queued.work, pair.due)
            # How long others take does not follow from a heavy pair.
            (heavy or place).leave(times.worked_s())
            return answer
        except asyncio.CancelledError:
            if queued.lost:
                raise queued.lost from None
            raise
        finally:
            queued.work.cancel()
            place.leave()
            stream.queued_pairs.remove(queued)

    async def start_decoders(self) -> None:
        """Start what decodes files, which else the first of them would."""
        await self.codecs.run(self.decoder.start, self._rules.max_pixels)

    async def run_self_test(self, golden: Path) -> None:
        """
        Send the golden pair (a folder's visible.png and infrared.png) through; see `ready`.

        Where there is a reference, the network must come close to it.
        """
        runtime, trouble = self.runtime, None
        try:
            await asyncio.wait_for(self._self_test(golden, runtime), self._self_test_s)
        except asyncio.TimeoutError:
            trouble = too_slow(self._self_test_s)
            self.hangs = runtime is self.runtime
            logger.error("the service will not become ready: %s", trouble)
            for each in (runtime, self._reference):
                if each:
                    end_aside(each.close)
        except Exception:
            trouble = "the golden pair did not come out right; the log says why"
            logger.exception("the service will not become ready")
        if runtime is self.runtime:  # else another has taken its place, and proven itself
            self._not_ready_reason = trouble

    async def _self_test(self, golden: Path, runtime: Runtime) -> None:
        prepared = await self.codecs.run(self._read, golden)
        job = self.batcher.submit(prepared.pair, math.inf, StageTimes(), confidence=True)
        await self._judge(await job.result, prepared.pair, runtime, self._reference)

    async def _judge(
        self, prediction: Prediction, pair: FramePair, runtime: Runtime, reference: Runtime | None
    ) -> None:
        check(prediction, pair, runtime.manifest.classes)
        if reference:
            compare(prediction, await self.codecs.run(predict_all, reference, pair))

    async def _judge_opened(self, opened: LoadedModel, golden: FramePair) -> None:
        prediction = await self.codecs.run(predict_all, opened.runtime, golden)
        await self._judge(prediction, golden, opened.runtime, opened.reference)

    async def reload(self, opened: LoadedModel) -> None:
        """
        Go on with another network, rig and limits; what the last network has, it finishes.

        Raises EngineFailed, and changes nothing, where the golden pair does not come out right.
        """
        golden = (await self.codecs.run(self._read, GOLDEN)).pair
        limit_s = opened.settings.self_test_s
        try:
            await asyncio.wait_for(self._judge_opened(opened, golden), limit_s)
        except asyncio.TimeoutError:
            end_aside(opened.close)
            raise EngineFailed(too_slow(limit_s)) from None
        except BaseException:
            opened.close()
            raise
        last, last_reference = self.runtime, self._reference
        self.runtime, self._reference, self._not_ready_reason = (
            opened.runtime,
            opened.reference,
            None,
        )
        settings = opened.settings
        self._self_test_s = settings.self_test_s
        self._rules = PairRules.of(settings, opened.rig_aligner)
        self.tap = (self.tap or LatestPairs()) if settings.hand_out_pairs else None
        self.admission.limit(settings.max_pending, settings.max_pending_per_client)
        self.heavy.limit(settings.max_heavy_pending)
        self.metrics.introduce(opened.runtime)
        await self.batcher.change(
            opened.runtime,
            largest_batch(settings, opened.runtime),
            settings.batch_delay_ms / 1000,
        )
        for runtime in (last, last_reference):
            if runtime:
                await self.codecs.run(runtime.close)

    def _repeat_self_test(self) -> None:
        """See whether a network that failed still knows the golden pair; else it is not ready."""
        if not self._repeated_self_test or self._repeated_self_test.done():
            self._repeated_self_test = asyncio.create_task(self.run_self_test(GOLDEN))

    def ready(self) -> None:
        """Raise NotReady with the reason unless the golden pair came out right."""
        if self._not_ready_reason:
            raise NotReady(self._not_ready_reason, retry_s=1)

    def is_ready(self) -> bool:
        """Tell whether the golden pair came out right."""
        return self._not_ready_reason is None

    def close(self) -> None:
        """Wait for what runs, then free threads and network."""
        for workers in (self.codecs, self._heavy_codecs, self._engine):
            workers.close()
        self.decoder.close()
        for runtime in (self.runtime, self._reference):
            if runtime:
                runtime.close()

    async def _work(
        self,
        pair: PairRequest,
        finish: Callable[[Result], T],
        stream: Stream,
        queued: QueuedPair,
        times: StageTimes,
    ) -> T:
        rules = self._rules  # those of the answer, should others come meanwhile
        with self.batcher.coming():
            prepared = await self._prepare(pair, rules, stream, queued, times)
        assert queued.job
        try:
            prediction: Prediction = await queued.job.result
        except EngineFailed:
            self._repeat_self_test()
            raise
        result = Result(
            prediction,
            prepared,
            queued.job.runtime or self.runtime,
            rules.gain,
            times,
            pair.request_id,
            pair.ask.stream,
        )
        answer = await self.codecs.run(finish, result)
        self.metrics.answered(times.ms, prepared.condition)
        return answer

    async def _prepare(
        self,
        pair: PairRequest,
        rules: PairRules,
        stream: Stream,
        queued: QueuedPair,
        times: StageTimes,
    ) -> PreparedPair:
        """Decode beside the stream's other pairs; align and queue in the order of the stream."""
        frames = pair.visible, pair.infrared
        means = DecodeOptions(self.decoder, self.codecs.both, pair.due)
        place, heavy = queued.place, queued.heavy
        if stream.memory is None:  # a lone pair has no order to keep: one hand-over is enough
            work = partial(prepare, *frames, rules, times, pair.ask, means)
            prepared = await self._next(heavy or place, work)
            queued.job = self._submit(prepared, pair, times, place)
            return prepared
        cameras = rules.cameras_for(pair.ask)
        decoding = asyncio.ensure_future(
            self._next(place, partial(decode, *frames, rules.max_pixels, times, means, cameras))
        )
        try:
            async with stream.order:
                decoded = await decoding
                if self.tap:  # before `align_pair`: an uncalibrated pair may be one that it refuses
                    await self.codecs.run(self.tap.keep, decoded, pair.ask, pair.client)
                prepared = await self._next(
                    heavy or place,
                    partial(
                        align_pair, decoded, rules, times, pair.ask, stream.memory, pair.same_stamps
                    ),
                )
                queued.job = self._submit(prepared, pair, times, place)
        finally:
            decoding.cancel()
        return prepared

    async def _next(self, place: QueueSlot, function: Callable[[], T]) -> T:
        """Call a function in a thread of the codecs, or of those for heavy pairs, in its turn."""
        heavy = place.is_of(self.heavy)
        workers = self._heavy_codecs if heavy else self.codecs
        async with (self._heavy_order if heavy else self._codec_order).hold(place.rank):
            return await workers.run(function)

    def _submit(
        self, prepared: PreparedPair, pair: PairRequest, times: StageTimes, place: QueueSlot
    ) -> Job:
        confidence = CONFIDENCE in pair.ask.views
        return self.batcher.submit(
            prepared.pair, pair.due, times, confidence=confidence, rank=place.rank
        )

    def _read(self, golden: Path) -> PreparedPair:
        visible, infrared = (
            Frame((golden / name).read_bytes()) for name in ("visible.png", "infrared.png")
        )
        return prepare(visible, infrared, PairRules(self._rules.max_pixels), StageTimes())
