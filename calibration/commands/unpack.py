"""Extracts two image topics of a recording (rosbag 1, rosbag2, MCAP) to folders for `pair`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from segmif.files import check_regular, sync_all, write_bytes
from segmif.imaging.codecs import Pixels, encode_png
from segmif.install import install_command

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

MAGIC = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}
# Name of an encoding to its type and to the order of red, green and blue in it (none for grey).
ENCODINGS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "rgb8": ("u1", 3, (0, 1, 2)),
    "bgr8": ("u1", 3, (2, 1, 0)),
    "rgba8": ("u1", 4, (0, 1, 2)),
    "bgra8": ("u1", 4, (2, 1, 0)),
    "mono8": ("u1", 1, ()),
    "8UC1": ("u1", 1, ()),
    "mono16": ("u2", 1, ()),
    "16UC1": ("u2", 1, ()),
}


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
    try:
        # An optional package that reads recordings without ROS.
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError:
        raise ValueError(
            f"recordings need the package rosbags: {install_command('rosbag')}"
        ) from None
    if not args.bag.exists():
        raise ValueError(f"{args.bag}: there is no such recording")
    if not args.bag.is_dir():
        check_regular(args.bag)
    try:
        with AnyReader([args.bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            counts = [
                unpack(reader, topic, args.out / name)
                for name, topic in (("visible", args.visible), ("infrared", args.infrared))
            ]
    except AnyReaderError as error:
        raise ValueError(f"{args.bag}: {error}") from error
    sync_all()
    print(f"{counts[0]} visible and {counts[1]} infrared frames in {args.out}; now `pair` them")
    return 0


def unpack(reader: "AnyReader", topic: str, folder: Path) -> int:
    """Write a topic's frames, named by their stamps [ns]; returns their number, or ValueError."""
    connections = [one for one in reader.connections if one.topic == topic]
    if not connections:
        images = sorted(one.topic for one in reader.connections if "Image" in one.msgtype)
        raise ValueError(f"no topic {topic}; with images: {', '.join(images) or 'none'}")
    folder.mkdir(parents=True, exist_ok=True)
    messages = reader.messages(connections)
    count = 0
    for connection, recorded_ns, data in tqdm(messages, desc=topic, unit="frame", disable=None):
        message: Any = reader.deserialize(data, connection.msgtype)
        stamp = message.header.stamp
        # A driver without a clock leaves its stamp at 0; the recorder's is the fallback.
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec or recorded_ns
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


def frame_of(message: Any) -> Pixels:
    """A sensor_msgs/Image as (H, W, 3) RGB or (H, W), 8 or 16 bit; raises ValueError."""
    if message.encoding not in ENCODINGS:
        raise ValueError(
            f"frames are encoded as {message.encoding}, expected one of {', '.join(ENCODINGS)}"
        )
    kind, channels, order = ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    # A row may be padded: `step` is its true length in bytes.
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    used = np.ascontiguousarray(rows[:, : message.width * channels * dtype.itemsize]).view(dtype)
    frame = used.reshape(message.height, message.width, channels)
    chosen = frame[..., list(order)] if order else frame[..., 0]
    return np.ascontiguousarray(chosen.astype(dtype.newbyteorder("=")))
