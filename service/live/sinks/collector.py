"""
Keeps pairs that are worth labelling, in folders that training and `export-labels` read.

The frames are those that the network saw, in one view. Of a pair that looks like a kept one
nothing is written. The oldest pairs make room for new ones. The folder may hold frames of others
and labels: only what has a report is the collector's, and a pair with a label is kept.
"""

import json
import re
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from segmif.clock import earliest_now_s
from segmif.files import shown, write_bytes
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
        try:
            for part in FILES:
                (settings.path / part).mkdir(parents=True, exist_ok=True)
            self._names = {path.stem for part in FILES for path in (settings.path / part).iterdir()}
            self._kept = deque(sorted(self._found(), key=lambda each: each.name))
            self._remember()
        except OSError as error:
            words = f"nothing is collected in {shown(settings.path)}: {error.strerror}"
            raise SinkError(words) from None
        self._bytes = sum(each.size for each in self._kept)

    def write(self, result: LiveResult) -> None:
        """Keep a pair if there is a reason; raises SinkError if the disk is full, else OSError."""
        reasons = self._reasons.of(result, lambda reason: self._is_due(reason, result))
        prepared = result.result.prepared
        if (
            not reasons
            or prepared.halved_from
            or None in (prepared.visible_shape, prepared.infrared_shape)
        ):
            return
        seen = small(result)
        if self._seen.add(seen):
            self._last |= dict.fromkeys(reasons, result.stamp_ns)
            try:
                self._write(result, reasons, seen)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                words = f"the disk of {shown(self._settings.path)} is full: make room"
                raise SinkError(words) from None

    def close(self) -> None:
        """Do nothing: each file is whole."""

    def _is_due(self, reason: Reason, result: LiveResult) -> bool:
        last = self._last.get(reason)
        return last is None or result.stamp_ns - last >= self._settings.every_s * 1e9

    def _write(self, result: LiveResult, reasons: Iterable[Reason], seen: Small) -> None:
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
        for part, suffix in FILES.items():
            path = self._settings.path / part / f"{name}{suffix}"
            write_bytes(path, contents[part], wait_for_disk=False)
        self._kept.append(Kept(name, size, time.time()))
        self._names.add(name)
        self._bytes += size

    def _free_name(self, stamp_ns: int) -> str:
        """The stamp, or the next that no pair has: two recordings may both begin at 0."""
        while (name := f"{stamp_ns:019d}") in self._names:
            stamp_ns += 1
        return name

    def _make_room(self, size: int) -> None:
        """Delete the oldest pairs beyond the limits of size and age, but for labelled ones."""
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
            paths = [folder / part / f"{name}{suffix}" for part, suffix in FILES.items()]
            if all(path.is_file() for path in paths):
                facts = [path.stat() for path in paths]
                yield Kept(name, sum(each.st_size for each in facts), facts[-1].st_mtime)
            else:
                self._delete(name)

    def _remember(self) -> None:
        """Have `_seen` know the newest pairs of earlier runs; a report may lack what one is."""
        for kept in list(self._kept)[-REMEMBERED:]:
            path = self._settings.path / "report" / f"{kept.name}.json"
            try:
                report = parse_json(path)
            except ValueError:
                continue
            seen = from_text(report.get(LOOKS) if isinstance(report, dict) else None)
            if seen is not None:
                self._seen.add(seen)

    def _delete(self, name: str) -> None:
        self._names.discard(name)
        for part, suffix in reversed(FILES.items()):
            (self._settings.path / part / f"{name}{suffix}").unlink(missing_ok=True)
