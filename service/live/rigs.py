"""All rigs of a process: started with the service, replaced by a reload, closed with it."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from ..pipeline.align import RigAligner
from ..scheduler.dispatcher import Dispatcher
from ..schemas.live_state import LiveState, SavedRig
from .live_metrics import LiveMetrics
from .open_rig import OpenRig, check_rig, open_rig
from .rig_file import same_file, save_nudged
from .rig_pipeline import RigPipeline
from .rig_settings import LiveSettings, RigSettings
from .rig_state import rig_state, summary

logger = logging.getLogger(__name__)


class Rigs:
    """The rigs that `segmif run` reads, by name; lives on the event loop."""

    def __init__(self, settings: LiveSettings, dispatcher: Dispatcher) -> None:
        self.settings = settings
        self.failed = False  # a rig ended, and some of its pairs, sources or sinks had failed
        self.all_ended: Callable[[], None] | None = None  # called after the last recording's end
        self._dispatcher = dispatcher
        self._metrics = LiveMetrics(dispatcher.metrics.registry)
        self._pipelines: dict[str, RigPipeline] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._saving = asyncio.Lock()
        self._started = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None  # the event loop would forget it

    def __iter__(self) -> Iterator[RigPipeline]:
        return iter(list(self._pipelines.values()))

    def get(self, name: str) -> RigPipeline | None:
        """The rig of this name."""
        return self._pipelines.get(name)

    def state(self) -> LiveState:
        """How all rigs fare."""
        return LiveState(rigs=[rig_state(rig) for rig in self])

    async def start(self) -> None:
        """Start every rig; call it once."""
        await self._open(self.settings.rigs)
        self._started.set()
        if not self._pipelines and self.all_ended:
            self.all_ended()

    async def check(self, settings: LiveSettings) -> None:
        """
        Raise as `check_rig` if one that `reload` would start cannot be.

        It waits for `start`, which would open the same rigs a second time.
        """
        await self._started.wait()
        for rig in (await self._changes(settings))[1]:
            await asyncio.to_thread(check_rig, rig, settings)

    async def reload(self, settings: LiveSettings) -> None:
        """Close the rigs whose settings or rig file changed, and start new ones; `check` first."""
        changed, fresh = await self._changes(settings)
        self.settings = settings
        for name in changed:
            await self._close(name)
        await self._open(fresh)

    async def _changes(self, settings: LiveSettings) -> tuple[list[str], list[RigSettings]]:
        """Names of the rigs that are to end, and those that are to start."""
        wanted = {rig.name: rig for rig in settings.rigs}
        changed = [
            name
            for name, running in self._pipelines.items()
            if wanted.get(name) != running.settings
            or await asyncio.to_thread(running.rig_file.changed)
        ]
        kept = self._pipelines.keys() - set(changed)
        return changed, [rig for rig in settings.rigs if rig.name not in kept]

    async def nudge(self, rig: RigPipeline, right_px: float, down_px: float) -> SavedRig:
        """
        Move infrared by pixels of visible in a rig file; all who read it go on with the new one.

        Raises as `save_nudged`, or RigKept.
        """
        async with self._saving:  # rigs may share a file
            aligner = rig.rig_file.for_nudge()
            readers = [each for each in self._readers() if same_file(each[0], aligner)]
            depths_m = [each.depth_m for each, _ in readers]
            made, saved = await asyncio.to_thread(save_nudged, aligner, right_px, down_px, depths_m)
            for (_, align_by), anew in zip(readers, made, strict=True):
                align_by(anew)
        logger.info(
            "%s: its rig file was moved by hand; %s is the old one", rig.settings.name, saved.backup
        )
        return saved

    def _readers(self) -> Iterator[tuple[RigAligner, Callable[[RigAligner], None]]]:
        """What aligns by a rig file in this process, and who is told of a new one."""
        if service := self._dispatcher.rules.rig_aligner:
            yield service, self._dispatcher.align_by
        for rig in self:
            if own := rig.rig_file.own:
                yield own, rig.rig_file.align_by

    async def close(self) -> None:
        """Finish what is in work, and close sources and sinks."""
        await asyncio.gather(*(self._close(name) for name in list(self._pipelines)))

    async def _open(self, rigs: Iterable[RigSettings]) -> None:
        for rig in rigs:
            try:
                opened = await asyncio.to_thread(open_rig, rig, self.settings)
            except Exception as error:  # it was right when the process started
                self.failed = True
                logger.error("%s cannot be read: %s", rig.name, error)
                continue
            self._start(opened)

    def _start(self, opened: OpenRig) -> None:
        name = opened.settings.name
        pipeline = RigPipeline(opened, self._dispatcher, self._metrics, lossless=self.settings.once)
        self._pipelines[name] = pipeline
        self._running[name] = asyncio.create_task(self._run(pipeline))

    async def _run(self, pipeline: RigPipeline) -> None:
        await pipeline.run()
        logger.info("%s: both sources have ended", pipeline.settings.name)
        pipeline.end()
        if self.settings.once and all(rig.ended for rig in self):
            self._finishing = asyncio.create_task(self._finish())

    async def _finish(self) -> None:
        await self.close()
        if self.all_ended:
            self.all_ended()

    async def _close(self, name: str) -> None:
        pipeline = self._pipelines.pop(name, None)
        if pipeline is None:
            return
        running = self._running.pop(name)
        running.cancel()  # first: a pair that is begun later would find its sinks closed
        await asyncio.gather(running, return_exceptions=True)
        if not await pipeline.close():
            logger.error("%s: a sink did not end in time, or an event did not arrive", name)
            self.failed = True
        logger.info("%s: %s", name, summary(rig_state(pipeline)))
        for sink in pipeline.sinks:
            if self.settings.once and sink.dropped:
                words = "%s: %d results are not in %s, though --once takes every pair: %s"
                why = pipeline.sink_errors.get(sink.sink.name, "it took too long")
                logger.error(words, name, sink.dropped, sink.sink.name, why)
        self.failed = self.failed or pipeline.failed
        self._metrics.forget(name)
