"""Workers in processes of Ray: who is free gets the next call, and who dies is replaced."""

from dataclasses import dataclass, field
from typing import Any

from ...settings import Settings
from .worker import Worker

TRIES = 3  # of a call whose process dies


class WorkerLost(Exception):
    """The processes of a call died, time and again."""


@dataclass
class Call:
    """What was asked of a worker."""

    method: str
    arguments: tuple[Any, ...]
    slot: int = 0
    worker: Any = None
    answer: Any = None  # Ray's reference
    tries: int = 0


@dataclass
class Pool:
    """So many workers, each with a few calls at a time."""

    ray: Any
    settings: Settings
    share: dict[str, float]  # of the cluster, for each
    count: int
    _workers: list[Any] = field(default_factory=list)
    _open: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._actor = self.ray.remote(**self.share)(Worker)
        self._workers = [self._actor.remote(self.settings) for _ in range(self.count)]

    def call(self, method: str, *arguments: Any, each: int = 1) -> Call:
        """Ask the freest worker, once it has fewer than `each` calls; `result` gives the answer."""
        while len(self._open) >= each * self.count:
            self._settle(wait=True)
        self._settle(wait=False)
        loads = [0] * self.count
        for call in self._open:
            loads[call.slot] += 1
        call = Call(method, arguments, slot=loads.index(min(loads)))
        self._send(call)
        return call

    def call_all(self, method: str, *arguments: Any) -> list[Any]:
        """The answers of all workers."""
        calls = [Call(method, arguments, slot=slot) for slot in range(self.count)]
        for call in calls:
            self._send(call)
        return [self.result(call) for call in calls]

    def result(self, call: Call) -> Any:
        """
        Wait for an answer; raises what the worker raised.

        If its process dies the call goes to another one. WorkerLost is raised after `TRIES`.
        """
        errors = self.ray.exceptions
        lost = errors.RayActorError, errors.OutOfMemoryError, errors.ObjectLostError
        while True:
            try:
                answer = self.ray.get(call.answer)
            except lost as error:
                self._forget(call)
                if self._workers[call.slot] is call.worker:
                    self.ray.kill(call.worker)
                    self._workers[call.slot] = self._actor.remote(self.settings)
                if call.tries == TRIES:
                    raise WorkerLost(str(error).splitlines()[0]) from error
                self._send(call)
            except errors.RayTaskError as error:
                self._forget(call)
                raise error.cause from error
            else:
                self._forget(call)
                return answer

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            self.ray.kill(worker)

    def _send(self, call: Call) -> None:
        call.worker, call.tries = self._workers[call.slot], call.tries + 1
        call.answer = getattr(call.worker, call.method).remote(*call.arguments)
        self._open.append(call)

    def _settle(self, *, wait: bool) -> None:
        """Strike out the calls that are answered, or whose worker died."""
        if not self._open:
            return
        answers = [call.answer for call in self._open]
        done, _ = self.ray.wait(
            answers,
            num_returns=1 if wait else len(answers),
            timeout=None if wait else 0,
            fetch_local=False,
        )
        self._open = [call for call in self._open if call.answer not in done]

    def _forget(self, call: Call) -> None:
        self._open = [each for each in self._open if each is not call]
