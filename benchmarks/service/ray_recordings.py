"""
`segmif infer --ray` that is killed twice, beside plain `infer`: whether it is complete, its speed.

    python -m benchmarks.service.ray_recordings --out benchmarks/results/ray_recordings.json

Input are msrs_test, roadscene and two videos (H.264, of real sequences). Plain `infer` and `--ray`
go through all of it, then `--ray` once more, killed with SIGKILL at a third and at two thirds.

    python -m benchmarks.service.ray_recordings --many 10000

sends so many small pairs through the stand-in network of the tests instead, and samples the memory
of all processes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import onnx

from segmif.argument_types import IntegerRange
from segmif.folders import pair_files
from segmif.imaging import codecs
from segmif.manifest import Manifest, sha256
from tests.conftest import stand_in_model

from ..results_file import save

ROOT = Path(__file__).parents[2]
FOLDERS, SEQUENCES = ("msrs_test", "roadscene"), ("0111_1716", "0114_1551")
RATE = 10  # frames a second of the videos
DISTINCT, SMALL = 50, (64, 96)  # pictures and their size, of the many pairs
LIMIT_S = 3600


@dataclass
class Run:
    """One run of `infer`, until it ended or was killed."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    lines: int = 0  # of all reports
    returncode: int = 0
    mib: list[tuple[int, float]] = field(default_factory=list)  # pairs done, memory


def main() -> None:
    """Measure, and write the numbers to the file of --out."""
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = many(folder, args) if args.many else killed(folder, args)
    save(found, args.out)


def killed(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Plain and `--ray` on all recordings, then `--ray` with two kills."""
    inputs = list(recordings(folder, args.data, args.every, args.frames))
    tables = {name: table(folder / name, inputs) for name in ("plain", "ray", "killed")}
    ray = ("--ray", *(("--replicas", str(args.replicas)) if args.replicas else ()))
    plain = run(infer(tables["plain"], args.weights))
    whole = run(infer(tables["ray"], args.weights, *ray))
    stops = [plain.lines // 3, 2 * plain.lines // 3, None]
    parts = [run(infer(tables["killed"], args.weights, *ray), stop) for stop in stops]
    expected, after = outputs(tables["plain"].parent), outputs(tables["killed"].parent)
    names = expected.keys() | after.keys()
    return {
        "pairs": plain.lines,
        "every": args.every,
        "plain": {"pairs_s": plain.lines / plain.seconds, "cpu_s": plain.cpu_s},
        "ray": {"pairs_s": whole.lines / whole.seconds, "cpu_s": whole.cpu_s},
        "lines_at_each_end": [each.lines for each in parts],
        "exit_codes": [each.returncode for each in (plain, whole, *parts)],
        "duplicates": duplicates(tables["killed"].parent),
        "equal_without_kills": outputs(tables["ray"].parent) == expected,
        "differ_after_kills": sorted(n for n in names if after.get(n) != expected.get(n)),
    }


def recordings(
    folder: Path, data: Path, every: int, frames: int
) -> Iterator[tuple[Path, Path, str]]:
    """Folders of links to every n-th pair, and videos: visible, infrared, name of the output."""
    for name in FOLDERS:
        paired = pair_files(data / name / "visible", data / name / "infrared")
        sides = folder / name / "visible", folder / name / "infrared"
        for side in sides:
            side.mkdir(parents=True)
        for pair in paired.pairs[::every]:
            for side, path in zip(sides, (pair.visible, pair.infrared), strict=True):
                (side / path.name).symlink_to(path.resolve())
        yield *sides, name
    for name in SEQUENCES:
        videos = []
        for part in ("visible", "infrared"):
            paths = sorted((data / "video" / name / part).iterdir())[:frames]
            videos.append(folder / f"{name}_{part}.mp4")
            write_video(videos[-1], paths)
        yield *videos, f"{name}.mp4"


def write_video(file: Path, paths: Sequence[Path]) -> None:
    """An H.264 video of pictures of one size."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        height, width = cv2.imread(str(paths[0])).shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for path in paths:
            picture = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])  # the service: no WebP
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def table(folder: Path, inputs: Sequence[tuple[Path, Path, str]]) -> Path:
    """A list for `infer --list`, beside its outputs."""
    folder.mkdir()
    rows = [f"{visible},{infrared},{folder / out}" for visible, infrared, out in inputs]
    file = folder / "list.csv"
    file.write_text("\n".join(["visible,infrared,out", *rows]))
    return file


def infer(file: Path, weights: Path, *flags: str) -> list[str]:
    """The command."""
    words = ["infer", f"--list={file}", f"--weights={weights}", "--threads=1", *flags]
    return [sys.executable, "-m", "service", *words]


def run(command: Sequence[str], stop_at: int | None = None) -> Run:
    """Run a command on a list, sampling its memory; kill it once its reports have so many lines."""
    (out,) = (Path(word[7:]).parent for word in command if word.startswith("--list="))
    seen, cpu_s, start = Run(), dict[int, float](), time.perf_counter()
    log = out / "log"
    with log.open("w") as said, subprocess.Popen(command, cwd=ROOT, stderr=said) as process:
        while process.poll() is None:
            processes = list(tree(process.pid))
            seen.mib.append((lines_of(out), sum(map(memory_mib, processes))))
            cpu_s |= {each: taken for each in processes if (taken := cpu_of(each))}
            if stop_at is not None and seen.mib[-1][0] >= stop_at:
                process.send_signal(signal.SIGKILL)
                break
            assert time.perf_counter() - start < LIMIT_S
            time.sleep(0.02 if stop_at is not None else 0.5)
    if process.returncode == 2:
        raise RuntimeError(f"it could not start: {log.read_text()}")
    seen.seconds, seen.lines = time.perf_counter() - start, lines_of(out)
    seen.cpu_s = sum(cpu_s.values())
    seen.returncode = process.returncode
    return seen


def reports(out: Path) -> list[Path]:
    """The reports of all outputs."""
    return sorted(out.rglob("*report.jsonl"))


def lines_of(out: Path) -> int:
    """Lines of all reports."""
    return sum(report.read_bytes().count(b"\n") for report in reports(out))


def duplicates(out: Path) -> int:
    """Lines of a report whose pair has one already."""
    names = [
        [json.loads(line)["name"] for line in report.read_text().splitlines()]
        for report in reports(out)
    ]
    return sum(len(each) - len(set(each)) for each in names)


def outputs(out: Path) -> dict[str, str]:
    """The hash of each picture and video, and the lines of each report without times."""
    found = {}
    for path in (each for suffix in ("png", "mp4") for each in out.rglob(f"*.{suffix}")):
        found[str(path.relative_to(out))] = sha256(path)
    for path in reports(out):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            (line.get("report") or {}).pop("times_ms", None)
        found[str(path.relative_to(out))] = json.dumps(lines)
    return found


def memory_mib(pid: int) -> float:
    """Proportional memory of a process in MiB; 0: it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far; 0: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from tree(child)


def many(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """So many small pairs by the stand-in network: pairs a second, and memory on the way."""
    rng = np.random.default_rng(0)
    for part, channels in (("visible", (3,)), ("infrared", ())):
        (folder / part).mkdir()
        for number in range(DISTINCT):
            pixels = rng.integers(0, 256, (*SMALL, *channels), np.uint8)
            codecs.write_png(folder / f"{part}{number}.png", pixels)
        for number in range(args.many):
            link = folder / part / f"{number:06d}.png"
            link.symlink_to(folder / f"{part}{number % DISTINCT}.png")
    weights = folder / "stand_in.onnx"
    onnx.save(stand_in_model(), weights)
    facts = {"variant": "nano", "taxonomy": "mfnet", "precision": "fp32"}
    Manifest(**facts, sha256=sha256(weights)).write(weights)  # type: ignore[arg-type]
    file = table(folder / "out", [(folder / "visible", folder / "infrared", "results")])
    seen = run(infer(file, weights, "--ray"))
    steps = [
        max((mib for done, mib in seen.mib if low <= done < low + args.many // 10), default=None)
        for low in range(0, args.many, args.many // 10)
    ]
    return {
        "pairs": seen.lines,
        "exit_code": seen.returncode,
        "duplicates": duplicates(folder / "out"),
        "pairs_s": seen.lines / seen.seconds,
        "cpu_s": seen.cpu_s,
        "most_mib_in_each_tenth": steps,
    }


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano.onnx")
    parser.add_argument("--every", type=IntegerRange(1, 1000), default=1, help="n-th pair")
    parser.add_argument("--frames", type=IntegerRange(2, 10_000), default=20, help="of a video")
    parser.add_argument("--replicas", type=IntegerRange(1, 10_000), help="as many as have room")
    parser.add_argument("--many", type=IntegerRange(10, 10_000_000), help="pairs by the stand-in")
    parser.add_argument("--out", type=Path, help="file for the numbers")
    return parser


if __name__ == "__main__":
    main()
