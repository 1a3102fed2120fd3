"""Extracts two image topics of a recording (rosbag 1, rosbag2, MCAP) to folders for `pair`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from segmif.files import sync_all, write_bytes
from segmif.imaging.codecs import encode_png
from segmif.sources.bag import connections_of, opened_bag
from segmif.sources.ros_images import frame_of, stamp_of_message

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

MAGIC = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bag",
        type=Path,
        required=True,
        help="a .bag or .mcap file, or a rosbag2 folder (SQLite or MCAP)",
    )
    for name in ("visible", "infrared"):
        parser.add_argument(f"--{name}", required=True, help=f"topic of the {name} camera")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")


def main(args: argparse.Namespace) -> int:
    with opened_bag(args.bag) as reader:
        counts = [
            unpack(reader, topic, args.out / name)
            for name, topic in (("visible", args.visible), ("infrared", args.infrared))
        ]
    sync_all()
    print(
        f"{counts[0]} visible and {counts[1]} infrared frames in {args.out}; "
        "pair them by `segmif calibrate pair`"
    )
    return 0


def unpack(reader: "AnyReader", topic: str, folder: Path) -> int:
    """Write a topic's frames, named by their stamps [ns]; returns their number, or ValueError."""
    connections = connections_of(reader, topic)
    folder.mkdir(parents=True, exist_ok=True)
    messages = reader.messages(connections)
    count = 0
    for connection, recorded_ns, data in tqdm(messages, desc=topic, unit="frame", disable=None):
        message: Any = reader.deserialize(data, connection.msgtype)
        stamp_ns = stamp_of_message(message, recorded_ns)
        suffix, content = frame_file(message, connection.msgtype)
        write_bytes(folder / f"{stamp_ns:019d}{suffix}", content, wait_for_disk=False)
        count += 1
    return count


def frame_file(message: Any, kind: str) -> tuple[str, bytes]:
    """Suffix and bytes of one image message; compressed ones as they came. Raises ValueError."""
    if kind.endswith("/CompressedImage"):
        content = bytes(message.data)
        if content[:2] not in MAGIC:
            raise ValueError(f"the format {message.format!r} is neither JPEG nor PNG")
        return MAGIC[content[:2]], content
    if not kind.endswith("/Image"):
        raise ValueError(f"messages of {kind}, expected sensor_msgs Image or CompressedImage")
    return ".png", encode_png(frame_of(message))
