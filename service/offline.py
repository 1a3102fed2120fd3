"""Folders of recorded frames to folders of fused frames and masks."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

from segmif import files, images
from segmif.classes import Taxonomy
from segmif.frames import Prediction
from segmif.image_header import MAX_PIXELS
from segmif.pair_files import BY_NAME, FilePair, Pairing, pair_files
from segmif.runtime import Runtime
from service.errors import ServiceError
from service.mounting import Mounting
from service.pipeline import Prepared, Rules, infer, prepare
from service.raw_frames import Frame
from service.schemas import Ask
from service.times import Times

CODEC_THREADS = 2
AHEAD = 4  # pairs decoded before, and written after, the one in the network


Read = Callable[[FilePair, Times], Prepared]


@dataclass
class Summary:
    """What became of a folder."""

    done: int = 0
    failures: list[str] = field(default_factory=list)  # one sentence each
    seconds: float = 0.0
    stage_ms: dict[str, float] = field(default_factory=dict)  # summed over the pairs done

    def add(self, complaint: str | None, times: Times | None = None) -> None:
        """Count one pair that is through, with its times, or failed."""
        if complaint:
            self.failures.append(complaint)
        elif times:
            self.done += 1
            for stage, ms in times.ms.items():
                self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + ms

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        if self.done:
            rate = self.done / self.seconds
            stages = ", ".join(f"{name} {ms / self.done:.1f}" for name, ms in self.stage_ms.items())
            yield f"{self.done} pairs in {self.seconds:.1f} s: {rate:.1f} pairs/s"
            yield f"ms per pair, stages overlapping: {stages}"
        if self.failures:
            yield f"{len(self.failures)} failed"
        if not self.done and not self.failures:
            yield "nothing done: neither folder holds a frame"


def infer_folders(
    visible: Path,
    infrared: Path,
    out: Path,
    runtime: Runtime,
    mounting: Mounting | None = None,
    *,
    how: Pairing = BY_NAME,
    refine: bool = False,
) -> Summary:
    """
    Fuse and label every pair; writes `out`/fused/NAME.png and `out`/mask/NAME.png.

    With a mounting, its rig aligns the frames; `refine` mends what is left, pair by pair. What
    fails is said on stderr and noted in the summary, and the others go on.
    Raises OSError where a folder cannot be listed or made, ValueError for a wrong pairs file.
    """
    paired = pair_files(visible, infrared, how)
    for folder in ("fused", "mask"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    summary, start = Summary(), perf_counter()
    rules, ask = Rules(MAX_PIXELS, mounting), Ask(refine=refine)
    with (
        ThreadPoolExecutor(CODEC_THREADS, "codec") as codecs,
        tqdm(total=len(paired.pairs), unit="pair", file=sys.stderr) as bar,
    ):
        for note in paired.notes:
            bar.write(note, file=sys.stderr)
        for complaint in paired.complaints:
            summary.add(complaint)
            bar.write(complaint, file=sys.stderr)
        read = partial(_read, rules, ask)
        for job, error in _finished(paired.pairs, codecs, read, runtime, out):
            trouble = f"{job.task.name}: {error}" if error else None
            summary.add(trouble, job.times)
            if trouble:
                bar.write(trouble, file=sys.stderr)
            bar.update()
    summary.seconds = perf_counter() - start
    return summary


@dataclass(frozen=True)
class Job:
    """A pair that is being read."""

    task: FilePair
    times: Times
    reading: Future[Prepared]


def _finished(
    tasks: Sequence[FilePair], codecs: Executor, read: Read, runtime: Runtime, out: Path
) -> Iterator[tuple[Job, BaseException | None]]:
    """Run the network here while other threads read ahead and write behind."""
    writing: deque[tuple[Job, Future[None]]] = deque()
    for job in _read_ahead(tasks, codecs, read):
        writing.append((job, _infer_and_write(job, codecs, runtime, out)))
        if len(writing) > AHEAD:
            job, written = writing.popleft()
            yield job, written.exception()
    for job, written in writing:
        yield job, written.exception()


def _read_ahead(tasks: Sequence[FilePair], codecs: Executor, read: Read) -> Iterator[Job]:
    reading: deque[Job] = deque()
    for task in tasks:
        times = Times()
        reading.append(Job(task, times, codecs.submit(read, task, times)))
        if len(reading) > AHEAD:
            yield reading.popleft()
    yield from reading


def _read(rules: Rules, ask: Ask, task: FilePair, times: Times) -> Prepared:
    visible, infrared = Frame(task.visible.read_bytes()), Frame(task.infrared.read_bytes())
    return prepare(visible, infrared, rules, times, ask)


def _infer_and_write(job: Job, codecs: Executor, runtime: Runtime, out: Path) -> Future[None]:
    try:
        prediction = infer(runtime, job.reading.result().pair, job.times)
    except (ServiceError, OSError) as error:
        failed: Future[None] = Future()
        failed.set_exception(error)
        return failed
    return codecs.submit(_write, prediction, runtime.manifest.classes, out, job)


def _write(prediction: Prediction, taxonomy: Taxonomy, out: Path, job: Job) -> None:
    with job.times.measure("encode"):
        fused = images.encode_png(prediction.fused)
        mask = images.encode_indexed_png(prediction.labels, taxonomy.palette)
    files.write_bytes(out / "fused" / f"{job.task.name}.png", fused)
    files.write_bytes(out / "mask" / f"{job.task.name}.png", mask)
