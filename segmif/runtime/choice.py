"""
Which runtime is the faster one on this CPU, by a measurement on the network at hand.

GPUs are not among the candidates: they batch and hold memory otherwise, so an operator names one.
bf16 is not either: it changes more values than rounding does.
"""

import logging
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmif.runtime import Runtime, onnxruntime_, openvino_
from segmif.runtime.errors import ArtefactError

SIZE = (480, 640)  # height and width of the pair that is timed
ROUNDS = 3  # after one that warms up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What each candidate took, and why others took no part."""

    milliseconds: Mapping[str, float]  # device -> median of a pair
    absent: Mapping[str, str]  # device -> why it could not be measured

    @property
    def fastest(self) -> str:
        """The device that took least; the first one of equals."""
        return min(self.milliseconds, key=self.milliseconds.__getitem__)

    def __str__(self) -> str:
        times = [f"{name} {taken:.0f} ms" for name, taken in self.milliseconds.items()]
        return "; ".join([", ".join(times), *(f"{n}: {why}" for n, why in self.absent.items())])


def open_fastest(path: Path, threads: int | None) -> Runtime:
    """Open an ONNX on the faster runtime; raises as `open_runtime` if none opens it."""
    runtimes: dict[str, Runtime] = {"cpu": onnxruntime_.open_onnx(path, threads, "cpu")}
    absent = {}
    try:
        runtimes["openvino"] = openvino_.open_openvino(path, threads, "openvino")
    except ArtefactError as error:
        absent["openvino"] = str(error)
    measured = measure(runtimes, absent)
    log.info("device auto: a pair of %dx%d takes %s", SIZE[1], SIZE[0], measured)
    chosen = runtimes.pop(measured.fastest)
    log.info("device auto: %s was chosen", chosen.name)
    for other in runtimes.values():
        other.close()
    return chosen


def measure(
    runtimes: Mapping[str, Runtime], absent: Mapping[str, str], rounds: int = ROUNDS
) -> Measured:
    """
    Time runtimes in turns, so that what else the machine does slows each of them alike.

    A first round warms up. Raises whatever a runtime raises for the pair.
    """
    random = np.random.default_rng(0)
    visible = random.integers(0, 256, (1, *SIZE, 3), np.uint8)
    infrared = random.integers(0, 256, (1, *SIZE), np.uint8)
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(1 + rounds):
        for name, runtime in runtimes.items():
            start = time.perf_counter()
            runtime.run(visible, infrared)
            times[name].append(1e3 * (time.perf_counter() - start))
    return Measured({n: statistics.median(taken[1:]) for n, taken in times.items()}, absent)


def compared(path: Path) -> str:
    """A line that says what both runtimes take for an ONNX now; raises as `open_runtime`."""
    ours = openvino_.open_openvino(path, None, "openvino")
    measured = measure({"cpu": onnxruntime_.open_onnx(path, None, "cpu"), "openvino": ours}, {}, 1)
    pair = f"{path.stem}, a pair of {SIZE[1]}x{SIZE[0]}"
    return f"{ours.name}; {pair}: {measured}; --device {measured.fastest} is the faster one now"


if __name__ == "__main__":
    sys.stdout.write(compared(Path(sys.argv[1])))
