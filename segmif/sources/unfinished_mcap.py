"""MCAP files without an end, as a recorder leaves them that was killed, up to their break."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mcap.records import McapRecord

MAGIC = b"\x89MCAP0\r\n"  # at both ends of a finished file
RECORD_BYTES = 1 << 30


class Raw(NamedTuple):
    """A message as it was recorded."""

    topic: str
    kind: str  # such as sensor_msgs/msg/Image
    recorded_ns: int
    data: bytes


def is_unfinished(path: Path) -> bool:
    """Whether a file is MCAP and lacks its end."""
    with path.open("rb") as file:
        begins = file.read(len(MAGIC)) == MAGIC
        file.seek(-min(len(MAGIC), path.stat().st_size), 2)
        return begins and file.read() != MAGIC


def image_topics(path: Path) -> list[str]:
    """The topics that have images, sorted; reads the whole file."""
    return sorted({raw.topic for raw in raw_messages(path) if "Image" in raw.kind})


def raw_messages(path: Path) -> Iterator[Raw]:
    """The messages in the order of the file, up to its break."""
    from mcap.records import Channel, Message, Schema

    kinds: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    for record in _records(path):
        if isinstance(record, Schema):
            kinds[record.id] = record.name
        elif isinstance(record, Channel):
            channels[record.id] = record.topic, kinds.get(record.schema_id, "")
        elif isinstance(record, Message) and record.channel_id in channels:
            topic, kind = channels[record.channel_id]
            yield Raw(topic, kind, record.log_time, record.data)


def deserialized(raw: Raw) -> Any:
    """The message of sensor_msgs that was recorded in the encoding of ROS 2."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE).deserialize_cdr(raw.data, raw.kind)


def _records(path: Path) -> "Iterator[McapRecord]":
    from mcap.stream_reader import StreamReader

    with path.open("rb") as file:
        records = iter(StreamReader(file, record_size_limit=RECORD_BYTES).records)
        while True:
            try:
                record = next(records, None)
            except Exception:  # the break; the package raises whatever it meets there
                return
            if record is None:
                return
            yield record
