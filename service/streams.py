"""What is known of each camera stream from one pair to the next: their order, and the newest."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from service.admission import Place
from service.batching import Job
from service.condition import Memory

KEPT_STREAMS = 64  # the longest unused is forgotten; each holds a few hundred bytes


@dataclass(eq=False)
class Turn:
    """One pair of a stream on its way to the network."""

    place: Place
    live: bool  # a newer pair of the stream makes this one worthless
    work: asyncio.Task[object] | None = None
    job: Job | None = None
    superseded: bool = False

    def supersede(self) -> None:
        """Give the place to a newer pair, unless the network has this one already."""
        if self.work and not (self.job and self.job.computing):
            self.superseded = True
            self.place.leave()
            self.work.cancel()


@dataclass(eq=False)
class Stream:
    """The pairs of one rig, in the order in which they came."""

    order: asyncio.Lock = field(default_factory=asyncio.Lock)  # held from alignment to the queue
    turns: list[Turn] = field(default_factory=list)
    memory: Memory | None = None  # None: a lone pair, which nothing came before

    def make_way(self) -> None:
        """Drop the live pairs that wait: a newer one has come."""
        for turn in self.turns:
            if turn.live:
                turn.supersede()


class Streams:
    """The streams in use, by the name that their clients gave them."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def get(self, client: str, name: str | None) -> Stream:
        """The stream of this name and client; without a name, one of its own for a lone pair."""
        if name is None:
            return Stream()
        key = f"{client}\n{name}"
        stream = self._streams.setdefault(key, Stream(memory=Memory()))
        self._streams.move_to_end(key)
        for old in list(self._streams):
            if len(self._streams) <= KEPT_STREAMS:
                break
            if not self._streams[old].turns:
                del self._streams[old]
        return stream
