"""
Events missed and false, by day and night: persons walk in and out of a zone of panned stills.

    python -m benchmarks.live.events --data ../shared/data --out benchmarks/results/live_events.json

Each still is a stream of 4 pairs/s: panned, noisy, and with infrared gain that drifts. A person,
cut out of a labelled pair with both sensors, walks into the zone and out again every 25 s. The
stills were chosen by eye: in neither frame is a person in the zone. Behind the sources it is the
pipeline of `segmif run`. Time is that of the stamps: streams pass as fast as they are processed.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.results_file import save
from segmif.argument_types import FloatRange
from segmif.imaging.codecs import decode_infrared, decode_visible
from segmif.runtime import Runtime, open_runtime
from segmif.sources.frame import SourceFrame
from service.live.events.rules import ObjectRule, Zone
from service.live.events.watch import EventWatch
from service.live.live_result import LiveResult
from service.pipeline.decode import Decoded
from service.pipeline.infer import infer
from service.pipeline.pair_checks import StreamHistory
from service.pipeline.pair_rules import PairRules
from service.pipeline.prepare import align_pair
from service.pipeline.result import Result
from service.pipeline.result_objects import with_objects
from service.pipeline.stage_times import StageTimes

Pixels = NDArray[np.uint8]
# Without a person in the zone, chosen by eye.
STILLS = {
    "day": ["llvip/260490", "m3fd/00061", "flir/FLIR_00643", "roadscene/FLIR_01415"],
    "night": ["llvip/260481", "flir/FLIR_03989", "roadscene/FLIR_09573"],
}
PEOPLE = {"day": "msrs_test/*D.png", "night": "msrs_test/*N.png"}
PERSON = 2  # in the labels
WIDTH, HEIGHT, MARGIN = 320, 256, 32  # pixels of the view, and by which it is panned at most
RATE, CYCLE_S = 4, 25.0
TALL = 0.42  # of the view's height: a person
FOOT, LEFT = 0.93, 0.4  # of the view: the feet, and the zone's left side
ZONE = Zone(name="zone", polygon=((LEFT, 0.25), (1, 0.25), (1, 1), (LEFT, 1)))
RULE = ObjectRule(kind="object", name="person", classes=("person",), zones=("zone",))
LATE_S = 3.0  # by which a start may follow the entrance


@dataclass(frozen=True)
class Cutout:
    """A person of one pair."""

    visible: Pixels
    infrared: Pixels
    mask: Pixels


def main() -> None:
    """Run all streams and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, default=Path("weights/nano.onnx"))
    parser.add_argument("--seconds", type=FloatRange(25), default=100.0, help="of each still (100)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runtime = open_runtime(options.weights, threads=1)
    found = {
        light: [stream(options, runtime, light, still, at) for at, still in enumerate(stills)]
        for light, stills in STILLS.items()
    }
    summary = {light: summed(streams) for light, streams in found.items()}
    save({"network": options.weights.name, "summary": summary, "streams": found}, options.out)


def stream(
    options: argparse.Namespace, runtime: Runtime, light: str, still: str, seed: int
) -> dict[str, object]:
    """What the events of one still are, beside the truth."""
    watch = EventWatch(still.replace("/", "-"), [RULE], [ZONE])
    memory, inside, starts, ends, began = StreamHistory(), [], [], [], time.process_time()
    for number, (visible, infrared, present) in enumerate(frames(options, light, still, seed)):
        inside.append(present)
        stamp_ns = number * 10**9 // RATE
        result = processed(runtime, visible, infrared, stamp_ns, number, memory)
        for event in watch.see(result):
            (starts if event.phase == "start" else ends).append(stamp_ns / 1e9)
    cpu_ms = 1000 * (time.process_time() - began) / len(inside)
    found = judged(inside, starts, ends) | {"cpu_ms_a_pair": round(cpu_ms, 1)}
    print(light, still, found, flush=True)
    return {"still": still, "seconds": len(inside) / RATE} | found


def judged(inside: list[bool], starts: list[float], ends: list[float]) -> dict[str, object]:
    """Each visit is to have one start; every other start is false."""
    steps = np.diff(np.array([False, *inside, False]).astype(int))
    comings, goings = np.flatnonzero(steps > 0) / RATE, np.flatnonzero(steps < 0) / RATE
    visits = list(zip(comings, goings, strict=True))
    during = [[s for s in starts if come <= s <= go + LATE_S] for come, go in visits]
    delays = [s[0] - come for s, (come, _) in zip(during, visits, strict=True) if s]
    return {
        "visits": len(visits),
        "missed": sum(not each for each in during),
        "false": len(starts) - sum(bool(each) for each in during),
        "ends": len(ends),
        "starts": len(starts),
        "delays_s": [round(float(delay), 2) for delay in delays],
    }


def summed(streams: list[dict[str, object]]) -> dict[str, float]:
    """Over all streams of a kind of light."""
    total = {name: sum(each[name] for each in streams) for name in ("visits", "missed", "false")}
    hours = sum(each["seconds"] for each in streams) / 3600
    delays = [delay for each in streams for delay in each["delays_s"]]
    return total | {
        "hours": round(hours, 4),
        "false_per_hour": round(total["false"] / hours, 1),
        "median_delay_s": float(np.median(delays)) if delays else math.nan,
        "cpu_ms_a_pair": round(float(np.mean([each["cpu_ms_a_pair"] for each in streams])), 1),
    }


def processed(
    runtime: Runtime,
    visible: Pixels,
    infrared: Pixels,
    stamp_ns: int,
    number: int,
    memory: StreamHistory,
) -> LiveResult:
    """A pair behind the pipeline."""
    times, rules = StageTimes(), PairRules(10**7)
    prepared = align_pair(Decoded(visible, infrared), rules, times, memory=memory)
    prediction = infer(runtime, prepared.pair, times, confidence=True)
    result = Result(prediction, prepared, runtime, rules.gain, times, str(number), "still")
    result = with_objects(result, rules.objects, memory.tracks)
    frame = SourceFrame(visible, stamp_ns, name=str(number))
    return LiveResult("still", number, frame, SourceFrame(infrared, stamp_ns), result)


def frames(
    options: argparse.Namespace, light: str, still: str, seed: int
) -> Iterator[tuple[Pixels, Pixels, bool]]:
    """Frames of both cameras, and whether a person stands in the zone."""
    random = np.random.default_rng(seed)
    scenes = scene(options.data, still)
    people = cutouts(options.data, PEOPLE[light])
    for number in range(round(options.seconds * RATE)):
        now_s = number / RATE
        visible, infrared = panned(scenes, now_s)
        foot = place(now_s % CYCLE_S / CYCLE_S)
        if foot is not None:
            person = people[(seed + int(now_s / CYCLE_S)) % len(people)]
            paste(visible, infrared, person, foot)
        inside = foot is not None and foot >= LEFT
        yield *sensed(visible, infrared, light, now_s, random), inside


def place(phase: float) -> float | None:
    """Of a walk: the feet from the left, as a share of the width; None: nobody is there."""
    known = ((0.1, 0.05), (0.35, 0.45), (0.5, 0.85), (0.65, 0.8), (0.9, 0.05))
    if not known[0][0] <= phase <= known[-1][0]:
        return None
    return float(np.interp(phase, *zip(*known, strict=True)))


def panned(scenes: tuple[Pixels, Pixels], now_s: float) -> tuple[Pixels, Pixels]:
    """What both cameras see of a still at a time, for drawing into."""
    left = round(MARGIN * (1 + math.sin(2 * math.pi * now_s / 17)))
    top = round(MARGIN / 2 * (1 + math.cos(2 * math.pi * now_s / 23)))
    at = slice(top, top + HEIGHT), slice(left, left + WIDTH)
    return scenes[0][at].copy(), scenes[1][at].copy()


def sensed(
    visible: Pixels, infrared: Pixels, light: str, now_s: float, random: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """Both frames with their cameras' noise, and the drifting gain of infrared."""
    gain = 1 + 0.2 * math.sin(2 * math.pi * now_s / 40)
    level = 10 * math.sin(2 * math.pi * now_s / 25)
    return (
        noisy(visible, 1.0, 0.0, 8 if light == "night" else 4, random),
        noisy(infrared, gain, level, 3, random),
    )


def noisy(
    picture: Pixels, gain: float, level: float, sigma: float, random: np.random.Generator
) -> Pixels:
    changed = picture * np.float32(gain) + np.float32(level)
    changed += random.normal(0, sigma, picture.shape).astype(np.float32)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def paste(visible: Pixels, infrared: Pixels, person: Cutout, foot: float) -> None:
    """Put a person into both frames, cut off at their sides."""
    height, width = person.mask.shape
    left, top = round(foot * WIDTH - width / 2), round(FOOT * HEIGHT) - height
    first, last = max(0, -left), min(width, WIDTH - left)
    alpha = person.mask[:, first:last, None].astype(np.float32) / 255
    rows, columns = slice(top, top + height), slice(left + first, left + last)
    for frame, pixels in ((visible, person.visible), (infrared[..., None], person.infrared)):
        there = frame[rows, columns]
        there[:] = np.rint(there + alpha * (pixels[:, first:last] - there.astype(np.float32)))


@lru_cache(16)
def scene(data: Path, still: str) -> tuple[Pixels, Pixels]:
    """Both pictures of a still, as large as the view and its margins."""
    folder, name = still.rsplit("/", 1)
    pictures = []
    for part, decode in (("visible", cv2.IMREAD_COLOR_RGB), ("infrared", cv2.IMREAD_GRAYSCALE)):
        (path,) = (data / folder / part).glob(f"{name}.*")
        pixels = cv2.imread(str(path), decode)
        size = WIDTH + 2 * MARGIN, HEIGHT + MARGIN
        scale = max(size[0] / pixels.shape[1], size[1] / pixels.shape[0])
        large = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(large[-size[1] :, : size[0]]))
    return pictures[0], pictures[1]


@lru_cache(4)
def cutouts(data: Path, where: str) -> list[Cutout]:
    """The whole persons of labelled pairs, the largest of each; `where`: folder/pattern."""
    folder, pattern = where.split("/")
    found = []
    for path in sorted((data / folder / "label").glob(pattern)):
        mask = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == PERSON).astype(np.uint8)
        count, marks, stats, _ = cv2.connectedComponentsWithStats(mask)
        if count < 2:
            continue
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        x, y, wide, high, _ = (int(value) for value in stats[largest])
        whole = x > 0 and y > 0 and x + wide < mask.shape[1] and y + high < mask.shape[0]
        if whole and high >= 60 and 0.2 <= wide / high <= 0.6:
            at = slice(y, y + high), slice(x, x + wide)
            visible, infrared = (
                next((data / folder / part).glob(f"{path.stem}.*")).read_bytes()
                for part in ("visible", "infrared")
            )
            found.append(
                _scaled(
                    decode_visible(visible)[at],
                    np.asarray(decode_infrared(infrared)[at], np.uint8),
                    (marks[at] == largest).astype(np.uint8) * 255,
                )
            )
    return found


def _scaled(visible: Pixels, infrared: Pixels, mask: Pixels) -> Cutout:
    scale = TALL * HEIGHT / mask.shape[0]
    sized = [
        cv2.resize(each, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for each in (visible, infrared, mask)
    ]
    return Cutout(sized[0], sized[1][..., None], sized[2])


if __name__ == "__main__":
    main()
