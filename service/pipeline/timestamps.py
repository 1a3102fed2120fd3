"""Checks whether the time stamps of frames can be nanoseconds on a clock that runs forward."""

from dataclasses import dataclass
from time import monotonic_ns, time_ns
from typing import Literal

StampFault = Literal["late", "repeated", "jump", "unit"]

JUMP_NS = 2_000_000_000  # further back, or further ahead than time went on, another clock counts
STEPS = 5  # times the last step: recordings of one frame in some seconds do not jump
UNITS = (10**3, 10**6, 10**9)  # nanoseconds in a microsecond, a millisecond and a second
NEAR_NOW_NS = 3_600_000_000_000  # a stamp in another unit that is so near to now is no chance
LEAST_LARGE_NS = 10**12  # below that, one stamp may well be a thousand times the other
SAME = 100  # two stamps of one moment differ by less than that share
SLOW = 300  # times slower than they arrive: no recording is played so slowly
SLOW_PAIRS = 2  # in a row


@dataclass
class StampMemory:
    """What the stamps of one camera in a stream were."""

    last_ns: int | None = None  # the latest
    step_ns: int | None = None  # from the one before to it
    arrived_ns: int = 0  # on the clock of `time.monotonic_ns`
    slow: int = 0  # pairs in a row whose stamps advanced far less than the clock


def wrong_units(visible_ns: int | None, infrared_ns: int | None) -> tuple[bool, bool]:
    """Which of a pair's two stamps cannot be nanoseconds, by the other or the time of day."""
    now = time_ns()
    visible, infrared = (
        stamp is not None and any(abs(stamp * unit - now) < NEAR_NOW_NS for unit in UNITS)
        for stamp in (visible_ns, infrared_ns)
    )
    if visible_ns and infrared_ns and max(visible_ns, infrared_ns) >= LEAST_LARGE_NS:
        small, large = sorted((visible_ns, infrared_ns))
        if any(abs(small * unit - large) * SAME < large for unit in UNITS):
            visible, infrared = visible or small == visible_ns, infrared or small == infrared_ns
    return visible, infrared


def stamp_fault(stamp_ns: int, memory: StampMemory) -> StampFault | None:
    """Check a stamp against those before it in its stream, and remember it."""
    arrived = monotonic_ns()
    waited, memory.arrived_ns = arrived - memory.arrived_ns, arrived
    last, memory.last_ns = memory.last_ns, stamp_ns
    if last is None:
        return None
    step = stamp_ns - last
    if step == 0:
        return "repeated"
    if -JUMP_NS <= step < 0:
        memory.last_ns = last
        return "late"
    if step < 0 or _leaps(step, waited, memory.step_ns):
        memory.step_ns, memory.slow = None, 0
        return "jump"
    memory.step_ns = step
    memory.slow = memory.slow + 1 if step * SLOW <= waited else 0
    return "unit" if memory.slow >= SLOW_PAIRS else None


def _leaps(step_ns: int, waited_ns: int, last_step_ns: int | None) -> bool:
    usual = STEPS * last_step_ns if last_step_ns else 0
    unlike = abs(step_ns - waited_ns) > step_ns // 2
    return step_ns > max(JUMP_NS, usual) and unlike
