"""Results of a rig by the stand-in network; as a program it records until it is killed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segmif.imaging.codecs import Pixels
from segmif.runtime import Runtime, open_runtime
from segmif.sources.frame import SourceFrame
from segmif.thermal.camera_profile import CameraProfile
from service.live.live_result import LiveResult
from service.live.sinks.open_sinks import open_sinks
from service.live.sinks.settings import SETTINGS
from service.pipeline.decode import Decoded
from service.pipeline.half_size import halved
from service.pipeline.infer import infer
from service.pipeline.pair_rules import PairRules
from service.pipeline.prepare import align_pair
from service.pipeline.result import Result
from service.pipeline.stage_times import StageTimes

START_NS = 1_767_225_600_123_456_789  # 2026-01-01T00:00:00.123 UTC
PERIOD_NS = 33_366_667
PROFILE = CameraProfile(bits=14, kelvin_per_count=0.04)


def make_results(
    runtime: Runtime,
    count: int,
    shape: tuple[int, int] = (64, 96),
    start_ns: int = START_NS,
    first: int = 0,
    deep: bool = True,
    rig: str = "front",
    half: bool = False,
) -> Iterator[LiveResult]:
    """Results number `first` and following; `deep`: infrared has 16 bit, `half`: see `halved`."""
    for number in range(first, first + count):
        yield _result(runtime, number, shape, start_ns + number * PERIOD_NS, deep, rig, half)


def _result(
    runtime: Runtime,
    number: int,
    shape: tuple[int, int],
    stamp_ns: int,
    deep: bool,
    rig: str,
    half: bool = False,
) -> LiveResult:
    """A red scene with a blue square and a hot spot that both move by a pixel a frame."""
    times, names = StageTimes(), f"{number:06d}"
    visible = np.full((*shape, 3), (200, 40, 30), np.uint8)
    visible[8:24, 8 + number % 32 : 24 + number % 32] = (20, 40, 220)
    infrared = counts(number, shape) if deep else (counts(number, shape) >> 6).astype(np.uint8)
    prepared = align_pair(Decoded(visible, infrared), PairRules(10**6), times)
    prepared = halved(prepared) if half else prepared
    prediction = infer(runtime, prepared.pair, times)
    result = Result(prediction, prepared, runtime, PairRules(1).gain, times, names, rig)
    frames = (
        SourceFrame(visible, stamp_ns, name=names),
        SourceFrame(infrared, stamp_ns + 4_000_000, name=names, profile=PROFILE),
    )
    return LiveResult(rig, number, *frames, result)


def counts(number: int, shape: tuple[int, int]) -> Pixels:
    """Counts of 14 bit (H, W) with noise, different in each frame."""
    scene = np.random.default_rng(number).integers(7000, 7400, shape, np.uint16)
    scene[30:40, 40 + number % 32 : 50 + number % 32] = 9000
    return scene


def main(weights: str, settings: str, count: str) -> None:
    """Record so many results, say so and wait."""
    (sink,) = open_sinks([SETTINGS.validate_json(settings)], "front")
    for result in make_results(open_runtime(Path(weights), threads=1), int(count)):
        sink.write(result)
    sys.stdout.write("written\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
