"""How fast a run goes, and how much of the time it waits for its data."""

import time
from collections.abc import Iterable, Iterator

from torch import Tensor

Batch = list[Tensor]


class Throughput:
    """Passes batches on and measures the time."""

    def __init__(self, batches: Iterable[Batch], devices: int = 1) -> None:
        """`devices` work off as many batches at a time; this one's are counted for all."""
        self._batches, self._devices = batches, devices
        self.pairs, self.waited = 0, 0.0
        self._begin = time.perf_counter()

    def __iter__(self) -> Iterator[Batch]:
        self._begin = time.perf_counter()
        batches = iter(self._batches)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            self.pairs += len(batch[0]) * self._devices
            yield batch

    @property
    def seconds(self) -> float:
        """Since the first batch was asked for."""
        return time.perf_counter() - self._begin

    def __str__(self) -> str:
        rate = self.pairs / self.seconds
        return f"{rate:.1f} pairs/s, {self.waited / self.seconds:.1%} of the time spent on loading"
