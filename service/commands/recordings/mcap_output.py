"""An MCAP recording of results that a later run goes on with."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from segmif.classes import Taxonomy
from segmif.geometry.cameras import Homography, Rig

from ...live.live_result import LiveResult
from ...live.sinks.mcap_recording import McapFile, check_mcap
from ...live.sinks.ros_messages import JSON, Message, RosMessages
from ...live.sinks.ros_types import LATCHED
from ...live.sinks.rotation import RecordingFile
from ...live.sinks.settings import McapSettings
from .output import NEXT, part_of, publish


class McapOutput:
    """One MCAP file with the messages of each result, as `segmif run` writes them."""

    def __init__(
        self,
        settings: McapSettings,
        rig: str,
        taxonomy: Taxonomy,
        cameras: Rig | Homography | None,
    ) -> None:
        """Raises SinkError if a package is missing."""
        check_mcap()
        self.target = settings.path
        self._compression, self._rig, self._taxonomy = settings.compression, rig, taxonomy
        lenses = cameras if isinstance(cameras, Rig) else None
        self._messages = RosMessages(settings.topics, settings.images, rig, lenses)
        self._part = part_of(self.target)
        self._file: McapFile | None = None

    def usable(self, stamps: Sequence[int]) -> int:
        """As Output says."""
        return min(sum(1 for _ in _results(self._part)), len(stamps))

    def go_on_behind(self, stamps: Sequence[int]) -> None:
        """As Output says: messages are copied as they are."""
        fresh = part_of(self.target, NEXT)
        fresh.unlink(missing_ok=True)
        if not stamps:
            self._part.unlink(missing_ok=True)
            return
        self._file = self._begun(fresh, stamps[0])
        for messages in islice(_results(self._part), len(stamps)):
            self._add([message for _, message in messages], messages[0][0], messages[0][1].stamp_ns)
        fresh.replace(self._part)

    def write(self, result: LiveResult) -> None:
        """As Output says."""
        messages = [*self._messages.of(result), *self._messages.camera_infos(result)]
        self._file = self._file or self._begun(self._part, result.stamp_ns)
        self._add(messages, result.sequence, result.stamp_ns)

    def finish(self) -> None:
        """As Output says."""
        file, self._file = self._file, None
        if file:
            file.close()

    def publish(self) -> bool:
        """As Output says."""
        return publish(self._part, self.target)

    def leave(self) -> None:
        """As Output says."""
        file, self._file = self._file, None
        if file:
            with suppress(Exception):  # what made the run end is said already
                file.close()

    def _begun(self, path: Path, began_ns: int) -> McapFile:
        file = RecordingFile(path)
        return McapFile(file, self._compression, self._rig, self._taxonomy, began_ns)

    def _add(self, messages: Sequence[Message], sequence: int, stamp_ns: int) -> None:
        assert self._file
        for message in messages:
            self._file.write(message, sequence, self._messages)
        self._file.flush(stamp_ns)


Numbered = tuple[int, Message]


def _results(part: Path) -> Iterator[list[Numbered]]:
    """The messages of each whole result of a file that may be cut off."""
    expected = 0
    for _, group in groupby(_messages(part), key=lambda each: each[0]):
        messages = list(group)
        each_time = sum(message.type not in LATCHED for _, message in messages)
        expected = expected or each_time
        if each_time < expected:
            return
        yield messages


def _messages(part: Path) -> Iterator[Numbered]:
    """The messages of a file with the numbers of their results, up to where it is cut off."""
    from mcap.records import Channel, Schema
    from mcap.records import Message as Record
    from mcap.stream_reader import StreamReader

    if not part.exists():
        return
    schemas: dict[int, str] = {}
    channels: dict[int, Any] = {}
    with part.open("rb") as file, suppress(Exception):  # of many kinds, by where it is cut off
        for record in StreamReader(file, validate_crcs=True).records:
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Record):
                channel = channels[record.channel_id]
                kind = schemas.get(channel.schema_id, JSON)
                message = Message(channel.topic, kind, record.log_time, record.data)
                yield record.sequence, message
