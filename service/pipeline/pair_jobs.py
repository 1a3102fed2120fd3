"""Runs the network over many pairs, while other threads read ahead and write behind."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from segmif.frames import Prediction
from segmif.runtime import Runtime

from ..errors import ServiceError
from .infer import PreparedPair, infer
from .stage_times import StageTimes

AHEAD = 4  # pairs decoded before, and written after, the one in the network

Task = TypeVar("Task")
Written = TypeVar("Written")


@dataclass(frozen=True)
class Job(Generic[Task]):
    """A pair that is being read."""

    task: Task
    times: StageTimes
    reading: Future[PreparedPair]


Read = Callable[[Task, StageTimes], Future[PreparedPair]]
Write = Callable[[Job[Task], PreparedPair, Prediction], Future[Written]]


def run_jobs(
    tasks: Iterable[Task],
    read: Read[Task],
    runtime: Runtime,
    write: Write[Task, Written],
    *,
    confidence: bool = False,
) -> Iterator[tuple[Job[Task], Future[Written]]]:
    """
    Run the network here; gives each job in its order, with what writing it gave or raised.

    Predictions hold the confidence if that is asked for and the network gives one.
    """
    writing: deque[tuple[Job[Task], Future[Written]]] = deque()
    for job in _read_ahead(tasks, read):
        writing.append((job, _infer_and_write(job, runtime, write, confidence)))
        if len(writing) > AHEAD:
            yield writing.popleft()
    yield from writing


def _read_ahead(tasks: Iterable[Task], read: Read[Task]) -> Iterator[Job[Task]]:
    reading: deque[Job[Task]] = deque()
    for task in tasks:
        times = StageTimes()
        reading.append(Job(task, times, read(task, times)))
        if len(reading) > AHEAD:
            yield reading.popleft()
    yield from reading


def _infer_and_write(
    job: Job[Task], runtime: Runtime, write: Write[Task, Written], confidence: bool
) -> Future[Written]:
    try:
        prepared = job.reading.result()
        tint = prepared.tint
        prediction = infer(runtime, prepared.pair, job.times, tint, confidence=confidence)
    except (ServiceError, OSError) as error:
        failed: Future[Written] = Future()
        failed.set_exception(error)
        return failed
    return write(job, prepared, prediction)
