"""From the frames of two cameras to the pairs that wait for the network."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import get_args

from segmif.geometry.time_sync import PairMatcher
from segmif.sources.frame import Part, SourceFrame

from .lost_camera import LostCamera

WAITING_PAIRS = 1  # for the network; an older one is worth nothing
WAITING_FRAMES = 30  # of one camera, for a partner
PERIODS = 8  # of each camera, from which the default tolerance is taken
FIRST_TOLERANCE_NS = 50_000_000  # until they are known
JITTER = 0.25  # of a period, by which times of arrival scatter

PARTS: tuple[Part, Part] = get_args(Part)
Arrived = tuple[float, SourceFrame]  # when it came, on the clock of `time.monotonic`

MAX_NS = 2**63
DAY_NS = 86_400_000_000_000
TWO_CLOCKS = (
    "no pairs: one recording has times of day, the other counts from 0: state --offset-ms start if "
    "both begin together"
)


@dataclass(frozen=True)
class LivePair:
    """Two frames of one moment; one of them if the other camera is lost."""

    visible: SourceFrame | None
    infrared: SourceFrame | None
    arrived_s: float  # when the visible one came, on the clock of `time.monotonic`

    @property
    def lone(self) -> Part | None:
        """The camera that is alone."""
        if self.visible and self.infrared:
            return None
        return "visible" if self.visible else "infrared"


@dataclass
class Counts:
    """What became of the pairs of one rig."""

    paired: int = 0
    alone: Counter[Part] = field(default_factory=Counter)  # pairs that a camera made alone
    late: int = 0  # pairs that newer ones replaced while they waited, or whose stamp was passed


class PairQueue:
    """
    Pairs frames by their stamps; the newest pairs wait, older ones are dropped and counted.

    A `lossless` queue drops no pair: `put` waits for room instead. Lives on the event loop.
    """

    def __init__(
        self,
        offset_ns: int | None = 0,
        tolerance_ns: int | None = None,
        *,
        lossless: bool = False,
        from_start: bool = False,
        lost: LostCamera | None = None,
        takes: Callable[[LivePair], bool] = lambda pair: True,
    ) -> None:
        """
        `offset_ns` is added to infrared stamps; None: nothing pairs before `set_offset`.

        `tolerance_ns` None: half the period of the faster camera, once it is known.

        `from_start`: the first frames of both cameras are of one moment; it needs no offset.

        `lost` says when a camera goes on alone; None: never.

        `takes` is asked of each pair once, before it waits; a pair that it refuses is not counted
        as late.
        """
        self.counts = Counts()
        self.skew_ns: int | None = None  # of the last pair, infrared less visible
        self._stated_tolerance_ns, self._lossless = tolerance_ns, lossless
        self._matcher: PairMatcher[Arrived] = PairMatcher(
            tolerance_ns or FIRST_TOLERANCE_NS, offset_ns or 0, WAITING_FRAMES
        )
        self._knows_offset = offset_ns is not None
        self._from_start = from_start
        self._held: list[tuple[Part, Arrived]] = []  # before both cameras have begun
        self._began_ns = 0  # stamp of the first that was held
        self._last: dict[Part, SourceFrame] = {}
        self._periods: dict[Part, deque[int]] = {part: deque(maxlen=PERIODS) for part in PARTS}
        self._takes = takes
        self._lost = lost
        self._newest_ns = -MAX_NS  # stamp of the last pair
        self._passed_over: Counter[Part] = Counter()  # frames that were not matched at all
        self._pairs: deque[LivePair] = deque()
        self._ended: set[Part] = set()
        self._changed = asyncio.Condition()

    @property
    def unpaired(self) -> dict[Part, int]:
        """Frames of each camera that found no partner; at the end also those that still wait."""
        counts: dict[Part, int] = {
            "visible": self._matcher.visible_unpaired,
            "infrared": self._matcher.infrared_unpaired,
        }
        for part in PARTS:
            counts[part] += self._passed_over[part]
            if self._both_ended:
                counts[part] += self._waiting(part)
        return counts

    @property
    def lone(self) -> Part | None:
        """The camera that goes on alone now."""
        return self._lost.lone if self._lost else None

    @property
    def tolerance_ns(self) -> int:
        """The largest skew of a pair that is taken now."""
        return self._matcher.tolerance_ns

    @property
    def _both_ended(self) -> bool:
        return self._ended == set(PARTS)

    @property
    def gap_ns(self) -> int | None:
        """How much later, by its stamp, the newest infrared frame is; None before both came."""
        if len(self._last) < len(PARTS):
            return None
        visible, infrared = (self._last[part].stamp_ns for part in PARTS)
        return infrared + self._matcher.offset_ns - visible

    @property
    def offset_ns(self) -> int | None:
        """What is added to infrared stamps; None: not known yet."""
        return self._matcher.offset_ns if self._knows_offset else None

    def set_offset(self, offset_ns: int) -> None:
        """Pair from now on with this offset of the clocks."""
        self._matcher.offset_ns, self._knows_offset = offset_ns, True

    def look(self, part: Part, frame: SourceFrame) -> None:
        """Note whether a frame shows something new; its camera's thread calls it before `put`."""
        if self._lost:
            self._lost.see(part, frame)

    async def put(self, part: Part, frame: SourceFrame) -> None:
        """Add a frame; waits for room if nothing may be lost."""
        async with self._changed:
            if self._lossless:
                await self._changed.wait_for(lambda: self._has_room(part))
            self._adapt_tolerance(part, frame)
            arrived = (monotonic(), frame)
            if lone := self.lone:
                self._pair_alone(lone, part, arrived)
            elif self._knows_offset:
                self._match(part, arrived)
            elif self._from_start:
                self._hold(part, arrived)
            else:
                self._passed_over[part] += 1
            self._changed.notify_all()

    async def end(self, part: Part) -> None:
        """Say that a camera gives no more frames."""
        async with self._changed:
            self._ended.add(part)
            self._changed.notify_all()

    async def wait(self) -> bool:
        """Wait until there is a pair; False once both cameras have ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._pairs or self._both_ended)
            return bool(self._pairs)

    async def get(self) -> LivePair | None:
        """Wait for the next pair; None once both cameras have ended."""
        await self.wait()
        async with self._changed:
            pair = self._pairs.popleft() if self._pairs else None
            self._changed.notify_all()
            return pair

    def _has_room(self, part: Part) -> bool:
        """Whether neither this camera is too far ahead nor too many pairs wait."""
        too_far_ahead = self._waiting(part) >= WAITING_FRAMES - 1
        other_ended = bool(self._ended - {part})
        return len(self._pairs) < WAITING_PAIRS and (not too_far_ahead or other_ended)

    def _waiting(self, part: Part) -> int:
        """Frames of a camera that wait for a partner."""
        return self._matcher.waiting(part) + sum(of == part for of, _ in self._held)

    def _hold(self, part: Part, arrived: Arrived) -> None:
        """
        Keep the frames of the camera that began first until the other one begins.

        The first frame of the other one gives the offset; then all that was held is matched.
        """
        _, frame = arrived
        if not self._held:
            self._began_ns = frame.stamp_ns
        began_first = self._held[0][0] if self._held else part
        self._held.append((part, arrived))
        if part != began_first:
            first_ns = {began_first: self._began_ns, part: frame.stamp_ns}
            self.set_offset(first_ns["visible"] - first_ns["infrared"])
            held, self._held = self._held, []
            for held_part, held_frame in held:
                self._match(held_part, held_frame)
        elif len(self._held) > WAITING_FRAMES:
            self._held.pop(0)
            self._passed_over[part] += 1

    def _match(self, part: Part, arrived: Arrived) -> None:
        """Look for a frame's partner among those that wait; if there is none, it waits too."""
        _, frame = arrived
        take = self._matcher.visible if part == "visible" else self._matcher.infrared
        if pair := take(frame.stamp_ns, arrived):
            (visible_arrived_s, visible), (_, infrared) = pair
            self._add(LivePair(visible, infrared, visible_arrived_s))

    def _pair_alone(self, lone: Part, part: Part, arrived: Arrived) -> None:
        """Make a pair of a frame alone; one that a frozen camera repeats is passed over."""
        arrived_s, frame = arrived
        has_stamp = part == "visible" or self._knows_offset
        if part != lone or not has_stamp or self._stamp_ns(part, frame) <= self._newest_ns:
            self._passed_over[part] += 1
        elif part == "visible":
            self._add(LivePair(frame, None, arrived_s))
        else:
            self._add(LivePair(None, frame, arrived_s))

    def _stamp_ns(self, part: Part, frame: SourceFrame) -> int:
        """The stamp of a frame on the visible camera's clock."""
        return frame.stamp_ns + (self._matcher.offset_ns if part == "infrared" else 0)

    def _add(self, pair: LivePair) -> None:
        """Count a pair, and queue it if it is taken; an older one that waits may be dropped."""
        stamps_ns: dict[Part, int] = {}
        if pair.visible:
            stamps_ns["visible"] = self._stamp_ns("visible", pair.visible)
        if pair.infrared:
            stamps_ns["infrared"] = self._stamp_ns("infrared", pair.infrared)
        stamp_ns = stamps_ns["infrared" if pair.lone == "infrared" else "visible"]
        if stamp_ns <= self._newest_ns and not self._lossless:  # after infrared was alone
            self.counts.late += 1
            return
        self._newest_ns = stamp_ns
        self.skew_ns = None if pair.lone else stamps_ns["infrared"] - stamps_ns["visible"]
        self.counts.paired += 1
        if pair.lone:
            self.counts.alone[pair.lone] += 1
        if not self._takes(pair):
            return
        self._pairs.append(pair)
        if len(self._pairs) > WAITING_PAIRS and not self._lossless:
            self._pairs.popleft()
            self.counts.late += 1

    def _adapt_tolerance(self, part: Part, frame: SourceFrame) -> None:
        """Take the tolerance from the last periods of both cameras, unless one is stated."""
        last = self._last.get(part)
        self._last[part] = frame
        if last and frame.stamp_ns > last.stamp_ns:
            self._periods[part].append(frame.stamp_ns - last.stamp_ns)
        if self._stated_tolerance_ns is None and all(self._periods.values()):
            self._matcher.tolerance_ns = self._default_tolerance_ns()

    def _default_tolerance_ns(self) -> int:
        """Half the faster camera's period, and the scatter of stamps that are times of arrival."""
        period_ns = min(median(periods_ns) for periods_ns in self._periods.values())
        stamped_by_arrival = any(frame.stamp_from == "arrival" for frame in self._last.values())
        return int(period_ns * (0.5 + JITTER if stamped_by_arrival else 0.5))
