"""Records results as MCAP with ROS 2 messages, which Foxglove and `ros2 bag` read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from segmif.classes import Taxonomy
from segmif.files import shown
from segmif.geometry.cameras import Homography, Rig
from segmif.install import install_command, version

from ..live_result import LiveResult
from .ros_messages import JSON, Message, RosMessages
from .ros_types import LATCHED, LATCHED_QOS
from .rotation import RecordingFile, Recordings
from .settings import McapSettings
from .sink import SinkError

NO_SCHEMA = 0  # of MCAP
FLUSH_NS = 10**9  # a killed recording lacks less than so much


class McapFile:
    """One MCAP file."""

    def __init__(
        self, file: RecordingFile, compression: str, rig: str, taxonomy: Taxonomy, began_ns: int
    ) -> None:
        """Begin a file; raises SinkError if `mcap` is missing, and OSError."""
        from mcap.writer import CompressionType, Writer

        self.file, self.began_ns = file, began_ns
        output: Any = file  # it needs write, tell and flush
        self._writer: Any = Writer(output, compression=CompressionType[compression.upper()])
        self._writer.start("ros2", f"segmif {version()}")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._latched: dict[str, bytes] = {}
        self._flushed_ns = began_ns
        names = json.dumps(taxonomy.names)
        self._writer.add_metadata("segmif", {"rig": rig, "classes": names})

    def write(self, message: Message, sequence: int, messages: RosMessages) -> None:
        """Add a message, of a latched topic only if it is new; raises OSError."""
        data = bytes(message.data)
        if message.type in LATCHED:
            if self._latched.get(message.topic) == data:
                return
            self._latched[message.topic] = data
        if message.topic not in self._channels:
            self._channels[message.topic] = self._channel(message, messages)
        stamp_ns, channel = message.stamp_ns, self._channels[message.topic]
        self._writer.add_message(channel, stamp_ns, data, stamp_ns, sequence)

    def flush(self, stamp_ns: int) -> None:
        """Put all that came before a second on the disk."""
        if abs(stamp_ns - self._flushed_ns) >= FLUSH_NS:
            self._writer.flush()
            self._flushed_ns = stamp_ns

    def close(self) -> None:
        """Finish the file; what failed is left as it is."""
        try:
            if not self.file.error:
                self._writer.finish()
        finally:
            self.file.close()

    def _channel(self, message: Message, messages: RosMessages) -> int:
        register: Callable[..., int] = self._writer.register_channel
        if message.type == JSON:  # a JSON schema keeps rosbags from opening the whole file
            return register(message.topic, "json", NO_SCHEMA)
        if message.type not in self._schemas:
            text = messages.definition(message.type).encode()
            schema = self._writer.register_schema(message.type, "ros2msg", text)
            self._schemas[message.type] = schema
        latched = message.type in LATCHED
        qos = {"offered_qos_profiles": LATCHED_QOS} if latched else {}
        return register(message.topic, "cdr", self._schemas[message.type], qos)


def check_mcap() -> None:
    """Raise SinkError if `mcap` is missing."""
    try:
        import mcap.writer  # noqa: F401
    except ModuleNotFoundError:
        raise SinkError(
            f"MCAP needs the packages mcap and rosbags: {install_command('live')}"
        ) from None


class McapRecording:
    """Writes MCAP files."""

    dropped = 0

    def __init__(self, settings: McapSettings, rig: str, cameras: Rig | Homography | None) -> None:
        """Raises SinkError for a folder that cannot be used, or a missing package."""
        check_mcap()
        self.name = f"mcap {shown(settings.path)}"
        self._compression = settings.compression
        lenses = cameras if isinstance(cameras, Rig) else None  # a homography knows of none
        self._messages = RosMessages(settings.topics, settings.images, rig, lenses)
        self._recordings = Recordings(settings.path, settings.rotation(), [".mcap"])
        self._file: McapFile | None = None

    def write(self, result: LiveResult) -> None:
        """Record a result; raises SinkError if the disk is full, and other kinds of OSError."""
        messages = [*self._messages.of(result), *self._messages.camera_infos(result)]
        try:
            if self._file and self._is_due(self._file, result.stamp_ns):
                self.close()
            if not self._file:
                (file,) = self._recordings.begin(result.rig, result.stamp_ns)
                self._file = McapFile(
                    file, self._compression, result.rig, result.taxonomy, result.stamp_ns
                )
            for message in messages:
                self._file.write(message, result.sequence, self._messages)
            self._file.flush(result.stamp_ns)
        except OSError as error:
            self.close()
            raise self._recordings.failed(error) from None
        self._recordings.enforce_now_and_then()

    def close(self) -> None:
        """Finish the file."""
        file, self._file = self._file, None
        if file:
            file.close()

    def _is_due(self, file: McapFile, stamp_ns: int) -> bool:
        return self._recordings.is_due(file.file.size, (stamp_ns - file.began_ns) / 1e9)
