"""The two cameras of a rig: their frames as pairs, and why there are none."""

import asyncio
import logging
from collections.abc import Callable

from segmif.sources.frame import Part, SourceFrame

from .camera_reader import CameraReader
from .clock_offset import OffsetFinder, found_offset
from .lost_camera import OTHER, LostCamera
from .open_rig import OpenRig
from .pair_queue import DAY_NS, TWO_CLOCKS, LivePair, PairQueue

SILENCE_S = 10.0  # without a pair although both cameras give frames, before that is logged

logger = logging.getLogger(__name__)


class RigCameras:
    """Reads both cameras, and queues their frames as pairs; lives on the event loop."""

    def __init__(
        self,
        opened: OpenRig,
        takes: Callable[[LivePair], bool],
        *,
        goes_on_alone: bool,
        lossless: bool,
    ) -> None:
        """
        `takes` and `lossless` as PairQueue. Raises SourceError.

        `goes_on_alone`: one camera may go on without the other, if the rig's settings let it.
        """
        settings = opened.settings
        self._rig, self._takes = settings.name, takes
        self._offset = OffsetFinder() if settings.offset_ms == "motion" else None
        self.readers: dict[Part, CameraReader] = {
            part: CameraReader(part, open_it, self._put, settings.name, opened.clock, self._look)
            for part, open_it in opened.sources.items()
        }
        live = [part for part, reader in self.readers.items() if reader.live]
        alone_after_s = settings.alone_after_s if goes_on_alone and not lossless else 0
        self.queue = PairQueue(
            settings.offset_ns,
            None if settings.tolerance_ms is None else round(settings.tolerance_ms * 1e6),
            lossless=lossless,
            from_start=settings.offset_ms == "start",
            lost=LostCamera(alone_after_s, live) if alone_after_s and live else None,
            takes=self._note_and_take,
        )
        self.lone: Part | None = None  # the camera that made the last pair alone

    def start(self) -> None:
        """Begin to read."""
        for reader in self.readers.values():
            reader.start()

    def close(self) -> None:
        """Close the sources."""
        for reader in self.readers.values():
            reader.close()

    def lost(self) -> dict[str, bool]:
        """Which cameras are lost, have failed for good, or give nothing new for too long."""
        lone = self.queue.lone
        return {
            part: reader.state == "lost"
            or (reader.state == "ended" and bool(reader.error))
            or lone not in (None, part)
            for part, reader in self.readers.items()
        }

    async def watch(self, note: Callable[[str], None]) -> None:
        """Give `note` the reason if frames come but none pair: their clocks differ; never ends."""
        paired = 0
        while True:
            await asyncio.sleep(SILENCE_S)
            counts = self.queue.counts
            all_give = all(reader.rate for reader in self.readers.values())
            if self._offset:
                note(self._offset.why_not)
            elif self.queue.lone is None and counts.paired == paired and all_give:
                note(self.why_no_pairs())
            paired = counts.paired

    def why_no_pairs(self) -> str:
        """How far the newest frames are apart, and what to state."""
        gap_ms, within_ms = (self.queue.gap_ns or 0) / 1e6, self.queue.tolerance_ns / 1e6
        live = any(reader.live for reader in self.readers.values())
        if abs(self.queue.gap_ns or 0) > DAY_NS and not live:
            return TWO_CLOCKS
        return (
            f"no pairs: the newest infrared frame is stamped {gap_ms:.1f} ms after the newest "
            f"visible one, and {within_ms:.1f} ms are taken; state offset_ms or tolerance_ms"
        )

    def _look(self, part: Part, frame: SourceFrame) -> None:
        """See a frame of a camera in its thread."""
        self.queue.look(part, frame)

    async def _put(self, part: Part, frame: SourceFrame | None) -> None:
        """Hand on a frame of a camera, or None: it has ended."""
        if frame is None:
            await self.queue.end(part)
            return
        if self._offset and (found := await asyncio.to_thread(self._offset.see, part, frame)):
            self._offset = None
            self.queue.set_offset(found.ns)
            logger.info("%s: %s", self._rig, found_offset(found))
        await self.queue.put(part, frame)

    def _note_and_take(self, pair: LivePair) -> bool:
        before, self.lone = self.lone, pair.lone
        if pair.lone and pair.lone != before:
            words = "%s: %s gives nothing new; %s goes on alone"
            logger.warning(words, self._rig, OTHER[pair.lone], pair.lone)
        elif before and not pair.lone:
            logger.info("%s: both cameras give pictures again", self._rig)
        return self._takes(pair)
