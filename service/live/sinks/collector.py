"""
Keeps pairs that are worth labelling, in folders that training and `export-labels` read.

The frames are those that the network saw, in one view. Of a pair that looks like a kept one
nothing is written. The oldest pairs make room for new ones. The folder may hold frames of others
and labels: only what has a report is the collector's, and a pair with a label is kept.
"""

import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segmif.clock import earliest_now_s
from segmif.files import exclusive, shown, write_bytes
from segmif.imaging.codecs import encode_png
from segmif.parsing import parse_json

from ..live_result import LiveResult
from .collect_rules import REMEMBERED, Reason, Reasons, Seen, Small, as_text, from_text, small
from .jsonl import line
from .rotation import FULL
from .settings import CollectSettings
from .sink import SinkError

# In the order in which they are written: a pair whose visible frame is there is whole.
FILES = {"report": ".json", "infrared": ".png", "visible": ".png"}
LOOKS = "looks"  # of a report: what its pair looks like, for the collector of the next start
OURS = re.compile(r"\d{19}")  # a stamp as the name of a pair


@dataclass(frozen=True)
class Kept:
    """A pair in the folder."""

    name: str
    size: int  # bytes of its files
    written_s: float  # when, in seconds of the system's clock


class Collector:
    """Writes visible/NAME.png, infrared/NAME.png and report/NAME.json; NAME is the stamp."""

    dropped = 0

    def __init__(self, settings: CollectSettings) -> None:
        """Raises SinkError for a folder that cannot be used."""
        self.name = f"collect {shown(settings.path)}"
        self._settings = settings
        self._reasons, self._seen = Reasons(settings.random_share), Seen()
        self._last: dict[Reason, int] = {}  # stamp of the newest pair kept for each reason
        self._kept: deque[Kept] | None = None  # None: nothing came yet
        self._failed: tuple[LiveResult, list[Reason]] | None = None  # it may come again
        try:
            for part in FILES:
                (settings.path / part).mkdir(parents=True, exist_ok=True)
                next((settings.path / part).iterdir(), None)
        except OSError as error:
            words = f"nothing is collected in {shown(settings.path)}: {error.strerror}"
            raise SinkError(words) from None

    def write(self, result: LiveResult) -> None:
        """Keep a pair if there is a reason; raises SinkError if the disk is full, else OSError."""
        if self._kept is None:  # a sink that is only checked must not touch what another writes
            self._begin()
        reasons = self._reasons_of(result)
        prepared = result.result.prepared
        if (
            not reasons
            or prepared.halved_from
            or None in (prepared.visible_shape, prepared.infrared_shape)
        ):
            return
        seen = small(result)
        if not self._seen.is_new(seen):
            return
        try:
            with exclusive(self._settings.path):
                self._write(result, reasons, seen)
        except OSError as error:
            self._failed = result, reasons
            if error.errno not in FULL:
                raise
            words = f"the disk of {shown(self._settings.path)} is full: make room"
            raise SinkError(words) from None
        self._seen.add(seen)
        self._last |= dict.fromkeys(reasons, result.stamp_ns)

    def close(self) -> None:
        """Do nothing: each file is whole."""

    def _begin(self) -> None:
        """Find the pairs of earlier runs, while no other collector writes one."""
        with exclusive(self._settings.path):
            kept = deque(sorted(self._found(), key=lambda each: each.name))
        self._bytes = sum(each.size for each in kept)
        self._remember(list(kept)[-REMEMBERED:])
        self._kept = kept

    def _reasons_of(self, result: LiveResult) -> list[Reason]:
        """The reasons to keep a pair; the same as before for one that could not be written."""
        failed, self._failed = self._failed, None
        if failed and failed[0] is result:
            return failed[1]
        return self._reasons.of(result, lambda reason: self._is_due(reason, result))

    def _is_due(self, reason: Reason, result: LiveResult) -> bool:
        last = self._last.get(reason)
        return last is None or result.stamp_ns - last >= self._settings.every_s * 1e9

    def _write(self, result: LiveResult, reasons: Iterable[Reason], seen: Small) -> None:
        assert self._kept is not None  # `_begin` was called
        pair = result.result.prepared.pair
        report = line(result) | {"reasons": list(reasons), LOOKS: as_text(seen)}
        if result.difference:
            report["differing_share"] = round(result.difference.share, 6)
        contents = {
            "report": json.dumps(report, indent=1).encode() + b"\n",
            "infrared": encode_png(pair.infrared),
            "visible": encode_png(pair.visible),
        }
        size = sum(map(len, contents.values()))
        self._make_room(size)
        name = self._free_name(result.stamp_ns)
        try:
            for part, path in self._paths(name).items():
                write_bytes(path, contents[part], wait_for_disk=False)
        except OSError:
            with suppress(OSError):
                self._delete(name)
            raise
        self._kept.append(Kept(name, size, time.time()))
        self._bytes += size

    def _free_name(self, stamp_ns: int) -> str:
        """The stamp, or the next that no pair has: two recordings may both begin at 0."""
        while any(map(os.path.lexists, self._paths(name := f"{stamp_ns:019d}").values())):
            stamp_ns += 1
        return name

    def _make_room(self, size: int) -> None:
        """Delete the oldest pairs beyond the limits of size and age, but for labelled ones."""
        assert self._kept is not None  # `_begin` was called
        most = self._settings.keep_gb * 1e9 - size
        oldest_s = earliest_now_s() - self._settings.keep_days * 86_400
        while self._kept and (self._bytes > most or self._kept[0].written_s < oldest_s):
            gone = self._kept.popleft()
            self._bytes -= gone.size
            if not (self._settings.path / "label" / f"{gone.name}.png").exists():
                self._delete(gone.name)

    def _found(self) -> Iterable[Kept]:
        """The pairs of earlier runs; what a killed one left of a pair is deleted."""
        folder = self._settings.path
        for part in FILES:
            for torn in (folder / part).glob(".*.part"):
                torn.unlink(missing_ok=True)
        ours = [path.stem for path in (folder / "report").glob("*.json")]
        for name in filter(OURS.fullmatch, ours):
            paths = self._paths(name).values()
            if all(path.is_file() for path in paths):
                facts = [path.stat() for path in paths]
                yield Kept(name, sum(each.st_size for each in facts), facts[-1].st_mtime)
            else:
                self._delete(name)

    def _remember(self, newest: Iterable[Kept]) -> None:
        """Have `_seen` know pairs of earlier runs; a report may lack what one is."""
        for kept in newest:
            path = self._settings.path / "report" / f"{kept.name}.json"
            try:
                report = parse_json(path)
            except ValueError:
                continue
            seen = from_text(report.get(LOOKS) if isinstance(report, dict) else None)
            if seen is not None and self._seen.is_new(seen):
                self._seen.add(seen)

    def _paths(self, name: str) -> dict[str, Path]:
        """The files of a pair, in the order in which they are written."""
        return {part: self._settings.path / part / f"{name}{end}" for part, end in FILES.items()}

    def _delete(self, name: str) -> None:
        for path in reversed(self._paths(name).values()):
            path.unlink(missing_ok=True)
