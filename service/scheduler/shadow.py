"""The shadow phase: a candidate network sees a share of the pairs, and never answers."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from segmif.frames import FramePair, Prediction
from segmif.runtime import Runtime, predict

from ..observability.metrics import Metrics
from ..pipeline.comparison import Comparison, Difference, difference_of, differing_share
from ..pipeline.infer import check, predict_all
from .batching import Batcher
from .self_test import golden_pair
from .worker_threads import Workers, end_aside

if TYPE_CHECKING:
    from .model_loading import Candidate, LoadedModel

STOP_S = 10.0  # for the pair that is computed
LOWEST = 19  # nice: Linux gives such a thread a fiftieth of a core that others want

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenPair:
    """A pair that was answered, as the network in service saw it."""

    pair: FramePair
    prediction: Prediction  # before the memory of its stream
    tint: float | None
    infer_ms: float
    request_id: str
    runtime: Runtime  # that made the prediction
    compared: Callable[[Difference], None] | None = None  # told if the difference is large


class Shadow:
    """
    Compares a candidate with the network in service.

    One pair waits at most, and one is computed: in one thread of the lowest priority, begun only
    while no pair waits for the network or is in it. Of two that wait the older is dropped and
    counted. Lives on the event loop.
    """

    def __init__(self, batcher: Batcher, metrics: Metrics) -> None:
        self.candidate: Candidate | None = None
        self.refused: str | None = None  # why there is no candidate although one is stated
        self.comparison = Comparison(1)
        self.dropped = self.failed = 0
        self.last_error: str | None = None
        self._compares: tuple[str, str] | None = None  # digests of both networks
        self._batcher, self._metrics = batcher, metrics
        self._lock = asyncio.Lock()
        self._model: LoadedModel | None = None
        self._workers: Workers | None = None  # there once a candidate is
        self._waiting: SeenPair | None = None
        self._working: asyncio.Task[None] | None = None
        self._computing = False
        self._random = random.Random(0)
        metrics.watch("shadow", "1 while a candidate network sees pairs", lambda: self.on)
        metrics.watch(
            "shadow_differing_share",
            "Share of the pixels to which the candidate gives another class",
            lambda: differing_share(self.comparison.pixels),
        )

    @property
    def on(self) -> bool:
        """Whether a candidate sees pairs."""
        return self.candidate is not None

    async def use(self, model: "LoadedModel") -> None:
        """Compare with the candidate of `model` from now on, if it has one that can be used."""
        async with self._lock:
            if model is not self._model:  # else a reload during the start was first
                self._model = model
                await self._use(model)

    async def _use(self, model: "LoadedModel") -> None:
        candidate = model.candidate
        self.refused = candidate.refused if candidate else None
        if candidate and candidate.runtime:
            self.refused = await self._fault(candidate.runtime, model)
            if self.refused:
                candidate.runtime.close()
            else:
                self._begin(candidate, model.runtime)
        if self.refused:
            logger.error("no shadow phase: %s", self.refused)

    def wants(self) -> bool:
        """Whether the next pair belongs to the share that the candidate sees."""
        return self.candidate is not None and self._random.random() < self.candidate.share

    def offer(self, seen: SeenPair) -> None:
        """Have a pair compared as soon as nothing else waits; call it once it is answered."""
        if self._waiting:
            self._count("dropped")
        self._waiting = seen
        if not self._working or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Finish the pair that is computed, and begin no other; whoever opened it closes it."""
        self.candidate, self._waiting = None, None
        if self._working and not self._computing:
            self._working.cancel()  # it waits until nothing else does
        if self._working:
            await asyncio.wait([self._working], timeout=STOP_S)

    async def close(self) -> None:
        """Stop, then end the thread."""
        await self.stop()
        if self._workers:
            self._workers.close()

    async def _fault(self, runtime: Runtime, model: "LoadedModel") -> str | None:
        """Why a candidate cannot make the golden pair; None if it can."""
        limit_s = model.settings.self_test_s
        try:
            # The lowest priority might not get through in time on a busy machine.
            pair = await asyncio.to_thread(golden_pair, model.settings.max_pixels)
            trial = asyncio.to_thread(predict_all, runtime, pair)
            check(await asyncio.wait_for(trial, limit_s), pair, runtime.manifest.classes)
        except asyncio.TimeoutError:
            end_aside(runtime.close)
            return f"the candidate did not finish the golden pair within {limit_s:g} s"
        except Exception as error:
            return f"the candidate failed on the golden pair: {error}"
        return None

    def _begin(self, candidate: "Candidate", serving: Runtime) -> None:
        assert candidate.runtime
        manifest = candidate.runtime.manifest
        digests = serving.manifest.sha256, manifest.sha256
        if digests != self._compares:  # else a reload for another reason: go on counting
            self._compares, self.dropped, self.failed = digests, 0, 0
            self.comparison, self.last_error = Comparison(len(manifest.classes.names)), None
        self._workers = self._workers or Workers(1, "shadow", LOWEST)
        self.candidate = candidate
        logger.info("%s sees %g of the pairs", manifest.sha256, candidate.share)

    async def _work(self) -> None:
        while self._waiting:
            await self._batcher.idle()
            seen, self._waiting = self._waiting, None
            if seen and self.candidate and self.candidate.runtime and self._fits(seen):
                await self._compare(seen, self.candidate.runtime)

    def _fits(self, seen: SeenPair) -> bool:
        """Whether the network in service still is the one that answered."""
        return self._compares is not None and seen.runtime.manifest.sha256 == self._compares[0]

    async def _compare(self, seen: SeenPair, runtime: Runtime) -> None:
        assert self._workers
        self._computing = True
        try:
            difference, ms = await self._workers.run(compared, seen, runtime)
        except Exception as error:
            if self.candidate:  # else it was let go meanwhile
                self._note_failure(error)
            return
        finally:
            self._computing = False
        if not self.candidate:
            return
        self._count("compared")
        self._metrics.shadow_seconds.observe(ms / 1000)
        self.comparison.serving_ms.add(seen.infer_ms)
        self.comparison.candidate_ms.add(ms)
        if self.comparison.add(difference, seen.request_id) and seen.compared:
            seen.compared(difference)

    def _note_failure(self, error: Exception) -> None:
        self._count("failed")
        if str(error) != self.last_error:
            logger.error("the candidate gave no result: %s", error)
        self.last_error = str(error)

    def _count(self, outcome: str) -> None:
        self._metrics.shadow_pairs.labels(outcome).inc()
        if outcome == "dropped":
            self.dropped += 1
        if outcome == "failed":
            self.failed += 1


def compared(seen: SeenPair, runtime: Runtime) -> tuple[Difference, float]:
    """What differs if the candidate computes a pair, and the milliseconds that it took."""
    started = perf_counter()
    tint = seen.tint if runtime.default_tint is not None else None
    prediction = predict(runtime, seen.pair, tint=tint)
    ms = (perf_counter() - started) * 1000
    return difference_of(seen.prediction, prediction, len(runtime.manifest.classes.names)), ms
