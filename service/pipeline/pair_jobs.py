"""Runs the network over many pairs, while other threads read ahead and write behind."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from segmif.frames import Prediction
from segmif.runtime import Runtime

from ..errors import ServiceError
from .infer import infer
from .prepare import PreparedPair
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


class Predicting(Protocol):
    """A prediction that may still be on its way."""

    def result(self) -> Prediction:
        """Wait for it; raises ServiceError if there is none."""


class Network(Protocol):
    """Where pairs are predicted."""

    @property
    def ahead(self) -> int:
        """How many pairs it takes before the first of them is waited for."""

    def predict(self, prepared: PreparedPair, times: StageTimes, *, confidence: bool) -> Predicting:
        """Predict a pair; raises ServiceError, at once or later."""


class NetworkHere:
    """A network that runs in the thread that asks."""

    ahead = 0

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def predict(
        self, prepared: PreparedPair, times: StageTimes, *, confidence: bool
    ) -> Future[Prediction]:
        """As Network says."""
        done: Future[Prediction] = Future()
        tint = prepared.tint
        done.set_result(infer(self._runtime, prepared.pair, times, tint, confidence=confidence))
        return done


Read = Callable[[Task, StageTimes], Future[PreparedPair]]
Write = Callable[[Job[Task], PreparedPair, Prediction], Future[Written]]


def run_jobs(
    tasks: Iterable[Task],
    read: Read[Task],
    network: Network,
    write: Write[Task, Written],
    *,
    confidence: bool = False,
) -> Iterator[tuple[Job[Task], Future[Written]]]:
    """
    Have the network predict; gives each job in its order, with what writing it gave or raised.

    Predictions hold the confidence if that is asked for and the network gives one.
    """
    writing: deque[tuple[Job[Task], Future[Written]]] = deque()
    for job, predicting in _predict_ahead(_read_ahead(tasks, read), network, confidence):
        writing.append((job, _write(job, predicting, write)))
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


def _predict_ahead(
    jobs: Iterable[Job[Task]], network: Network, confidence: bool
) -> Iterator[tuple[Job[Task], Predicting]]:
    waiting: deque[tuple[Job[Task], Predicting]] = deque()
    for job in jobs:
        waiting.append((job, _predict(job, network, confidence)))
        if len(waiting) > network.ahead:
            yield waiting.popleft()
    yield from waiting


def _predict(job: Job[Task], network: Network, confidence: bool) -> Predicting:
    try:
        return network.predict(job.reading.result(), job.times, confidence=confidence)
    except (ServiceError, OSError) as error:
        failed: Future[Prediction] = Future()
        failed.set_exception(error)
        return failed


def _write(job: Job[Task], predicting: Predicting, write: Write[Task, Written]) -> Future[Written]:
    try:
        prediction = predicting.result()
    except (ServiceError, OSError) as error:
        failed: Future[Written] = Future()
        failed.set_exception(error)
        return failed
    return write(job, job.reading.result(), prediction)
