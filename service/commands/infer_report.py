"""The results of a folder of pairs: a summary for people, and a line of JSON for each."""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from typing_extensions import Self

from segmif.files import shown
from segmif.folders import listed

from ..errors import Degraded
from ..pipeline.pair_checks import SENSORS
from ..pipeline.result_files import pictures_of_others

REPORT = "report.jsonl"

Report = dict[str, Any]
Status = Literal["done", "refused", "failed"]


@dataclass
class Summary:
    """What became of many pairs."""

    done: int = 0
    before: int = 0  # of them, by an earlier run
    refused: int = 0  # pairs with a fault, which --degraded refuse does not take
    failures: list[str] = field(default_factory=list)  # one sentence each
    seconds: float = 0.0
    stage_ms: Counter[str] = field(default_factory=Counter)  # summed over the pairs done
    flags: Counter[str] = field(default_factory=Counter)  # pairs done with each
    alone: Counter[str] = field(default_factory=Counter)  # pairs done that rest on this sensor
    alignment: Counter[str] = field(default_factory=Counter)  # pairs done by how they came together
    grey: int = 0  # pairs done whose visible frame has no colour
    out: Path | None = None  # what was written
    notes: list[str] = field(default_factory=list)  # sentences on what is no failure

    @property
    def whole(self) -> bool:
        """Whether there were pairs and all are done."""
        return bool(self.done) and not self.failures and not self.refused

    def take(self, line: Mapping[str, Any]) -> None:
        """Count a line of a report."""
        if line["status"] == "done":
            self.add(line["report"])
        elif line["status"] == "refused":
            self.refused += 1
        else:
            name = line["name"]
            self.failures.append(f"{name}: {line['detail']}" if name else line["detail"])

    def add(self, report: Report) -> None:
        """Count a pair that is done, with its report."""
        self.done += 1
        self.stage_ms.update(report["times_ms"])
        self.flags.update(report["pair"]["flags"])
        self.alignment[report["alignment"]] += 1
        self.grey += report["visible_grey"]
        sensors = report["pair"]["sensors"]
        if len(sensors) < len(SENSORS):
            self.alone.update(sensors)

    def lines(self) -> Iterator[str]:
        """Say it for people."""
        if self.done:
            yield self._rate()
            stages = ", ".join(f"{name} {ms / self.done:.1f}" for name, ms in self.stage_ms.items())
            yield f"ms per pair, stages overlapping: {stages}"
            yield f"alignment: {_counts(self.alignment)}"
        if self.flags:
            yield f"flagged: {_counts(self.flags)}"
        for sensor, pairs in self.alone.items():
            yield f"{pairs} rest on {sensor} alone"
        for count, what in (
            (self.grey, "pairs have a grey visible frame"),
            (self.refused, "refused"),
            (len(self.failures), "failed"),
        ):
            if count:
                yield f"{count} {what}"
        yield from self.notes
        if self.done and self.out:
            yield f"written: {shown(self.out)}"
        if not self.done and not self.refused and not self.failures:
            yield "nothing done: neither folder holds a frame"

    def _rate(self) -> str:
        now = self.done - self.before
        if self.before and not now:
            return f"{self.done} pairs, all by an earlier run"
        said = f"{now} pairs in {self.seconds:.1f} s: {now / self.seconds:.1f} pairs/s"
        return f"{self.before} pairs by an earlier run, and {said}" if self.before else said


def note_on_others(out: Path, names: Collection[str]) -> list[str]:
    """A sentence, if a folder of results holds pictures of other pairs than those done."""
    others = pictures_of_others(out, names)
    return [
        f"{len(others)} pictures in {shown(out)} are of another run, not of this one "
        f"({listed(others)}): delete them, or name a new folder"
        for _ in others[:1]
    ]


def status_of(error: BaseException) -> Status:
    """What a pair that gave nothing is said to be."""
    return "refused" if isinstance(error, Degraded) else "failed"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.most_common())


class ReportFile:
    """One line of JSON for each pair, in the order of the pairs; an older file is replaced."""

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Go on behind the first bytes of an older file; raises OSError."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._file = os.fdopen(handle, "wb")
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line, at once."""
        # What is no UTF-8 in a name stays what it is, in escapes.
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
