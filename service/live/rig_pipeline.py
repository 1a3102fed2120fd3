"""One rig at work: sources -> pairs -> network -> sinks and page."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic

from segmif.frames import CONFIDENCE
from segmif.wire.media_types import View

from ..errors import ServiceError
from ..pipeline.comparison import Difference
from ..pipeline.result import Result
from ..scheduler.dispatcher import Dispatcher, as_it_is
from .camera_reader import rate_of
from .events.rig_events import RigEvents
from .live_metrics import LiveMetrics
from .live_request import RequestMaker
from .live_result import LiveResult
from .load_ladder import Level, LoadLadder, Occupied, levels
from .network_slots import NetworkSlot, NetworkSlots
from .open_rig import OpenRig
from .page_feed import PageFeed
from .pair_queue import LivePair
from .rig_cameras import RigCameras
from .rig_file import RigFile
from .sinks.settings import CollectSettings, needs_confidence
from .sinks.sink import SinkThread

RATE_RESULTS = 30  # over which the rate is taken

logger = logging.getLogger(__name__)


class RigPipeline:
    """Processes the pairs of one rig in their order and hands the results on."""

    def __init__(
        self,
        opened: OpenRig,
        dispatcher: Dispatcher,
        metrics: LiveMetrics,
        *,
        lossless: bool = False,
    ) -> None:
        """A `lossless` pipeline processes every pair of two recordings, however long it takes."""
        settings = self.settings = opened.settings
        self._lossless = lossless
        self.rig_file = RigFile(opened, dispatcher)
        self._dispatcher, self._metrics = dispatcher, metrics
        self.feed = PageFeed(dispatcher.queues.viewers)
        self.outcomes: Counter[str] = Counter()  # pairs by ok, or the kind of the problem
        self.flags: Counter[str] = Counter()  # results with each fault
        self.last_error: str | None = None
        self.last: LiveResult | None = None
        self.latency_s: float | None = None  # of the last result, from the visible frame's arrival
        self.ended = False  # both sources have
        self.cameras: RigCameras = RigCameras(
            opened,
            self._takes,
            goes_on_alone=dispatcher.rules.degraded != "refuse",
            lossless=lossless,
        )
        self._requests = RequestMaker(settings, self.rig_file, self.cameras.queue)
        self.sinks = [
            SinkThread(sink, partial(self._sink_failed, sink.name), lossless=lossless)
            for sink in opened.sinks
        ]
        self.events = RigEvents(
            settings.name,
            settings.events,
            settings.zones,
            zip(opened.notifiers, settings.notify, strict=True),
            lossless=lossless,
        )
        self.sink_errors: dict[str, str] = {}
        self.ladder = LoadLadder(self._levels())
        self._slots = NetworkSlots(dispatcher.batcher, lossless=lossless)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None  # for lost cameras and missing results
        self._sequence = 0
        self._times: deque[float] = deque(maxlen=RATE_RESULTS)
        self._next_s = 0.0  # when `max_rate` admits the next pair
        self._network_s = 0.0  # that it computed for this rig
        metrics.watch(self)

    @property
    def rate(self) -> float:
        """Results a second over the last ones."""
        return rate_of(self._times)

    @property
    def failed(self) -> bool:
        """Whether a pair, a source or a sink failed; of recordings, whether one is damaged."""
        pairs = self.outcomes.keys() - {"ok", "skipped"}
        cameras = self.cameras.readers.values()
        partly = not self.outcomes["ok"] or any(camera.source.damaged for camera in cameras)
        lost = (self._lossless and partly) or any(camera.error for camera in cameras)
        return bool(pairs or lost or self.sink_errors or self.events.failed)

    async def run(self) -> None:
        """Read and process until both cameras have ended."""
        queue = self.cameras.queue
        self.cameras.start()
        watching = asyncio.create_task(self.cameras.watch(self._note_error))
        self._watching = asyncio.create_task(self.events.watch_cameras(self.cameras.lost))
        previous: asyncio.Task[None] | None = None
        try:
            while await queue.wait():
                slot = await self._slots.wait()
                pair = await queue.get()  # not before: a newer one may have come meanwhile
                assert pair
                working = self._process(pair, slot, self._sequence, previous)
                previous = asyncio.create_task(working)
                self._sequence += 1
                self._tasks.add(previous)
                previous.add_done_callback(self._tasks.discard)
            await asyncio.gather(*self._tasks)
        finally:
            watching.cancel()

    def end(self) -> None:
        """Note that both sources have ended."""
        self.ended = True
        if not self.cameras.queue.counts.paired:
            self._note_error(self.cameras.why_no_pairs())

    async def close(self) -> bool:
        """Close the sources, finish what is in work, close the sinks; gives whether all ended."""
        self.cameras.close()
        if self._watching:  # not before: what goes on at the end of recordings ends with it
            self._watching.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A rig that a reload starts under this name may have other cameras.
        self._dispatcher.end_stream(self._requests.client, self.settings.name)
        self.feed.close()
        arrived = await asyncio.to_thread(self.events.close)
        ended = [await asyncio.to_thread(sink.close) for sink in self.sinks]
        return arrived and all(ended)

    def _takes(self, pair: LivePair) -> bool:
        """Whether a pair is to be processed, if it is still the newest then."""
        if self._lossless:
            return True
        occupied = Occupied(self._dispatcher.batcher.busy_s, self._network_s)
        if self.ladder.decide(self.cameras.queue.counts.late, occupied):
            logger.warning("%s: goes on at %s", self.settings.name, self.ladder.level.name)
        if not self.ladder.takes() or pair.arrived_s < self._next_s:
            self.outcomes["skipped"] += 1
            return False
        self._next_s = max(self._next_s, pair.arrived_s - 1) + 1 / self.settings.max_rate
        return True

    def _levels(self) -> Sequence[Level]:
        """What the rig can go without."""
        options = self._requests.options
        objects = options.objects and not self.events.need_objects
        return levels(memory=self._dispatcher.rules.remembers(options), objects=objects)

    async def _process(
        self, pair: LivePair, slot: NetworkSlot, sequence: int, previous: asyncio.Task[None] | None
    ) -> None:
        outcome, level, offset_ns = "ok", self.ladder.level, self.cameras.queue.offset_ns or 0
        made = partial(
            LiveResult,
            self.settings.name,
            sequence,
            pair.visible,
            pair.infrared,
            level=level.name,
            offset_ns=offset_ns,
        )
        try:
            views, need_objects = self._views(), self.events.need_objects
            request = self._requests.request(pair, sequence, level, views, need_objects)
            request = replace(request, computed=slot.computed)
            if any(isinstance(each, CollectSettings) for each in self.settings.sinks):
                request = replace(request, differs=partial(self._collect, made))
            result = await self._dispatcher.process(request, as_it_is)
            slot.note(result.times.ms)
            if previous:  # results leave in the order of their pairs
                await asyncio.wait([previous])
            self.last_error = None
            await self._deliver(made(result), pair.arrived_s)
        except ServiceError as error:
            outcome = error.kind
            self._note_error(str(error))
        except Exception as error:  # one pair must not end the rig
            outcome = ServiceError.kind
            logger.exception("%s-%d", self.settings.name, sequence)
            self.last_error = f"{type(error).__name__}: the log has more"
        finally:
            self.outcomes[outcome] += 1
            slot.leave()

    def _views(self) -> tuple[View, ...]:
        """The numbers that the page shows under the pointer, or that sinks and events need."""
        shown = self.feed.wanted
        needed = CONFIDENCE in shown or any(map(needs_confidence, self.settings.sinks))
        counts: tuple[View, ...] = ()
        if "counts" in shown or self.events.need_counts:
            counts = ("counts",)
        if needed and CONFIDENCE in self._dispatcher.runtime.outputs:
            return (*counts, "confidence")
        return counts

    async def _deliver(self, result: LiveResult, arrived_s: float) -> None:
        self.last, self.latency_s = result, monotonic() - arrived_s
        self._times.append(monotonic())
        times = result.result.times
        self._network_s += times.ms.get("infer", 0.0) / 1000 / times.batch
        self._metrics.delivered(self.settings.name, self.latency_s)
        self.flags.update(result.result.prepared.condition.flags)
        result = await self.events.see(result)
        self.feed.put(result)
        for sink in self.sinks:
            if self._lossless:
                await asyncio.to_thread(sink.put, result)
            else:
                sink.put(result)

    def _collect(
        self, made: Callable[..., LiveResult], result: Result, difference: Difference
    ) -> None:
        """Offer a pair to the collectors on which the candidate differs much."""
        live = made(result, difference=difference)
        for sink, settings in zip(self.sinks, self.settings.sinks, strict=True):
            if isinstance(settings, CollectSettings):
                sink.offer(live)

    def _sink_failed(self, sink: str, error: Exception) -> None:
        """Note the error of a sink; called in its thread."""
        logger.error("%s %s: %s", self.settings.name, sink, error)
        self.sink_errors[sink] = str(error)

    def _note_error(self, text: str) -> None:
        if text != self.last_error:
            logger.warning("%s: %s", self.settings.name, text)
        self.last_error = text
