"""Writes one line of JSON for each pair: stamps, names, and the report on its result."""

import json
import sys
from typing import Any, BinaryIO

from segmif.files import shown
from segmif.sources.frame import SourceFrame

from ..live_result import LiveResult
from .rotation import RecordingFile, Recordings
from .settings import JsonlSettings
from .sink import SinkError


def line(result: LiveResult) -> dict[str, Any]:
    """What a line says of a pair."""
    return {
        "rig": result.rig,
        "sequence": result.sequence,
        "visible": frame_facts(result.visible),
        "infrared": frame_facts(result.infrared),
        "level": result.level,
        "report": result.report,
        "events": [event.model_dump(mode="json") for event in result.events],
    }


class LineFiles:
    """Rotating files of lines, each line written at once."""

    def __init__(self, settings: JsonlSettings, suffix: str = ".jsonl") -> None:
        """`suffix` of files in a folder. Raises SinkError for one that cannot be used."""
        single = settings.path.suffix == ".jsonl"
        self._recordings = Recordings(
            settings.path, settings.rotation(), [".jsonl" if single else suffix]
        )
        self._file: RecordingFile | None = None
        self._began_ns = 0

    def add(self, rig: str, stamp_ns: int, value: dict[str, Any]) -> None:
        """Write a line; raises SinkError if the disk is full, and other kinds of OSError."""
        seconds = (stamp_ns - self._began_ns) / 1e9
        try:
            if self._file and self._recordings.is_due(self._file.size, seconds):
                self.close()
            if not self._file:
                (self._file,) = self._recordings.begin(rig, stamp_ns)
                self._began_ns = stamp_ns
            self._file.write(encoded(value))
        except OSError as error:
            self.close()
            raise self._recordings.failed(error) from None
        self._recordings.enforce_now_and_then()

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file:
            file.close()


class JsonLines:
    """Writes a line for each result to files."""

    dropped = 0

    def __init__(self, settings: JsonlSettings) -> None:
        """Raises SinkError for a folder that cannot be used."""
        self.name = f"jsonl {shown(settings.path)}"
        self._files = LineFiles(settings)

    def write(self, result: LiveResult) -> None:
        """Write a line; raises as `LineFiles.add`."""
        self._files.add(result.rig, result.stamp_ns, line(result))

    def close(self) -> None:
        """Finish the file."""
        self._files.close()


class StandardOutput:
    """Writes lines to the standard output."""

    name, dropped = "jsonl -", 0

    def __init__(self, output: BinaryIO | None = None) -> None:
        self._output = output or sys.stdout.buffer

    def write(self, result: LiveResult) -> None:
        """Write a line; raises SinkError if nobody reads any more."""
        try:
            self._output.write(encoded(line(result)))
            self._output.flush()
        except BrokenPipeError:
            raise SinkError("nobody reads the standard output any more") from None

    def close(self) -> None:
        """Do nothing: the standard output stays open."""


def encoded(value: dict[str, Any]) -> bytes:
    """A line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def frame_facts(frame: SourceFrame | None) -> dict[str, Any] | None:
    """What a line says of a frame; None if its camera is lost."""
    if frame is None:
        return None
    return {"name": frame.name, "stamp_ns": frame.stamp_ns, "stamp_from": frame.stamp_from}
