"""The record of a run beside its output: what it was begun with, so that it can go on."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from segmif.addresses import masked
from segmif.files import shown, write_text
from segmif.install import version
from segmif.parsing import parse_json
from segmif.sources.open_source import local_path

RECORD = "run.json"
Facts = Mapping[str, Any]
# Settings whose values say nothing to people.
WORDS = {
    "rig_sha256": "the rig file",
    "pairs_sha256": "which files pair",
    "weights_sha256": "the network (--weights)",
    "cameras": "what is stated of the cameras",
    "gain": "the gain",
}


@dataclass(frozen=True)
class RunRecord:
    """What decides on the results of a run."""

    visible: Facts
    infrared: Facts
    settings: Facts
    complete: bool = False
    size: int | None = None  # of the file that a complete run wrote [bytes]
    made_by: str = field(default_factory=lambda: f"segmif {version()}")

    def write(self, path: Path) -> None:
        """Write it; raises OSError."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    def changes(self, earlier: "RunRecord") -> Iterator[str]:
        """A sentence for each difference from the record of an earlier run."""
        for part, source, other in (
            ("visible", self.visible, earlier.visible),
            ("infrared", self.infrared, earlier.infrared),
        ):
            if source["source"] != other.get("source"):
                yield f"{part} source was {other.get('source')}, is {source['source']}"
            elif source != other:
                yield f"{part} {source['source']} has changed since"
        now = {**self.settings, "version": self.made_by}
        before = {**earlier.settings, "version": earlier.made_by}
        for key in sorted(now.keys() | before.keys()):
            if now.get(key) == before.get(key):
                continue
            if key in WORDS:
                yield f"{WORDS[key]} is another"
            else:
                yield f"{key} was {_shown(before.get(key))}, is {_shown(now.get(key))}"


def read_record(path: Path) -> RunRecord | None:
    """The record of an earlier run; None if there is none. Raises ValueError and OSError."""
    if not path.exists():
        return None
    try:
        return RunRecord(**parse_json(path))
    except TypeError:
        raise ValueError(f"{shown(path)} is no record of a run: --overwrite starts anew") from None


def facts_of_source(spec: str) -> Facts:
    """What is recorded of an input: its address without a password, its size and its age."""
    path = local_path(spec)
    if path is None:
        return {"source": masked(shown(spec))}
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return facts_of_files(spec, files)


def facts_of_files(spec: str, files: Collection[Path]) -> Facts:
    """As `facts_of_source`, of the files that are read of it."""
    found = [each.stat() for each in files]
    newest = max((each.st_mtime for each in found), default=0.0)
    changed = datetime.fromtimestamp(newest, timezone.utc).isoformat()
    size = sum(each.st_size for each in found)
    source = {"source": masked(shown(spec))}
    return source | {"files": len(files), "bytes": size, "last change": changed}


def _shown(value: object) -> str:
    return "not stated" if value is None else str(value)
