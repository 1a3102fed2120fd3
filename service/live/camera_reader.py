"""Reads one camera in a thread, and counts what comes."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from threading import Thread
from time import monotonic
from typing import Any, Literal

from segmif.addresses import masked
from segmif.sources.frame import Part, Source, SourceFrame
from segmif.sources.pacing import PlaybackClock, paced
from segmif.sources.reconnect import SourceEvent, reconnecting

RATE_FRAMES = 30  # over which the rate is measured
SILENT_S = 3.0  # without a frame, after which the rate is 0

CameraState = Literal["connecting", "connected", "lost", "ended"]

logger = logging.getLogger(__name__)


class CameraReader:
    """Hands the frames of a source to the queue of its rig until it ends or is closed."""

    def __init__(
        self,
        part: Part,
        open_it: Callable[[], Source],
        put: Callable[[Part, SourceFrame | None], Coroutine[Any, Any, None]],
        rig: str,
        clock: PlaybackClock | None,
        look: Callable[[Part, SourceFrame], None] = lambda part, frame: None,
    ) -> None:
        """
        `open_it` opens the source, and a live one again when it is lost.

        `put` gets each frame on the event loop, and None after the last. `look` gets each before
        that, in the thread that reads.

        A recording is played by `clock`; None: as fast as `put` takes it. Raises SourceError.
        """
        self.part, self.source = part, reconnecting(open_it, self._note)
        self._clock = None if self.source.live else clock
        self.error: str | None = None  # why the source was lost last
        self.frames = self.reconnects = 0
        self.state: CameraState = "connecting"
        self._put, self._look, self._rig = put, look, rig
        self._times: deque[float] = deque(maxlen=RATE_FRAMES)
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._read, name=f"{rig}-{part}", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the source gives frames."""
        return self.state == "connected"

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream, and no recording."""
        return self.source.live

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def rate(self) -> float:
        """Frames a second over the last ones."""
        return rate_of(self._times)

    def close(self) -> None:
        """Close the source; the thread ends soon after."""
        if self._clock:
            self._clock.stop()
        self.source.close()

    def _note(self, event: SourceEvent) -> None:
        """Note that a live source came or went; called in the thread that reads."""
        before, self.state = self.state, event.kind
        if event.kind == "lost":
            self.reconnects += before == "connected"
            if event.why != self.error or before == "connected":
                logger.warning("%s %s is lost: %s", self._rig, self.part, event.why)
            self.error = event.why
            return
        self.error = None
        again = "; its clock began anew" if event.clock_restarted else ""
        logger.info("%s %s is connected: %s%s", self._rig, self.part, event.address, again)

    def _read(self) -> None:
        try:
            frames = self.source.frames()
            for frame in paced(frames, self._clock) if self._clock else frames:
                self.state = "connected"
                self.frames += 1
                self._times.append(monotonic())
                self._look(self.part, frame)
                if not self._hand_on(frame):
                    break
        except Exception as error:  # without an end the rig would wait for ever
            self.error = masked(str(error)) or type(error).__name__
            logger.error("%s %s: %s", self._rig, self.part, self.error)
        self.state = "ended"
        self._hand_on(None)

    def _hand_on(self, frame: SourceFrame | None) -> bool:
        """Give a frame to the rig, or None at the end; False if the event loop ends."""
        putting = self._put(self.part, frame)
        try:
            asyncio.run_coroutine_threadsafe(putting, self._loop).result()
        except (CancelledError, RuntimeError):
            putting.close()
            return False
        return True


def rate_of(times_s: Iterable[float]) -> float:
    """How many a second came at these times; 0 if none came for `SILENT_S`."""
    times = list(times_s)
    if len(times) < 2 or monotonic() - times[-1] > SILENT_S:
        return 0.0
    return (len(times) - 1) / max(times[-1] - times[0], 1e-6)
