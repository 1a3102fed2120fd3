"""Quality of service, as rclpy names it, and whether an offer satisfies a request."""

from dataclasses import dataclass
from enum import IntEnum


class HistoryPolicy(IntEnum):
    KEEP_LAST, KEEP_ALL = 1, 2


class ReliabilityPolicy(IntEnum):
    RELIABLE, BEST_EFFORT = 1, 2


class DurabilityPolicy(IntEnum):
    TRANSIENT_LOCAL, VOLATILE = 1, 2


@dataclass(frozen=True, kw_only=True)
class QoSProfile:
    history: HistoryPolicy
    depth: int
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy


def satisfies(offered: QoSProfile, requested: QoSProfile) -> bool:
    """What is stronger satisfies what is weaker, never the other way round (DDS)."""
    return (
        offered.reliability <= requested.reliability and offered.durability <= requested.durability
    )
