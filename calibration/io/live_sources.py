"""Live pairs: from two cameras or streams, or from folders that another program fills."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition, Thread
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.files import read_frame
from segmif.folders import pair_files
from segmif.geometry.time_sync import PairMatcher
from segmif.imaging.codecs import Pixels, decode_infrared, read_visible
from segmif.imaging.image_header import naming_the_file
from segmif.sources.timestamps import stamp_of

POLL_S = 0.1

StampedFrame = tuple[int, Pixels]  # [ns], visible (H, W, 3) RGB or infrared (H, W)
LivePair = tuple[int, NDArray[np.uint8], Pixels]  # visible stamp [ns], visible, infrared
Read = Callable[[], StampedFrame | None]  # waits for the next frame; None at the end


def live_pairs(
    visible: str, infrared: str, tolerance_ns: int, patience_s: float
) -> Iterator[LivePair]:
    """
    Live pairs from two folders, or from two sources that OpenCV opens.

    OpenCV opens a camera's number, a device or a stream's address. Raises ValueError.
    """
    folders = [Path(word) for word in (visible, infrared) if Path(word).is_dir()]
    if len(folders) == 1:
        raise ValueError(f"{folders[0]} is a folder, the other source is not: both or none")
    if folders:
        return pairs_from_folders(folders[0], folders[1], patience_s)
    return latest_pairs(open_camera(visible, False), open_camera(infrared, True), tolerance_ns)


def pairs_from_folders(visible: Path, infrared: Path, patience_s: float) -> Iterator[LivePair]:
    """Frames of the same name in their order, until none came for `patience_s`."""
    given: set[str] = set()
    until = time.monotonic() + patience_s
    while True:
        fresh = [pair for pair in pair_files(visible, infrared).pairs if pair.name not in given]
        for pair in fresh:
            frames = read_visible(pair.visible), _read_uncropped(pair.infrared)
            yield stamp_of(pair.visible, None, counter="s"), *frames
        given.update(pair.name for pair in fresh)
        if fresh:
            until = time.monotonic() + patience_s
        elif time.monotonic() >= until:
            return
        else:
            time.sleep(POLL_S)


def _read_uncropped(path: Path) -> Pixels:
    """The whole infrared frame (H, W), with its bytes as in the file; raises ImageError."""
    with naming_the_file(path):
        return decode_infrared(read_frame(path))


def latest_pairs(visible: Read, infrared: Read, tolerance_ns: int) -> Iterator[LivePair]:
    """
    Read both sources in threads and yield the newest pair each time, until either ends.

    Raises what a source raises, and ValueError if no two frames could be paired.
    """
    buffer = _PairBuffer(tolerance_ns)
    pairer = buffer.pairer
    for read, take in ((visible, pairer.visible), (infrared, pairer.infrared)):
        Thread(target=buffer.pump, args=(read, take), daemon=True).start()
    try:
        while (pair := buffer.wait()) is not None:
            (stamp_ns, colour), (_, warm) = pair
            yield stamp_ns, cast(NDArray[np.uint8], colour), warm
    finally:
        buffer.running = False
    if buffer.error:
        raise buffer.error
    if not buffer.paired:
        raise ValueError(f"the two sources have no frames within {tolerance_ns / 1e6:g} ms")


def open_camera(word: str, infrared: bool) -> Read:
    """Open a camera by its number, device or address; raises ValueError."""
    capture = cv2.VideoCapture(int(word) if word.isdecimal() else word)
    if not capture.isOpened():
        raise ValueError(f"{word}: no camera, stream or folder can be opened there")
    if infrared:
        # Asks V4L2 for the sensor's own 16 bits; without them, colours come as before.
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def read() -> StampedFrame | None:
        if not capture.grab():
            return None
        # The time of arrival: webcams state no other. It is late by the driver's buffering.
        stamp_ns = time.time_ns()
        frame = cast(Pixels, np.asarray(capture.retrieve()[1]))
        if not infrared:
            return stamp_ns, cast(Pixels, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return stamp_ns, frame[..., 0] if frame.ndim == 3 else frame

    return read


class _PairBuffer:
    """The newest pair, shared by the two reading threads and the consumer."""

    def __init__(self, tolerance_ns: int) -> None:
        self.pairer: PairMatcher[StampedFrame] = PairMatcher(tolerance_ns)
        self.running, self.paired = True, 0
        self.error: Exception | None = None
        self._fresh: tuple[StampedFrame, StampedFrame] | None = None
        self._ended = 0
        self._changed = Condition()

    def pump(
        self,
        read: Read,
        take: Callable[[int, StampedFrame], tuple[StampedFrame, StampedFrame] | None],
    ) -> None:
        try:
            while self.running and (frame := read()) is not None:
                with self._changed:
                    if pair := take(frame[0], frame):
                        self._fresh, self.paired = pair, self.paired + 1
                        self._changed.notify()
        except Exception as error:  # raised again by `latest_pairs`
            self.error = error
        with self._changed:
            self.running = False
            self._ended += 1
            self._changed.notify()

    def wait(self) -> tuple[StampedFrame, StampedFrame] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._ended == 2)
            fresh, self._fresh = self._fresh, None
            return fresh
