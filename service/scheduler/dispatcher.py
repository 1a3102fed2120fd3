"""The way of a pair through queues, threads and network, from request to answer."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic_ns
from typing import TypeVar

from segmif.frames import CONFIDENCE, FIXED_HUE
from segmif.runtime import Runtime

from ..errors import BadParameter, EngineFailed
from ..observability.metrics import Metrics
from ..pipeline.align import RigAligner
from ..pipeline.decoder.pool import open_decoder
from ..pipeline.pair_rules import PairRules
from ..pipeline.result import Result
from ..pipeline.result_history import with_history
from ..schemas.pair_options import PairOptions
from ..settings import Settings
from .batching import Batcher, largest_batch
from .camera_streams import QueuedPair, Stream, Streams
from .deadlines import in_time
from .latest_pairs import LatestPairs
from .model_loading import LoadedModel
from .pair_queues import HEAVY_PAIRS, PairQueues
from .pair_request import PairRequest
from .preparation import Preparation
from .self_test import SelfTest
from .shadow import SeenPair, Shadow
from .worker_threads import NETWORK_NICE, Workers, memory_errors

MOST_SLOTS = 2  # of a runtime
BOTH_CORRECT = "refine and registration both correct what pairs show: state one of them"

T = TypeVar("T")


class Dispatcher:
    """
    Makes answers from pairs.

    Codecs and network work in threads of their own; the event loop only waits for them.
    """

    def __init__(self, model: LoadedModel) -> None:
        settings = model.settings
        self._model = model
        self._rules = PairRules.of(settings, model.rig_aligner)
        self._streams = Streams()
        self.metrics = Metrics(model.runtime)
        self.queues = PairQueues(settings)
        self.latest_pairs = LatestPairs() if settings.hand_out_pairs else None
        self.decoder = open_decoder(
            settings.decode_processes, settings.decode_limit_s, self.metrics.lost
        )
        self._engine = Workers(MOST_SLOTS, "engine", NETWORK_NICE)
        self.batcher = Batcher(
            model.runtime,
            self._engine,
            largest_batch(settings, model.runtime),
            settings.batch_delay_ms / 1000,
            self.metrics.batches.observe,
            self.queues.all.retry_s,
        )
        self._preparation = Preparation(self.queues, self.decoder, self.batcher)
        self.shadow = Shadow(self.batcher, self.metrics)
        self.self_test = SelfTest(model, self.queues.codecs, self.batcher)
        self.sockets = self.reloads = 0
        self._watch()

    @property
    def runtime(self) -> Runtime:
        """The network in service."""
        return self._model.runtime

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._model.settings

    @property
    def rules(self) -> PairRules:
        """The operator's rules for pairs."""
        return self._rules

    def _watch(self) -> None:
        watch, queues = self.metrics.watch, self.queues
        watch("stream_sockets", "Open WebSockets", lambda: self.sockets)
        watch("pending", "Pairs in work", lambda: queues.all.pending)
        watch("heavy_pending", f"In work of them: {HEAVY_PAIRS}", lambda: queues.heavy.pending)
        watch("queue_depth", "Pairs that wait for the network", lambda: self.batcher.depth)
        watch("ready", "1 once the golden pair came out right", self.self_test.passed)
        watch(
            "rig_moved",
            "1 while pairs show that the rig no longer stands as its file says",
            self._moved,
        )

    def _moved(self) -> bool:
        return self._rules.rig_aligner is not None and self._rules.rig_aligner.moved

    def end_stream(self, client: str, name: str) -> None:
        """Forget what pairs of a client's stream left behind: no more of it will come."""
        self._streams.end(client, name)

    async def process(self, pair: PairRequest, finish: Callable[[Result], T]) -> T:
        """
        Answer one pair; cancelling removes it from the queue unless the network has it.

        `finish` makes the answer from the result, in a thread of the codecs. `as_it_is` needs none.

        Raises BadFrame, BadPair, BadParameter, UnfitSize, Superseded, EngineFailed, DeadlineMissed,
        or what `Admission.check` raises.
        """
        options = pair.options
        self._check(options)
        stream = self._streams.get(pair.client, options.stream)
        if options.live:
            stream.drop_waiting()
        with self.queues.enter(pair, self.is_heavy(options)) as queued:
            queued.times.note("receive", pair.received_s * 1000)
            queued.work = asyncio.create_task(self._work(queued, finish, stream))
            with stream.holding(queued):
                try:
                    answer: T = await in_time(queued.work, pair.due)
                except asyncio.CancelledError:
                    if queued.lost:
                        raise queued.lost from None
                    raise
                finally:
                    queued.work.cancel()
            # How long others take does not follow from a heavy pair.
            (queued.heavy or queued.slot).leave(queued.times.worked_s())
            return answer

    def _check(self, options: PairOptions) -> None:
        """Raise BadParameter for options that this service, or a lone pair, cannot have."""
        if options.depth_m is not None and not self._rules.rig_aligner:
            raise BadParameter("depth_m is for a service that was started with a rig (--rig)")
        if options.tint is not None and self.runtime.default_tint is None:
            raise BadParameter(f"tint is {options.tint:g}, but {FIXED_HUE}")
        if options.registration and options.refine:
            raise BadParameter(BOTH_CORRECT)
        for name in ("live", "memory", "registration"):
            if getattr(options, name) and options.stream is None:
                raise BadParameter(f"{name} is for the pairs of a stream; name it with stream=")

    def _rules_of(self, pair: PairRequest) -> PairRules:
        """The rules of a pair; its recording's statements are below the operator's."""
        return (pair.rules or self._rules).over_recorded(pair.recorded)

    def is_heavy(self, options: PairOptions) -> bool:
        """Whether a request orders work that would keep others waiting in the codecs' threads."""
        rig_aligner = self._rules.rig_aligner
        return options.refine or (
            rig_aligner is not None and not rig_aligner.knows(options.depth_m)
        )

    async def _work(self, queued: QueuedPair, finish: Callable[[Result], T], stream: Stream) -> T:
        rules = self._rules_of(queued.request)  # of the answer, even if a reload comes meanwhile
        try:
            result = await self._result(queued, rules, stream)
        finally:
            queued.leave_memory()
        # A thread of the codecs may be busy, and the way to it and back costs as much.
        if finish is as_it_is or self.queues.may_do_at_once(queued.request, rules):
            with memory_errors():
                answer = finish(result)
        else:
            answer = await self.queues.codecs.run(finish, result)
        self.metrics.answered(result.times.ms, result.prepared.condition)
        if queued.seen:
            differs = queued.request.differs
            told = partial(differs, result) if differs else None
            self.shadow.offer(replace(queued.seen, compared=told))
        return answer

    async def _result(self, queued: QueuedPair, rules: PairRules, stream: Stream) -> Result:
        prepared = await self._preparation.prepare(queued, rules, stream, self.latest_pairs)
        assert queued.job
        try:
            prediction = await queued.job.result
        except EngineFailed:
            self.self_test.repeat()
            raise
        queued.request.computed()
        request = queued.request
        if self.shadow.wants():
            queued.seen = SeenPair(
                prepared.pair,
                prediction,
                prepared.tint,
                queued.times.ms["infer"],
                request.request_id,
                queued.job.runtime or self.runtime,
            )
        result = Result(
            prediction,
            prepared,
            queued.job.runtime or self.runtime,
            rules.gain,
            queued.times,
            request.request_id,
            request.options.stream,
        )
        return await self._with_history(result, queued, rules, stream)

    async def _with_history(
        self, result: Result, queued: QueuedPair, rules: PairRules, stream: Stream
    ) -> Result:
        """Add memory and objects, which need those of the pairs before."""
        options = queued.request.options
        tracks = stream.memory.tracks if stream.memory else None
        temporal = stream.temporal if rules.remembers(options) else None
        if not (temporal or options.objects):
            if tracks:
                tracks.follow((), ())  # a track does not wait for ever
            return result
        if queued.before:
            await asyncio.shield(queued.before)  # others wait for it too
        keeps = CONFIDENCE in options.views or options.objects
        objects = rules.objects if options.objects else None
        stamps = options.visible_ns, options.infrared_ns, monotonic_ns()
        stamp_ns = next(stamp for stamp in stamps if stamp is not None)
        return await self.queues.codecs.run(
            with_history, result, temporal, objects, stream.memory, stamp_ns, confidence=keeps
        )

    async def start_shadow(self) -> None:
        """Begin with the candidate, if the settings name one."""
        await self.shadow.use(self._model)

    async def start_decoders(self) -> None:
        """Start the processes that decode files, so that the first pair need not wait for them."""
        await self.queues.codecs.run(self.decoder.start, self._rules.max_pixels)

    async def reload(self, model: LoadedModel) -> None:
        """
        Go on with another network, rig and limits; the last network finishes what it has.

        Raises EngineFailed, and changes nothing, if the golden pair does not come out right.
        """
        await self.self_test.accept(model)
        await self.shadow.stop()
        last, self._model, settings = self._model, model, model.settings
        self._rules = PairRules.of(settings, model.rig_aligner)
        kept = self.latest_pairs or LatestPairs()
        self.latest_pairs = kept if settings.hand_out_pairs else None
        self.queues.limit(settings)
        self.metrics.introduce(model.runtime)
        await self.batcher.change(
            model.runtime, largest_batch(settings, model.runtime), settings.batch_delay_ms / 1000
        )
        await self.queues.codecs.run(last.close)
        await self.shadow.use(model)
        self.reloads += 1

    def align_by(self, aligner: RigAligner) -> None:
        """Go on with a rig file that was written anew."""
        self._model = replace(self._model, rig_aligner=aligner)
        self._rules = replace(self._rules, rig_aligner=aligner)

    def close(self) -> None:
        """Wait for what runs, then free threads and network."""
        self.queues.close()
        self._engine.close()
        self.decoder.close()
        self._model.close()


def as_it_is(result: Result) -> Result:
    """An answer that is the result itself: whoever gets it encodes what is needed."""
    return result
