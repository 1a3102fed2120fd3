"""
The time of `segmif infer` from two videos to one, and that of the network alone.

`python -m benchmarks.cpu.video` writes two H.264 videos, then takes turns: the network on the
decoded frames, then the whole. Each round gives a ratio; what else the machine does changes both.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from segmif.argument_types import IntegerRange
from segmif.frames import FramePair
from segmif.runtime import Runtime, open_runtime, predict
from segmif.sources.open_source import open_source
from segmif.thermal.gain_control import GainRule
from service.commands.recordings.infer_recording import infer_recording
from service.commands.recordings.open_recording import RecordingOptions, open_recording
from service.pipeline.pair_rules import PairRules

from ..live.videos import write_videos
from ..results_file import save

WEIGHTS = Path(__file__).parents[2] / "weights"
RATE = 25
Taken = dict[str, float]


def main() -> None:
    """Measure, print, and write the numbers to the file of --out."""
    args = parser().parse_args()
    runtime = open_runtime(WEIGHTS / f"{args.network}.onnx", args.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        videos = tuple(args.videos) if args.videos else write_videos(folder, args.frames, RATE)
        pairs = pairs_of(videos)
        number = count()
        rounds = []
        for at in range(args.rounds + 1):
            alone = taken(lambda: [predict(runtime, pair) for pair in pairs])
            whole = taken(lambda: infer(runtime, videos, folder / f"{next(number)}.mp4"))
            if at:  # the first of each warms up
                rounds.append({"network": alone, "whole": whole})
    print(*(f"{ratio(each, 'wall_s'):.2f}" for each in rounds), file=sys.stderr)
    save({"frames": len(pairs), "network": args.network} | summary(rounds), args.out)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("nano", "edge"), default="nano")
    parser.add_argument("--frames", type=IntegerRange(2, 60_000), default=200)
    parser.add_argument(
        "--videos", type=Path, nargs=2, metavar=("VISIBLE", "INFRARED"), help="of your own"
    )
    parser.add_argument("--rounds", type=IntegerRange(1, 1000), default=5)
    parser.add_argument("--threads", type=IntegerRange(1, 256), default=2, help="of the network")
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


def pairs_of(videos: tuple[Path, Path]) -> list[FramePair]:
    """The frames of two videos as the network gets them."""
    visible, infrared = (
        [frame.pixels for frame in open_source(str(video), part).frames()]
        for video, part in zip(videos, ("visible", "infrared"), strict=True)
    )
    return [FramePair(*frames) for frames in zip(visible, infrared, strict=True)]


def infer(runtime: Runtime, videos: tuple[Path, Path], out: Path) -> None:
    """From two videos to one."""
    rules = PairRules(10**9, gain=GainRule())
    visible, infrared = map(str, videos)
    recording = open_recording(visible, infrared, out, RecordingOptions(), runtime, rules)
    summary = infer_recording(recording, runtime, rules)
    assert summary.whole, list(summary.lines())


def taken(work: Callable[[], object]) -> Taken:
    """Time on the wall and of the processor, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def ratio(round: dict[str, Taken], unit: str) -> float:
    """The whole over the network alone."""
    return round["whole"][unit] / round["network"][unit]


def summary(rounds: list[dict[str, Taken]]) -> dict[str, object]:
    """Median, least and largest ratio of the rounds, and all times."""
    found: dict[str, object] = {"load": os.getloadavg(), "rounds": rounds}
    for unit in ("wall_s", "cpu_s"):
        ratios = sorted(ratio(each, unit) for each in rounds)
        middle = statistics.median(ratios)
        found[f"ratio_{unit.removesuffix('_s')}"] = [ratios[0], middle, ratios[-1]]
    return found


if __name__ == "__main__":
    main()
