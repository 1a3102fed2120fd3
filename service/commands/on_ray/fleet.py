"""Processes pairs by many networks at a time, and gives what became of them in their order."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from segmif.folders import FilePair
from segmif.frames import Prediction
from segmif.runtime import Runtime

from ...errors import EngineFailed
from ...pipeline.align import RigAligner
from ...pipeline.prepare import PreparedPair
from ...pipeline.stage_times import StageTimes
from ...scheduler.model_loading import LoadedModel
from ...settings import Settings
from ..folder_pairs import FolderWork, Line, line_of
from .cluster import cluster, for_replicas, replica_count, share_of
from .pool import TRIES, Call, Pool, WorkerLost
from .worker import NetworkFacts, Predicted

CHUNK = 16  # pairs of folders that a worker gets at a time
CHUNKS_EACH = 4  # for each worker, in work or done before an earlier one is
PAIRS_EACH = 2  # of recordings, for each worker


class NetworkElsewhere:
    """The facts of a network that only the workers hold."""

    def __init__(self, facts: NetworkFacts) -> None:
        self.name, self.outputs = facts.name, facts.outputs
        self.default_tint, self.manifest = facts.default_tint, facts.manifest

    def run(self, *frames: Any, **options: Any) -> Any:
        """Not here."""
        raise EngineFailed("this network runs in the processes of Ray")

    def trim(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Arriving:
    """A prediction on its way from a worker."""

    pool: Pool
    call: Call
    times: StageTimes

    def result(self) -> Prediction:
        """As Predicting says."""
        try:
            made: Predicted = self.pool.result(self.call)
        except WorkerLost as error:
            raise EngineFailed(died(error)) from error
        if made.prediction is None:
            raise EngineFailed(made.refused or "")
        self.times.note("infer", made.ms)
        return made.prediction


@dataclass(frozen=True)
class Fleet:
    """Many workers, and what the network of each is."""

    pool: Pool
    runtime: Runtime

    @property
    def ahead(self) -> int:
        """As Network says."""
        return PAIRS_EACH * self.pool.count

    def predict(self, prepared: PreparedPair, times: StageTimes, *, confidence: bool) -> Arriving:
        """As Network says."""
        arguments = prepared.pair, prepared.tint, confidence
        return Arriving(self.pool, self.pool.call("predict", *arguments, each=PAIRS_EACH), times)

    def process(self, pairs: Sequence[FilePair], work: FolderWork) -> Iterator[Line]:
        """As `process_pairs`, by the workers; they reach the folders under the same paths."""
        waiting: deque[tuple[Sequence[FilePair], Call]] = deque()
        pairs, work = [_whole(pair) for pair in pairs], replace(work, out=work.out.absolute())
        for start in range(0, len(pairs), CHUNK):
            chunk = pairs[start : start + CHUNK]
            waiting.append((chunk, self.pool.call("process", chunk, work)))
            if len(waiting) >= CHUNKS_EACH * self.pool.count:
                yield from self._lines(*waiting.popleft(), work)
        while waiting:
            yield from self._lines(*waiting.popleft(), work)

    def _lines(self, chunk: Sequence[FilePair], call: Call, work: FolderWork) -> list[Line]:
        """The lines of a chunk; one that nobody survives is tried pair by pair."""
        try:
            lines: list[Line] = self.pool.result(call)
        except WorkerLost as error:
            if len(chunk) == 1:
                return [line_of(chunk[0], "failed", died(error), None)]
            singles = ([pair] for pair in chunk)
            return [
                line
                for single in singles
                for line in self._lines(single, self.pool.call("process", single, work), work)
            ]
        return lines


def _whole(pair: FilePair) -> FilePair:
    """With paths that are the same for every process."""
    return FilePair(pair.name, pair.visible.absolute(), pair.infrared.absolute())


def died(error: WorkerLost) -> str:
    """The sentence on a pair that no process survived."""
    return f"{TRIES} processes died with it, as for want of memory: {error}"


@contextmanager
def open_fleet(settings: Settings, replicas: int | None) -> Iterator[tuple[LoadedModel, Fleet]]:
    """
    Workers on Ray, as many as have room unless `replicas` are stated, and what they have opened.

    Raises NotInstalled without Ray, ValueError if there is no room, and as `load_model`.
    """
    settings = for_replicas(settings)
    share = share_of(settings)
    with cluster() as ray:
        room = replica_count(ray, share)
        if replicas and replicas > room:
            raise ValueError(f"--replicas {replicas}: Ray has room for {room}")
        pool = Pool(ray, settings, share, replicas or room)
        try:
            facts = common_facts(pool.call_all("open"))
            rig = RigAligner(settings.rig, settings.depth_m) if settings.rig else None
            runtime = NetworkElsewhere(facts)
            yield LoadedModel(settings, runtime, rig), Fleet(pool, runtime)
        except WorkerLost as error:
            raise OSError(f"no process for the network: {error}") from error
        finally:
            pool.close()


def common_facts(opened: Sequence[NetworkFacts]) -> NetworkFacts:
    """The facts of all networks; raises ValueError if they are not the same."""
    first = opened[0]
    for other in opened:
        if other != first:
            raise ValueError(
                f"the machines run different networks, {first.name} with the weights "
                f"{first.manifest.sha256[:12]} and {other.name} with {other.manifest.sha256[:12]}: "
                "give all the same file, and state --device"
            )
    return first
