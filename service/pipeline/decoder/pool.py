"""Decodes files: in this process, or in confined ones that may crash, hang or run out of limits."""

import logging
import math
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Lock
from time import monotonic
from typing import Protocol, cast
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from segmif.imaging import codecs
from segmif.imaging.codecs import Pixels, VisibleFrame
from segmif.imaging.headers import Header, ImageError, read_header

from ...errors import DeadlineMissed, NotReady
from .process import (
    COMMAND,
    DecodeReport,
    Ended,
    FrameBuffer,
    Job,
    Part,
    Process,
    Reason,
    Template,
    WorkerGone,
    WorkerLost,
)
from .sandbox import SandboxLimits

# A progressive JPEG holds its coefficients, its components and its pixels at a time.
BASE_BYTES, PIXEL_BYTES = 96 * 2**20, 32
LIMIT_MEGAPIXELS = 4  # of a frame that has the limit of CPU time as it is set

logger = logging.getLogger(__name__)


class Decoder(Protocol):
    """
    Decodes the files of a pair; both raise ImageError.

    `bits` are those of `codecs.decode_visible_frame`; `due` is on the clock of `time.monotonic`.
    """

    def visible(self, data: bytes, max_pixels: int, bits: int | None, due: float) -> VisibleFrame:
        """Decode a colour frame."""

    def infrared(self, data: bytes, max_pixels: int, due: float) -> Pixels:
        """Decode a thermal frame (H, W)."""


class InProcessDecoder:
    """Decodes in this process: for files that are trusted, and if there can be no others."""

    def visible(self, data: bytes, max_pixels: int, bits: int | None, due: float) -> VisibleFrame:
        """As Decoder says."""
        return codecs.decode_visible_frame(data, max_pixels, bits)

    def infrared(self, data: bytes, max_pixels: int, due: float) -> Pixels:
        """As Decoder says."""
        return codecs.decode_infrared(data, max_pixels)

    def start(self, max_pixels: int) -> None:
        """Nothing is to be started."""

    def close(self) -> None:
        """Nothing is held."""


IN_PROCESS = InProcessDecoder()


class DecoderPool:
    """
    Decodes in a few processes, one frame at a time each.

    A frame that ends its process, or exceeds `limit_s` of CPU time, is refused like a damaged one,
    and another process takes its place. The limit is for 4 megapixels, and grows with more. If the
    process was killed, which no frame does, the frame is decoded once more in another. Processes
    begin with `start` or the first frame. If the machine allows none, frames are decoded in this
    process, and the log says so.
    """

    def __init__(
        self,
        count: int,
        limit_s: float,
        lost: Callable[[Reason], None] = lambda reason: None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._limit_s, self._lost = limit_s, lost
        self._template = Template(command)
        # no SimpleQueue: its `get` may wait for ever, if its timeout is over before it waits
        self._free: Queue[Process | None] = Queue()
        for _ in range(count):
            self._free.put(None)  # to be started
        self._end = finalize(self, end, self._free, self._template)  # at the latest
        self._first = Lock()
        self._works: bool | None = None  # not known yet

    def start(self, max_pixels: int) -> None:
        """Start the first process; without memory for it, the first frame will."""
        with suppress(MemoryError):
            self._usable(max_pixels)

    def visible(self, data: bytes, max_pixels: int, bits: int | None, due: float) -> VisibleFrame:
        """As Decoder says; raises DeadlineMissed or NotReady as well."""
        if not self._usable(max_pixels):
            return IN_PROCESS.visible(data, max_pixels, bits, due)
        header = read_header(data, max_pixels)
        report, pixels = self._decode(self._job("visible", header, bits, due), max_pixels)
        levels = cast(NDArray[np.uint8], pixels)
        grey = header.channels == 1
        return VisibleFrame(levels, report["bits"], report["bits_from"], header.depth, grey)

    def infrared(self, data: bytes, max_pixels: int, due: float) -> Pixels:
        """As Decoder says; raises DeadlineMissed or NotReady as well."""
        if not self._usable(max_pixels):
            return IN_PROCESS.infrared(data, max_pixels, due)
        header = read_header(data, max_pixels)
        return self._decode(self._job("infrared", header, None, due), max_pixels)[1]

    def close(self) -> None:
        """End the processes; none of them may have a frame."""
        self._end()

    def _job(self, part: Part, header: Header, bits: int | None, due: float) -> Job:
        megapixels = header.width * header.height / 1e6
        return Job(part, header, bits, self._limit_s * max(1, megapixels / LIMIT_MEGAPIXELS), due)

    def _usable(self, max_pixels: int) -> bool:
        """Whether there are processes to decode in; the first call starts one."""
        with self._first:
            if self._works is None:
                try:
                    FrameBuffer(1).close()
                    self._put_first(self._begin(max_pixels))
                except OSError as error:
                    logger.warning("frames are decoded in the process of the service: %s", error)
                    self._works = False
            return bool(self._works)

    def _put_first(self, process: Process) -> None:
        if process.unfiltered:
            logger.warning("frames are decoded in confined processes, but %s", process.unfiltered)
        self._free.get()
        self._free.put(process)
        self._works = True

    def _begin(self, max_pixels: int) -> Process:
        return self._template.fork(SandboxLimits(BASE_BYTES + PIXEL_BYTES * max_pixels), max_pixels)

    def _take(self, max_pixels: int, due: float) -> Process:
        """A process that is free and may take that many pixels; raises DeadlineMissed, NotReady."""
        try:
            process = self._free.get(timeout=None if due == math.inf else max(due - monotonic(), 0))
        except Empty:
            raise DeadlineMissed(retry_s=1) from None
        if process and process.max_pixels == max_pixels:
            return process
        try:
            if process:
                process.end()
            return self._begin(max_pixels)
        except OSError as error:
            self._free.put(None)
            raise NotReady(
                f"there is no process to decode frames in: {error}", retry_s=1
            ) from error
        except BaseException:
            self._free.put(None)
            raise

    def _decode(self, job: Job, max_pixels: int) -> tuple[DecodeReport, Pixels]:
        for _ in range(2):
            process: Process | None = self._take(max_pixels, job.due)
            assert process
            try:
                return process.decode(job)
            except (WorkerLost, WorkerGone) as error:
                killed = isinstance(error, Ended) and self._was_killed(process)
                process.end()
                process = None
                if isinstance(error, WorkerLost) and not killed:
                    raise self._refusal(job, error) from error
            finally:
                self._free.put(process)
        raise NotReady(
            "the processes that decode are ended before they are done, as by a system that is "
            "short of memory; try again",
            retry_s=1,
        )

    def _was_killed(self, process: Process) -> bool:
        """
        Whether something else than the frame ended a process; counts the loss.

        SIGKILL is no fault of the frame: the kernel sends it if memory is short, and the limits of
        a process send others.
        """
        if not process.has_ended() or self._template.exit_code(process.pid) != -signal.SIGKILL:
            return False
        self._lost("killed")
        logger.warning(
            "process %d was killed while it decoded (is memory short?): the frame goes to another",
            process.pid,
        )
        return True

    def _refusal(self, job: Job, error: WorkerLost) -> Exception:
        """The error for the frame that ended a process."""
        reason = error.reason
        self._lost(reason)
        header = job.header
        logger.warning(
            "a process was lost to the %s frame, a %s of %d bytes: %s",
            *(job.part, header.format.upper(), len(header.decodable), reason),
        )
        if reason == "deadline":
            return DeadlineMissed(retry_s=1)
        words = {
            "crashed": "the decoder crashed on it",
            "memory": f"it takes more memory than {header.width}x{header.height} pixels may",
            "overstayed": f"it takes longer than {job.limit_s:g} s",
        }[reason]
        return ImageError(
            "damaged", f"the {header.format.upper()} cannot be decoded: {words}; save it anew"
        )


def end(free: Queue[Process | None], template: Template) -> None:
    """End processes that are free, and the program that forked them."""
    with suppress(Empty):
        while True:
            if process := free.get_nowait():
                process.end()
    template.close()


def open_decoder(
    processes: int, limit_s: float, lost: Callable[[Reason], None] = lambda reason: None
) -> DecoderPool | InProcessDecoder:
    """A decoder in so many processes; 0: in this one."""
    return DecoderPool(processes, limit_s, lost) if processes else IN_PROCESS
