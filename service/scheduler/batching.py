"""Micro-batches: pairs of one size that wait at the same time go through the network together."""

import asyncio
import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, perf_counter

from anyio import move_on_after

from segmif.frames import CONFIDENCE, FramePair, Prediction
from segmif.runtime import Runtime, predict_batch

from ..errors import DeadlineMissed, ServiceError, network_error
from ..pipeline.stage_times import StageTimes
from ..settings import Settings
from .worker_threads import Workers

# A batch pays on a GPU; on a CPU it only makes the first pair wait for the last one's work.
BATCH_ON_CPU, BATCH_ON_GPU = 1, 8
# By which a refusal trusts the time of the last batch less: else, if it was slow for once, no pair
# with a deadline would ever renew it.
DOUBT = 0.5
REMEMBERED = 8  # batches, the shortest of which says when the next one may end


def largest_batch(settings: Settings, runtime: Runtime) -> int:
    """Pairs that go through the network at once: as set, or as suits, and what an engine takes."""
    wanted = settings.max_batch or (BATCH_ON_GPU if settings.on_gpu else BATCH_ON_CPU)
    profile = runtime.manifest.engine.get("profile")
    return min(wanted, profile["batch"][2]) if profile else wanted


@dataclass(eq=False)
class Job:
    """A pair that waits for the network."""

    pair: FramePair
    due: float  # on the clock of `time.monotonic`
    times: StageTimes
    result: asyncio.Future[Prediction]
    confidence: bool  # asked for
    tint: float | None = None  # None: the network's default
    rank: int = 0  # the lowest is next
    since: float = field(default_factory=monotonic)
    computing: bool = False
    runtime: Runtime | None = None  # that computes it


class Batcher:
    """
    Gives the network what waits, in the order of rank and arrival, up to `max_batch` at once.

    A pair waits at most `max_delay_s` for others to join, and not at all when none are coming.
    Lives on the event loop; only `runtime.run` is called in `engine`. It works on as many batches
    at a time as the runtime has slots (one, if it does not say).
    """

    def __init__(
        self,
        runtime: Runtime,
        engine: Workers,
        max_batch: int,
        max_delay_s: float,
        note_size: Callable[[int], None],
        retry_s: Callable[[], int],
    ) -> None:
        """`note_size` gets the size of each batch, `retry_s` gives the delay for a late pair."""
        self._last_infer_s, self._last_pixels = 0.0, 1  # of a batch, and of each pair in it
        self._note_size = note_size
        self._retry_s = retry_s
        self._engine = engine
        self._computing: dict[asyncio.Task[None], float] = {}  # with the time when it may end
        self._recent_s: deque[float] = deque(maxlen=REMEMBERED)  # of a batch, per pixel
        self._busy_s, self._busy_since = 0.0, 0.0  # while it computes, until that began last
        self._use(runtime, max_batch, max_delay_s)
        self._waiting: list[Job] = []
        self._coming = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._dispatcher: asyncio.Task[None] | None = None

    def _use(self, runtime: Runtime, max_batch: int, max_delay_s: float) -> None:
        self.runtime = runtime
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._room = asyncio.Semaphore(slots_of(runtime))

    async def change(self, runtime: Runtime, max_batch: int, max_delay_s: float) -> None:
        """Give what comes next to another runtime; returns once the last one is left alone."""
        last = list(self._computing)
        self._use(runtime, max_batch, max_delay_s)
        await asyncio.gather(*last)

    @property
    def depth(self) -> int:
        """How many pairs wait for the network."""
        return len(self._waiting)

    async def nearly_free(self, lead_s: float) -> None:
        """
        Return once the network could take another pair `lead_s` from now.

        The shortest of the last batches says when the current one may end.
        """
        while self._is_full():
            left_s = math.inf
            if len(self._computing) >= slots_of(self.runtime):
                left_s = min(self._computing.values()) - lead_s - monotonic()
            if left_s <= 0:
                return
            self._changed.clear()
            with move_on_after(left_s):
                await self._changed.wait()

    def _is_full(self) -> bool:
        """Whether what computes, waits and comes takes all slots."""
        batches = math.ceil((len(self._waiting) + self._coming) / self._max_batch)
        return len(self._computing) + batches >= slots_of(self.runtime)

    async def idle(self) -> None:
        """Return once no pair waits for the network or is in it."""
        await self._idle.wait()

    @property
    def busy_s(self) -> float:
        """Seconds since the start in which the network computed."""
        return self._busy_s + (monotonic() - self._busy_since if self._computing else 0.0)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce a pair that is being prepared, so that a batch may wait for it."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    def submit(
        self,
        pair: FramePair,
        due: float,
        times: StageTimes,
        *,
        confidence: bool = False,
        tint: float | None = None,
        rank: int = 0,
    ) -> Job:
        """
        Put a pair into the queue, behind those of its rank.

        Its `result` may be cancelled until it computes. It holds the confidence if that is
        asked for and the network gives one.
        The result raises DeadlineMissed if `due` passes before the network is free. It raises
        UnfitSize if the network was built for other sizes, and EngineFailed for other errors.
        """
        result: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        job = Job(pair, due, times, result, confidence, tint, rank)
        insort(self._waiting, job, key=lambda each: each.rank)
        self._idle.clear()
        job.result.add_done_callback(lambda _: self._forget(job))
        self._changed.set()
        if not self._dispatcher or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch())
        return job

    def _forget(self, job: Job) -> None:
        """Let a cancelled pair go at once: a client that keeps hanging up must not fill memory."""
        if job.result.cancelled() and job in self._waiting:
            self._waiting.remove(job)
            self._changed.set()
            self._note_idle()

    async def _dispatch(self) -> None:
        """Work until nothing waits."""
        while self._waiting:
            await self._gather()
            room = self._room
            await room.acquire()
            batch = self._take()
            if not batch:
                room.release()
                self._note_idle()
                continue
            task = asyncio.create_task(self._compute(batch, self.runtime))
            if not self._computing:
                self._busy_since = monotonic()
            self._computing[task] = monotonic() + self._shortest_s(batch[0])
            task.add_done_callback(partial(self._leave, room))
            self._changed.set()

    def _leave(self, room: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        del self._computing[task]
        if not self._computing:
            self._busy_s += monotonic() - self._busy_since
        room.release()
        self._note_idle()
        self._changed.set()

    def _note_idle(self) -> None:
        if not self._waiting and not self._computing:
            self._idle.set()

    async def _gather(self) -> None:
        """Wait until a batch is full, its oldest pair has waited enough, or no other is coming."""
        latest = min(job.since for job in self._waiting) + self._max_delay_s
        while 0 < len(self._waiting) < self._max_batch and self._coming:
            self._changed.clear()
            with move_on_after(latest - monotonic()) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                return

    def _take(self) -> list[Job]:
        """
        The longest run of equal sizes from the head of the queue, without what is void.

        Taking only from the head keeps the pairs of a stream in order: their ranks rise.
        """
        batch: list[Job] = []
        while self._waiting and len(batch) < self._max_batch:
            job = self._waiting[0]
            if batch and job.pair.infrared.shape != batch[0].pair.infrared.shape:
                break
            self._waiting.pop(0)
            if job.result.done():  # cancelled: the client is gone, or a newer pair came
                continue
            infer_s = self._infer_s(job)
            if monotonic() + infer_s > job.due:
                if job.due - job.since < infer_s:  # nor had it been in time without others
                    self._last_infer_s *= DOUBT
                job.result.set_exception(
                    DeadlineMissed(
                        "the deadline passed before the network was free", retry_s=self._retry_s()
                    )
                )
                continue
            job.computing = True
            batch.append(job)
        return batch

    def _infer_s(self, job: Job) -> float:
        """Seconds that the network should take for a pair, by the last one and its size."""
        return self._last_infer_s * job.pair.infrared.size / self._last_pixels

    def _shortest_s(self, job: Job) -> float:
        """The same by the shortest of the last ones."""
        return min(self._recent_s, default=0.0) * job.pair.infrared.size

    async def _compute(self, batch: list[Job], runtime: Runtime) -> None:
        started = perf_counter()
        for job in batch:
            job.runtime = runtime
            job.times.note("queue", (monotonic() - job.since) * 1000)
        asked = CONFIDENCE in runtime.outputs and any(job.confidence for job in batch)
        # without the input for it, as after a reload: the report says so
        takes_tint = runtime.default_tint is not None
        predict = partial(
            predict_batch,
            runtime,
            [job.pair for job in batch],
            tints=[job.tint for job in batch] if takes_tint else None,
            confidence=asked,
        )
        try:
            predictions = await self._engine.run(predict)
        except Exception as error:
            if len(batch) > 1:  # one bad pair must not spoil the others
                for job in batch:
                    await self._compute([job], runtime)
                return
            _finish(batch[0], network_error(error, batch[0].pair.infrared.shape))
            return
        infer_ms = (perf_counter() - started) * 1000
        self._last_infer_s, self._last_pixels = infer_ms / 1000, batch[0].pair.infrared.size
        self._recent_s.append(self._last_infer_s / self._last_pixels)
        self._note_size(len(batch))
        for job, prediction in zip(batch, predictions, strict=True):
            job.times.note("infer", infer_ms)
            job.times.batch = len(batch)
            _finish(job, prediction if job.confidence else replace(prediction, confidence=None))


def slots_of(runtime: Runtime) -> int:
    """Batches that a runtime works on at a time: on a GPU one is copied while one is computed."""
    return getattr(runtime, "slots", 1)


def _finish(job: Job, outcome: Prediction | ServiceError) -> None:
    if job.result.done():  # its client has gone
        return
    if isinstance(outcome, ServiceError):
        job.result.set_exception(outcome)
    else:
        job.result.set_result(outcome)
