"""Extracts two image topics of a recording (rosbag 1, rosbag2, MCAP) to folders for `pair`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from segmif.files import shown, synced_at_end, write_bytes
from segmif.imaging.codecs import encode_png
from segmif.sources.bag import connections_of, opened_bag
from segmif.sources.ros_images import frame_of, stamp_of_message

from ..io.recordings import check_no_frames, print_notes

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
    parser.add_argument("--out", type=Path, required=True, help="new folder to fill")


def main(args: argparse.Namespace) -> int:
    check_no_frames(args.out)
    with synced_at_end(), naming_damage(args.bag), opened_bag(args.bag) as reader:
        counts = [
            unpack(reader, topic, args.out / name)
            for name, topic in (("visible", args.visible), ("infrared", args.infrared))
        ]
    print(
        f"{counts[0]} visible and {counts[1]} infrared frames in {args.out}; "
        "pair them by `segmif calibrate pair`"
    )
    return 0


@contextmanager
def naming_damage(bag: Path) -> Iterator[None]:
    """Raise ValueError for what else than OSError, ValueError and MemoryError reading raises."""
    try:
        yield
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # rosbags lets through whatever damage brings about
        said = f"{type(error).__name__}: {error!s:.200}"
        raise ValueError(f"{shown(bag)} is damaged ({said}): what came before is kept") from error


def unpack(reader: "AnyReader", topic: str, folder: Path) -> int:
    """
    Write a topic's frames, named by their stamps [ns]; returns their number.

    Of frames with one stamp the first is written, and stderr says how many were not. Raises
    ValueError for other messages, and for stamps before 1970.
    """
    connections = connections_of(reader, topic)
    folder.mkdir(parents=True, exist_ok=True)
    messages = reader.messages(connections)
    written: set[int] = set()
    repeated = 0
    for connection, recorded_ns, data in tqdm(messages, desc=topic, unit="frame", disable=None):
        message: Any = reader.deserialize(data, connection.msgtype)
        stamp_ns = stamp_of_message(message, recorded_ns)
        if stamp_ns < 0:
            raise ValueError(f"a frame of {topic} is stamped {stamp_ns} ns, before 1970")
        if stamp_ns in written:
            repeated += 1
            continue
        suffix, content = frame_file(message, connection.msgtype)
        write_bytes(folder / f"{stamp_ns:019d}{suffix}", content, wait_for_disk=False)
        written.add(stamp_ns)
    if repeated:
        print_notes([f"{repeated} frames of {topic} have the stamp of one before: left out"])
    return len(written)


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
