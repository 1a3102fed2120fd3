"""Live pairs of frames: from two cameras or streams, or from folders that another program fills."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition, Thread
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segmif.files import read_frame
from segmif.folders import list_frames, same_names
from segmif.geometry.time_sync import PairMatcher
from segmif.imaging.codecs import ImageError, decode_infrared, read_visible

from ..boards.detection import Raw
from .timestamps import stamp_of

LOOK_AGAIN_S = 0.1

Stamped = tuple[int, NDArray[np.uint8] | Raw]  # [ns], visible (H, W, 3) RGB or infrared (H, W)
Moment = tuple[int, NDArray[np.uint8], Raw]  # visible stamp [ns], visible, infrared
Read = Callable[[], Stamped | None]  # waits for the next frame; None at the end


def moments(visible: str, infrared: str, tolerance_ns: int, patience_s: float) -> Iterator[Moment]:
    """
    Pairs as they come, from two folders or from whatever OpenCV opens.

    That is a camera's number, a device, a stream's address. Raises ValueError in words.
    """
    folders = [Path(word) for word in (visible, infrared) if Path(word).is_dir()]
    if len(folders) == 1:
        raise ValueError(f"{folders[0]} is a folder, the other source is not: both or none")
    if folders:
        return from_folders(folders[0], folders[1], patience_s)
    return freshest(camera(visible, False), camera(infrared, True), tolerance_ns)


def from_folders(visible: Path, infrared: Path, patience_s: float) -> Iterator[Moment]:
    """Frames of the same name in their order, until none came for `patience_s`."""
    given: set[str] = set()
    until = time.monotonic() + patience_s
    while True:
        first, second = same_names(*(list_frames(each).files for each in (visible, infrared)))
        fresh = sorted((first.keys() & second.keys()) - given)
        for name in fresh:
            colour, warm = read_visible(first[name]), _as_it_came(second[name])
            yield stamp_of(first[name], None, counter="s"), colour, warm
        given.update(fresh)
        if fresh:
            until = time.monotonic() + patience_s
        elif time.monotonic() >= until:
            return
        else:
            time.sleep(LOOK_AGAIN_S)


def _as_it_came(path: Path) -> Raw:
    """The whole infrared frame (H, W), its bytes in whatever order; raises ImageError."""
    try:
        return decode_infrared(read_frame(path))
    except ImageError as error:
        raise ImageError(error.kind, f"{path}: {error}") from error


def freshest(visible: Read, infrared: Read, tolerance_ns: int) -> Iterator[Moment]:
    """
    Read both in threads of their own and give the newest pair each time; ends with either.

    Raises what a source raises, and ValueError where nothing could be paired.
    """
    feed = _Feed(tolerance_ns)
    pairer = feed.pairer
    for read, take in ((visible, pairer.visible), (infrared, pairer.infrared)):
        Thread(target=feed.pump, args=(read, take), daemon=True).start()
    try:
        while (pair := feed.wait()) is not None:
            (stamp_ns, colour), (_, warm) = pair
            yield stamp_ns, cast(NDArray[np.uint8], colour), warm
    finally:
        feed.running = False
    if feed.error:
        raise feed.error
    if not feed.paired:
        raise ValueError(f"the two sources have no frames within {tolerance_ns / 1e6:g} ms")


def camera(word: str, infrared: bool) -> Read:
    """Open a camera by its number, device or address; raises ValueError."""
    capture = cv2.VideoCapture(int(word) if word.isdecimal() else word)
    if not capture.isOpened():
        raise ValueError(f"{word}: no camera, stream or folder can be opened there")
    if infrared:
        # Asks V4L2 for the sensor's own 16 bits; where there are none, colours come as before.
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def read() -> Stamped | None:
        if not capture.grab():
            return None
        # The time of arrival: webcams state no other, and it is late by what the driver buffers.
        stamp_ns = time.time_ns()
        frame = cast(Raw, np.asarray(capture.retrieve()[1]))
        if not infrared:
            return stamp_ns, cast(Raw, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return stamp_ns, frame[..., 0] if frame.ndim == 3 else frame

    return read


class _Feed:
    """What the two reading threads and the one that looks share."""

    def __init__(self, tolerance_ns: int) -> None:
        self.pairer: PairMatcher[Stamped] = PairMatcher(tolerance_ns)
        self.running, self.paired = True, 0
        self.error: Exception | None = None
        self._fresh: tuple[Stamped, Stamped] | None = None
        self._ended = 0
        self._changed = Condition()

    def pump(
        self, read: Read, take: Callable[[int, Stamped], tuple[Stamped, Stamped] | None]
    ) -> None:
        try:
            while self.running and (frame := read()) is not None:
                with self._changed:
                    if pair := take(frame[0], frame):
                        self._fresh, self.paired = pair, self.paired + 1
                        self._changed.notify()
        except Exception as error:  # raised again where the pairs are taken
            self.error = error
        with self._changed:
            self.running = False
            self._ended += 1
            self._changed.notify()

    def wait(self) -> tuple[Stamped, Stamped] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._ended == 2)
            fresh, self._fresh = self._fresh, None
            return fresh
