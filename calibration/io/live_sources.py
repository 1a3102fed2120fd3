"""Pairs as they come: from two cameras or streams, or in step from two recordings or folders."""

import argparse
from collections.abc import Callable, Iterator
from threading import Condition, Thread
from typing import cast

import numpy as np
from numpy.typing import NDArray

from segmif.argument_types import FloatRange
from segmif.geometry.time_sync import PairMatcher
from segmif.imaging.codecs import Pixels
from segmif.sources.frame import Source, SourceFrame
from segmif.sources.open_source import open_source
from segmif.sources.options import SourceOptions

POLL_S = 0.1

LivePair = tuple[int, NDArray[np.uint8], Pixels]  # visible stamp [ns], visible, infrared
Match = tuple[SourceFrame, SourceFrame] | None


def add_pairing_arguments(parser: argparse.ArgumentParser, patience_s: float, waited: str) -> None:
    """The flags --tolerance-ms and --patience-s; `waited` says what may take so long."""
    parser.add_argument(
        "--tolerance-ms",
        type=FloatRange(0, 3.6e6),
        default=20.0,
        help="between two exposures (%(default)s)",
    )
    parser.add_argument(
        "--patience-s",
        type=FloatRange(0, 3.6e6),
        default=patience_s,
        help=f"for {waited} to go on (%(default)s)",
    )


def live_pairs(
    visible: str, infrared: str, tolerance_ns: int, patience_s: float
) -> Iterator[LivePair]:
    """Pairs from two sources, see `opened_both` and `pairs_of`."""
    return pairs_of(*opened_both(visible, infrared, patience_s), tolerance_ns)


def opened_both(visible: str, infrared: str, patience_s: float) -> tuple[Source, Source]:
    """
    Two sources, both live or neither, see `open_source`; numbered files count as one a second.

    Raises ValueError.
    """
    options = SourceOptions(patience_s=patience_s, rate=1.0)
    first = open_source(visible, "visible", options)
    second = open_source(infrared, "infrared", options)
    if first.live != second.live:
        live, other = (first, second) if first.live else (second, first)
        raise ValueError(f"{live.address} is live, {other.address} is not: both or none")
    return first, second


def pairs_of(visible: Source, infrared: Source, tolerance_ns: int) -> Iterator[LivePair]:
    """Of live sources the newest pairs, of recordings and folders all; raises ValueError."""
    pairs = latest_pairs if visible.live else all_pairs
    return pairs(visible, infrared, tolerance_ns)


def all_pairs(visible: Source, infrared: Source, tolerance_ns: int) -> Iterator[LivePair]:
    """Each pair of two recordings in the order of time; raises as `latest_pairs`."""
    matcher: PairMatcher[SourceFrame] = PairMatcher(tolerance_ns)
    frames = visible.frames(), infrared.frames()
    waiting = [next(each, None) for each in frames]
    paired = False
    while waiting[0] or waiting[1]:
        at = 1 if waiting[0] is None else 0
        if waiting[0] and waiting[1]:
            at = int(waiting[1].stamp_ns < waiting[0].stamp_ns)
        take = (matcher.visible, matcher.infrared)[at]
        frame = cast(SourceFrame, waiting[at])
        if pair := take(frame.stamp_ns, frame):
            paired = True
            yield _live_pair(pair)
        waiting[at] = next(frames[at], None)
    if not paired:
        raise _unpaired(tolerance_ns)


def latest_pairs(visible: Source, infrared: Source, tolerance_ns: int) -> Iterator[LivePair]:
    """
    Read both sources in threads and yield the newest pair each time, until either ends.

    Raises what a source raises, and ValueError if no two frames could be paired.
    """
    buffer = _PairBuffer(tolerance_ns)
    matcher = buffer.matcher
    for source, take in ((visible, matcher.visible), (infrared, matcher.infrared)):
        Thread(target=buffer.pump, args=(source, take), daemon=True).start()
    try:
        while (pair := buffer.wait()) is not None:
            yield _live_pair(pair)
    finally:
        buffer.running = False
        visible.close()
        infrared.close()
    if buffer.error:
        raise buffer.error
    if not buffer.paired:
        raise _unpaired(tolerance_ns)


def _live_pair(pair: tuple[SourceFrame, SourceFrame]) -> LivePair:
    visible, infrared = pair
    return visible.stamp_ns, cast(NDArray[np.uint8], visible.pixels), infrared.pixels


def _unpaired(tolerance_ns: int) -> ValueError:
    return ValueError(f"the two sources have no frames within {tolerance_ns / 1e6:g} ms")


class _PairBuffer:
    """The newest pair, shared by the two reading threads and the consumer."""

    def __init__(self, tolerance_ns: int) -> None:
        self.matcher: PairMatcher[SourceFrame] = PairMatcher(tolerance_ns)
        self.running, self.paired = True, 0
        self._until_ns: int | None = None  # once a source ended: later frames have no partner
        self.error: Exception | None = None
        self._fresh: Match = None
        self._ended = 0
        self._changed = Condition()

    def pump(self, source: Source, take: Callable[[int, SourceFrame], Match]) -> None:
        last_ns = 0
        try:
            for frame in source.frames():
                with self._changed:
                    last_ns = frame.stamp_ns
                    if pair := take(last_ns, frame):
                        self._fresh, self.paired = pair, self.paired + 1
                        self._changed.notify()
                if not self.running or last_ns > (self._until_ns or last_ns):
                    break
        except Exception as error:  # raised again by `latest_pairs`
            self.error = error
        with self._changed:
            self._until_ns = self._until_ns or last_ns + self.matcher.tolerance_ns
            self._ended += 1
            self._changed.notify()

    def wait(self) -> Match:
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._ended == 2)
            fresh, self._fresh = self._fresh, None
            return fresh
