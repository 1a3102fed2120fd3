"""
Pairing of frames from two cameras by their time stamps.

Stamps are integer nanoseconds, which floats do not resolve. `offset_ns` is added to infrared stamps
to bring them to the visible camera's clock.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]
Floats = NDArray[np.float64]
Frame = TypeVar("Frame")

BUFFERED = 30  # frames of a camera that wait before the oldest is dropped
MIN_CORRELATION = 0.5  # smallest correlation of two motions of one rig
RIVAL = 0.9  # of the highest correlation, from which on another offset fits as well
MIN_OVERLAP = 0.5  # of the shorter recording
MIN_FRAMES = 20  # of either camera, to compare motions
PER_PERIOD = 4  # samples of a motion in a frame period


@dataclass(frozen=True)
class Pairs:
    """The pairs of two recordings, in time order."""

    visible: NDArray[np.intp]  # (N,) indices
    infrared: NDArray[np.intp]  # (N,) indices
    skew_ns: Stamps  # (N,) infrared less visible, on the visible camera's clock
    tolerance_ns: int
    visible_unpaired: int
    infrared_unpaired: int


@dataclass(frozen=True)
class Offset:
    """The offset of two clocks."""

    ns: int  # to add to infrared stamps
    std_ns: float  # one standard deviation
    correlation: float  # of both motions at that offset, `MIN_CORRELATION` to 1


def half_period_ns(visible_ns: Stamps, infrared_ns: Stamps) -> int:
    """Half the frame period of the faster camera [ns]: the largest skew of a pair."""
    periods = [int(np.median(np.diff(each))) for each in (visible_ns, infrared_ns) if len(each) > 1]
    if not periods:
        raise ValueError("one frame a camera has no frame period: state a tolerance")
    return min(periods) // 2


def pair(
    visible_ns: Stamps, infrared_ns: Stamps, tolerance_ns: int | None = None, offset_ns: int = 0
) -> Pairs:
    """
    Pair two recordings (N,), (M,): frames that are each other's nearest, within the tolerance.

    The default tolerance is `half_period_ns`. Raises ValueError for no stamps, for stamps that do
    not rise and for a negative tolerance.
    """
    _check(visible_ns, infrared_ns, tolerance_ns)
    if tolerance_ns is None:
        tolerance_ns = half_period_ns(visible_ns, infrared_ns)
    moved = infrared_ns + offset_ns
    there, back = _nearest(visible_ns, moved), _nearest(moved, visible_ns)
    mutual = back[there] == np.arange(len(visible_ns))
    visible = np.flatnonzero(mutual & (np.abs(moved[there] - visible_ns) <= tolerance_ns))
    infrared = there[visible]
    return Pairs(
        visible,
        infrared,
        moved[infrared] - visible_ns[visible],
        tolerance_ns,
        len(visible_ns) - len(visible),
        len(infrared_ns) - len(visible),
    )


def clock_offset(
    visible_ns: Stamps, visible_motion: Floats, infrared_ns: Stamps, infrared_motion: Floats
) -> Offset:
    """
    The clock offset from the motion (any unit) that each camera saw at its stamps (N,), (M,).

    It is the offset with the highest correlation over at least half of the shorter recording,
    interpolated by a parabola. Its variance is that of a delay in noise: (1 - r^2) / r^2 over
    samples times mean square slope (Carter 1987, "Coherence and time delay estimation").
    Raises ValueError if the motions do not correlate or repeat themselves, and for few or
    unordered stamps.
    """
    _check(visible_ns, infrared_ns, None)
    if min(len(visible_ns), len(infrared_ns)) < MIN_FRAMES:
        raise ValueError(
            f"{len(visible_ns)} visible and {len(infrared_ns)} infrared frames are too few to "
            f"compare motions: at least {MIN_FRAMES} of each"
        )
    step = max(2 * half_period_ns(visible_ns, infrared_ns) // PER_PERIOD, 1)
    visible = _resampled(visible_ns, visible_motion, step)
    infrared = _resampled(infrared_ns, infrared_motion, step)
    r = _correlations(visible, infrared)
    best = int(np.argmax(r))
    if r[best] < MIN_CORRELATION:
        raise ValueError(
            f"the two cameras do not see the same motion (correlation {r[best]:.2f}, expected "
            f"{MIN_CORRELATION} or more): move the rig or an object irregularly"
        )
    if (rival := _rival(r, best)) is not None:
        away_ms = abs(rival - best) * step / 1e6
        raise ValueError(
            f"the motion repeats itself: an offset {away_ms:.0f} ms away fits as well "
            f"(correlations {r[best]:.2f}, {r[rival]:.2f}); move the rig or an object irregularly"
        )
    lag = best - (len(infrared) - 1) + _parabola_peak(r, best)
    slope = np.gradient((visible - visible.mean()) / visible.std(), step)
    noise = max(0.0, 1 - r[best] ** 2) / r[best] ** 2  # rounding takes r beyond 1
    frames = min(len(visible_ns), len(infrared_ns))
    std = float(np.sqrt(noise / (frames * (slope**2).mean())))
    starts = int(visible_ns[0]) - int(infrared_ns[0])
    return Offset(starts + round(lag * step), std, float(r[best]))


@dataclass
class PairMatcher(Generic[Frame]):
    """
    Pairs two live streams; a pair is returned as soon as its second frame arrives.

    `tolerance_ns` should be at most half the faster camera's frame period: then no nearer frame can
    follow. Frames without a partner are counted and dropped, and so are frames out of order. At
    most `limit` frames of a camera wait.
    """

    tolerance_ns: int
    offset_ns: int = 0
    limit: int = BUFFERED
    visible_unpaired: int = 0
    infrared_unpaired: int = 0
    _visible: deque[tuple[int, Frame]] = field(default_factory=deque)
    _infrared: deque[tuple[int, Frame]] = field(default_factory=deque)
    _last: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tolerance_ns < 0 or self.limit < 1:
            raise ValueError(
                f"a tolerance of {self.tolerance_ns} ns and {self.limit} waiting frames: expected "
                "0 or more, and 1 or more"
            )

    def visible(self, stamp_ns: int, frame: Frame) -> tuple[Frame, Frame] | None:
        """Add a visible frame; returns the pair (visible, infrared) that it completes, or None."""
        return self._take("visible", self._visible, stamp_ns, frame)

    def infrared(self, stamp_ns: int, frame: Frame) -> tuple[Frame, Frame] | None:
        """Add an infrared frame with its own camera's stamp; otherwise as `visible`."""
        return self._take("infrared", self._infrared, stamp_ns + self.offset_ns, frame)

    def waiting(self, camera: Literal["visible", "infrared"]) -> int:
        """Frames of a camera that have no partner yet."""
        return len(self._visible if camera == "visible" else self._infrared)

    def _take(
        self, camera: str, waiting: deque[tuple[int, Frame]], stamp_ns: int, frame: Frame
    ) -> tuple[Frame, Frame] | None:
        if stamp_ns <= self._last.get(camera, stamp_ns - 1):
            self._count(camera)
            return None
        self._last[camera] = stamp_ns
        waiting.append((stamp_ns, frame))
        if len(waiting) > self.limit:
            waiting.popleft()
            self._count(camera)
        return self._match()

    def _match(self) -> tuple[Frame, Frame] | None:
        while self._visible and self._infrared:
            skew = self._infrared[0][0] - self._visible[0][0]
            older, name = (self._visible, "visible") if skew > 0 else (self._infrared, "infrared")
            newer = self._infrared if skew > 0 else self._visible
            nearer = len(older) > 1 and abs(older[1][0] - newer[0][0]) < abs(skew)
            if abs(skew) <= self.tolerance_ns and not nearer:
                return self._visible.popleft()[1], self._infrared.popleft()[1]
            older.popleft()
            self._count(name)
        return None

    def _count(self, camera: str) -> None:
        if camera == "visible":
            self.visible_unpaired += 1
        else:
            self.infrared_unpaired += 1


def _check(visible_ns: Stamps, infrared_ns: Stamps, tolerance_ns: int | None) -> None:
    for name, stamps in (("visible", visible_ns), ("infrared", infrared_ns)):
        if not len(stamps):
            raise ValueError(f"no {name} frame has a stamp")
        falls = np.flatnonzero(np.diff(stamps) <= 0)
        if falls.size:
            at = int(falls[0])
            raise ValueError(
                f"the {name} stamps must rise: {stamps[at + 1]} ns comes after {stamps[at]} ns"
            )
    if tolerance_ns is not None and tolerance_ns < 0:
        raise ValueError(f"the tolerance is {tolerance_ns} ns, expected 0 or more")


def _nearest(stamps: Stamps, among: Stamps) -> NDArray[np.intp]:
    """For each stamp (N,) the index of the nearest among (M,), the earlier one of two."""
    after = np.searchsorted(among, stamps).clip(0, len(among) - 1)
    before = (after - 1).clip(0)
    return np.where(np.abs(among[before] - stamps) <= np.abs(among[after] - stamps), before, after)


def _resampled(stamps: Stamps, motion: Floats, step_ns: int) -> Floats:
    since = (stamps - stamps[0]).astype(np.float64)  # exact up to 104 days
    at = np.arange(0, since[-1] + 1, step_ns)
    return np.interp(at, since, motion)


def _correlations(x: Floats, y: Floats) -> Floats:
    """Pearson's r (N + M - 1,) for every lag of y against x; -1 for too little overlap."""
    one_x, one_y = np.ones_like(x), np.ones_like(y)
    x, y = x - x.mean(), y - y.mean()
    count = np.correlate(one_x, one_y, "full").round()
    sum_x, sum_y = np.correlate(x, one_y, "full"), np.correlate(one_x, y, "full")
    xx = np.correlate(x**2, one_y, "full") - sum_x**2 / count
    yy = np.correlate(one_x, y**2, "full") - sum_y**2 / count
    xy = np.correlate(x, y, "full") - sum_x * sum_y / count
    enough = count >= MIN_OVERLAP * min(len(x), len(y))
    moves = (xx > 1e-9 * (x**2).sum()) & (yy > 1e-9 * (y**2).sum())
    scale = np.sqrt(np.where(enough & moves, xx * yy, 1.0))
    return np.where(enough & moves, xy / scale, -1.0)


def _rival(r: Floats, best: int) -> int | None:
    """The lag of another peak that is nearly as high; None if there is none."""
    low = np.flatnonzero(r < r[best] / 2)  # the peak ends before the nearest of these
    before, after = low[low < best], low[low > best]
    others = r.copy()
    others[before[-1] if before.size else 0 : after[0] if after.size else len(r)] = -1.0
    rival = int(np.argmax(others))
    return rival if others[rival] > RIVAL * r[best] else None


def _parabola_peak(r: Floats, best: int) -> float:
    """Peak position, -0.5 to 0.5, of the parabola through the best value and its neighbours."""
    if not 0 < best < len(r) - 1:
        return 0.0
    left, middle, right = r[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0
