"""The streams of cameras: the order of their pairs, and their history."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import Busy, ServiceError, Superseded
from ..pipeline.pair_checks import StreamHistory
from ..pipeline.stage_times import StageTimes
from ..pipeline.temporal import StreamMemory
from .admission import QueueSlot
from .batching import Job
from .pair_request import PairRequest
from .shadow import SeenPair

KEPT_STREAMS = 64  # each holds 1 MB at most, besides the picture that it remembers
REMEMBERED_PIXELS = 40_000_000  # of all streams; about two bytes each


@dataclass(eq=False)
class QueuedPair:
    """One pair of a stream on its way to the network."""

    request: PairRequest
    slot: QueueSlot
    heavy: QueueSlot | None = None  # in the queue of heavy pairs
    work: asyncio.Task[object] | None = None
    job: Job | None = None
    seen: SeenPair | None = None  # that the candidate is to see too
    lost: ServiceError | None = None  # why its slot was given to another pair
    times: StageTimes = field(default_factory=StageTimes)
    before: asyncio.Future[None] | None = None  # done once all pairs before have left the memory
    steadied: asyncio.Future[None] = field(  # the same with this pair
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def leave_memory(self) -> None:
        """Let the next pair into the memory, but not before those that came before this one."""
        if self.before and not self.before.done():
            self.before.add_done_callback(lambda before: self.leave_memory())
        elif not self.steadied.done():
            self.steadied.set_result(None)

    def may_yield_slot(self) -> bool:
        """Whether the network has not begun with the pair."""
        return bool(self.work) and not (self.job and self.job.computing) and not self.lost

    def yield_slot(self, retry_s: int) -> None:
        """Leave the slot to a pair of a client that has fewer; come again in `retry_s`."""
        self._drop(Busy("clients with fewer pairs come first; try again", retry_s=retry_s))

    def supersede(self) -> None:
        """Leave the slot to a newer pair, unless the network has this one already."""
        if self.may_yield_slot():
            self._drop(Superseded())

    def _drop(self, why: ServiceError) -> None:
        assert self.work  # it may yield its slot
        self.lost = why
        for slot in (self.slot, self.heavy):
            if slot:
                slot.leave()
        self.work.cancel()


@dataclass(eq=False)
class Stream:
    """The pairs of one rig, in the order in which they came."""

    order: asyncio.Lock = field(default_factory=asyncio.Lock)  # held from alignment to the queue
    queued_pairs: list[QueuedPair] = field(default_factory=list)
    memory: StreamHistory | None = None  # None: a lone pair, which nothing came before
    temporal: StreamMemory = field(default_factory=StreamMemory)
    last: asyncio.Future[None] | None = None  # `steadied` of the newest pair

    def line_up(self, queued: QueuedPair) -> None:
        """Note a pair as the newest: the memory sees it after those before."""
        queued.before, self.last = self.last, queued.steadied

    @contextmanager
    def holding(self, queued: QueuedPair) -> Iterator[None]:
        """Count a pair as one of the stream's while it is in work."""
        self.queued_pairs.append(queued)
        try:
            yield
        finally:
            self.queued_pairs.remove(queued)

    def drop_waiting(self) -> None:
        """Drop the live pairs that wait: a newer one has come."""
        for queued in self.queued_pairs:
            if queued.request.options.live:
                queued.supersede()


class Streams:
    """The streams in use, by the name that their clients gave them."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[str, str], Stream] = OrderedDict()  # by client and name

    def get(self, client: str, name: str | None) -> Stream:
        """The stream of this name and client; without a name, one of its own for a lone pair."""
        if name is None:
            return Stream()
        key = client, name
        stream = self._streams.setdefault(key, Stream(memory=StreamHistory()))
        self._streams.move_to_end(key)
        while len(self._streams) > KEPT_STREAMS and (old := self._least_needed(key)):
            del self._streams[old]
        self._bound_memories()
        return stream

    def end(self, client: str, name: str) -> None:
        """Forget a stream whose name nobody uses again."""
        self._streams.pop((client, name), None)

    def _bound_memories(self) -> None:
        """Let the longest unused streams forget if all remember too much."""
        room = REMEMBERED_PIXELS
        for stream in reversed(self._streams.values()):
            room -= stream.temporal.pixels
            if room < 0:
                stream.temporal.forget()

    def _least_needed(self, asked: tuple[str, str]) -> tuple[str, str] | None:
        """The longest unused stream of the client that has most; None if all are in use."""
        held = Counter(client for client, _ in self._streams)
        idle = [
            key for key, each in self._streams.items() if not each.queued_pairs and key != asked
        ]
        return max(idle, key=lambda key: held[key[0]], default=None)
