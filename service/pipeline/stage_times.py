"""How long each stage of a pair took."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, time_ns


@dataclass
class StageTimes:
    """Milliseconds each stage took, in the order in which the stages ran."""

    ms: dict[str, float] = field(default_factory=dict)
    began_ns: dict[str, int] = field(default_factory=dict)  # of the clock on the wall
    batch: int = 1  # pairs that went through the network together

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Take the time of a `with` block as that of `stage`."""
        start, self.began_ns[stage] = perf_counter(), time_ns()
        yield
        self.ms[stage] = (perf_counter() - start) * 1000

    def note(self, stage: str, ms: float) -> None:
        """Take `ms` until now as the time of `stage`."""
        self.ms[stage] = ms
        self.began_ns[stage] = time_ns() - int(ms * 1e6)

    def worked_s(self) -> float:
        """Seconds of work, without the waits for the client and for the network."""
        return sum(ms for stage, ms in self.ms.items() if stage not in ("receive", "queue")) / 1000
