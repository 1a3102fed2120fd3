"""The lines that an earlier run has written of its pairs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmif.files import check_regular

from ...pipeline.object_tracks import ObjectTracks


@dataclass(frozen=True)
class KeptLine:
    """What counts of a line."""

    end: int  # [bytes] behind it in its file
    done: bool
    stamps_ns: tuple[int, int]  # of visible and infrared


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Each whole line with the place of its end, up to where the file is cut off or damaged.

    Raises OSError.
    """
    if not path.exists():
        return
    check_regular(path)
    end = 0
    with path.open("rb") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n") or not isinstance(value, dict):
                return
            end += len(line)
            yield end, value


def kept_lines(path: Path) -> list[KeptLine]:
    """The lines of pairs of an earlier run; raises OSError."""
    kept = []
    for end, line in read_lines(path):
        try:
            stamps = line["visible"]["stamp_ns"], line["infrared"]["stamp_ns"]
            kept.append(KeptLine(end, line["status"] == "done", stamps))
        except (KeyError, TypeError):
            break
    return kept


def resumed_tracks(path: Path, end: int) -> ObjectTracks:
    """The tracks of objects as the lines up to a place of the file left them; raises OSError."""
    tracks = ObjectTracks()
    for at, line in read_lines(path):
        if at > end:
            break
        found = ((line.get("report") or {}).get("objects") or {}).get("found")
        if found is not None:
            numbers, ids = [each["track"] for each in found], [each["id"] for each in found]
            tracks.resume(numbers, ids, [tuple(each["box"]) for each in found])
    return tracks
