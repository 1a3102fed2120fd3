"""The temporal memory of a stream, and what clears it besides the picture itself."""

from dataclasses import dataclass
from threading import Lock
from typing import Literal

from segmif.frames import Prediction
from segmif.temporal.memory import TemporalMemory

from .pair_checks import Condition, Sensor
from .prepare import PreparedPair

Reset = Literal["start", "size", "cut", "jump", "shutter", "sensors", "network"]


@dataclass(frozen=True)
class MemoryUse:
    """The part that earlier pairs of its stream have in a result."""

    reset: Reset | None  # why they have none
    used: float  # share of the picture, 0 to 1, in which they have one


class StreamMemory:
    """Steadies the results of one stream; they come in the order of their pairs."""

    def __init__(self) -> None:
        self._memory = TemporalMemory()
        self._sensors: tuple[Sensor, ...] | None = None
        self._network: str | None = None
        self._lock = Lock()  # a cancelled pair may still be at work in its thread

    @property
    def pixels(self) -> int:
        """Size of the picture that is remembered."""
        return self._memory.pixels

    def forget(self) -> None:
        """Clear the memory, without waiting for a pair at work."""
        self._memory = TemporalMemory()

    def steady(
        self, prediction: Prediction, prepared: PreparedPair, network: str
    ) -> tuple[Prediction, MemoryUse]:
        """Steady the prediction of the next pair; `network`: the SHA-256 of what made it."""
        with self._lock:
            memory, why = self._memory, self._change(prepared.condition, network)
            if why:
                memory.forget()
            steadied = memory.steady(prepared.pair, prediction)
        return steadied.prediction, MemoryUse(why or steadied.reset, round(steadied.used, 4))

    def _change(self, condition: Condition, network: str) -> Reset | None:
        """Why the last pair cannot be compared with this one, apart from what both show."""
        sensors, self._sensors = self._sensors, condition.sensors
        last_network, self._network = self._network, network
        if sensors is None:
            return None
        if last_network != network:
            return "network"
        if any(flag.endswith("_jump") for flag in condition.flags):
            return "jump"
        if sensors != condition.sensors:
            return "shutter" if "infrared_shutter" in condition.flags else "sensors"
        return None
