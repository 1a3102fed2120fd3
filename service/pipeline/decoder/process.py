"""A confined process that decodes frames, as the service controls it."""

import fcntl
import json
import logging
import math
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any, Literal, cast, get_args

import numpy as np

from segmif.imaging.bit_depth import BitsFrom
from segmif.imaging.codecs import Pixels
from segmif.imaging.headers import Header, ImageError, Kind

from .sandbox import SandboxLimits

# The empty entry of the path is the current folder, which may hold anything of these names.
PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    f"from {__package__}.worker import main; main(int(sys.argv[1]))"
)
COMMAND: Sequence[str] = (sys.executable, "-c", PROGRAM)
KEPT_VARIABLES = (  # no token among them
    *("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR"),
    *("OPENCV_IO_MAX_IMAGE_PIXELS", "OPENCV_LOG_LEVEL"),  # which it reads before ours are imported
)
MESSAGE_BYTES = 4096
# Freed memory stays with a process: to fault the pages of two pictures in anew takes 1 ms.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
START_S, STOP_S = 30.0, 5.0  # a machine under load imports slowly
END_S = 1.0  # from a process's last word to its end
KEPT_CODES = 128  # exit codes that are remembered, more than there are processes
STALLED = 10  # times its CPU time that a job may take by the clock: other work may go before it
MIB = 2**20

KINDS, BITS_FROM = frozenset(get_args(Kind)) | {"memory"}, frozenset(get_args(BitsFrom))
Part = Literal["visible", "infrared"]
Reason = Literal["crashed", "killed", "overstayed", "deadline", "memory"]
DecodeReport = dict[str, Any]

logger = logging.getLogger(__name__)


class WorkerLost(Exception):
    """A frame has cost its process."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Ended(WorkerLost):
    """A process ended while it had the frame."""

    def __init__(self) -> None:
        super().__init__("crashed")


class WorkerGone(Exception):
    """A process ended before it got the frame."""


@dataclass(frozen=True)
class Job:
    """A frame to decode."""

    part: Part
    header: Header
    bits: int | None
    limit_s: float  # of CPU time
    due: float  # on the clock of `time.monotonic`

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the picture that comes of it."""
        size = self.header.shape[:2]
        return (*size, 3) if self.part == "visible" else size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the picture that comes of it."""
        deep = self.part == "infrared" and self.header.depth == 16
        return np.dtype(np.uint16 if deep else np.uint8)

    def message(self, number: int, offset: int, memory_bytes: int) -> bytes:
        """The job as its process reads it."""
        header = {f.name: getattr(self.header, f.name) for f in fields(Header)}
        del header["decodable"]
        report = {
            "number": number,
            "part": self.part,
            "header": header,
            "bits": self.bits,
            "bytes": len(self.header.decodable),
            "offset": offset,  # of the picture in the memory
            "memory_bytes": memory_bytes,
            "cpu_s": math.ceil(self.limit_s),
        }
        return json.dumps(report).encode()

    def is_report(self, report: Any, number: int) -> bool:
        """Whether an answer is one that the program gives to this job."""
        if not isinstance(report, dict) or report.get("number") != number:
            return False
        if "kind" in report:
            return report["kind"] in KINDS and isinstance(report.get("message"), str)
        bits = report.get("bits")
        known = isinstance(bits, int) and 1 <= bits <= 16 and report.get("bits_from") in BITS_FROM
        return known or self.part == "infrared"


class FrameBuffer:
    """Memory that both sides map; it is reserved, and neither side can take it back."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // MIB) * MIB
        self.descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self.descriptor, 0, self.size)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
            self.map = mmap.mmap(self.descriptor, self.size)
        except OSError as error:
            raise MemoryError(f"no memory for frames: {error}") from error
        finally:
            if not hasattr(self, "map"):
                os.close(self.descriptor)

    def close(self) -> None:
        """Give it back."""
        self.map.close()
        os.close(self.descriptor)


class Process:
    """One process, which takes one job at a time."""

    def __init__(self, pid: int, handle: int, channel: socket.socket, max_pixels: int) -> None:
        self.pid, self.max_pixels = pid, max_pixels
        self._handle, self._channel = handle, channel  # the handle is a pidfd
        self._clock = (~pid << 3) | 2  # of its CPU time, <linux/posix-timers.h>
        self._memory: FrameBuffer | None = None
        self._number = 0  # of its jobs
        self._ready = select.poll()
        self._ready.register(channel, select.POLLIN)
        try:
            report = json.loads(self._receive(START_S) or b"null")
            if not isinstance(report, dict):
                raise WorkerLost("crashed")
        except BaseException:
            self.end()
            raise
        self.unfiltered: str | None = report.get("unfiltered")

    def decode(self, job: Job) -> tuple[DecodeReport, Pixels]:
        """The picture of a job and its report; raises ImageError, WorkerLost or WorkerGone."""
        data = job.header.decodable
        offset = -(-len(data) // 64) * 64
        count = math.prod(job.shape)
        memory, is_new = self._memory_for(offset + count * job.dtype.itemsize)
        memory.map[: len(data)] = data
        self._number += 1
        message = job.message(self._number, offset, memory.size)
        try:
            socket.send_fds(self._channel, [message], [memory.descriptor] if is_new else [])
        except OSError as error:
            raise WorkerGone from error
        report = self._answer(job)
        if "kind" in report:
            raise ImageError(report["kind"], report["message"])
        place = np.frombuffer(memory.map, job.dtype, count, offset)
        return report, place.reshape(job.shape).copy()

    def has_ended(self) -> bool:
        """Whether a process that says no more has ended by itself."""
        ending = select.poll()
        ending.register(self._handle, select.POLLIN)
        return bool(ending.poll(END_S * 1000))

    def end(self) -> None:
        """Kill it, whatever it does."""
        with suppress(OSError):  # it has ended
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        os.close(self._handle)
        self._channel.close()
        if self._memory:
            self._memory.close()

    def _memory_for(self, size: int) -> tuple[FrameBuffer, bool]:
        """Memory of at least that size, and whether it is new."""
        if self._memory and self._memory.size >= size:
            return self._memory, False
        renewed = FrameBuffer(size)
        if self._memory:
            self._memory.close()
        self._memory = renewed
        return renewed, True

    def _answer(self, job: Job) -> DecodeReport:
        begun, used = time.monotonic(), self._cpu_s()
        stalled = begun + STALLED * job.limit_s
        while True:
            now = time.monotonic()
            left = job.limit_s - (self._cpu_s() - used)
            if now >= job.due:
                raise WorkerLost("deadline")
            if left <= 0 or now >= stalled:
                raise WorkerLost("overstayed")
            if answer := self._receive(min(left, stalled - now, job.due - now)):
                break
        try:
            report = json.loads(answer)
        except ValueError:
            report = None
        if not job.is_report(report, self._number):
            raise WorkerLost("crashed")
        if report.get("kind") == "memory":
            raise WorkerLost("memory")
        return cast(DecodeReport, report)

    def _receive(self, patience_s: float) -> bytes:
        """A message; nothing if none came in time. Raises Ended if the process ended."""
        if not self._ready.poll(math.ceil(patience_s * 1000)):
            return b""
        try:
            message = self._channel.recv(MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            raise Ended
        return message

    def _cpu_s(self) -> float:
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # it has ended, as its channel shows
            return 0.0


class Template:
    """The program that has the codecs in memory and forks processes, see `worker`."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._lock = Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._codes: dict[int, int] = {}  # by process, the latest last

    def fork(self, bounds: SandboxLimits, max_pixels: int) -> Process:
        """A new process; raises OSError if this machine gives none."""
        if sys.platform != "linux":
            raise OSError(f"{sys.platform} cannot confine a process")
        with self._lock:
            try:
                pid, handle, channel = self._request_fork(bounds)
            except ConnectionError:  # somebody killed the program: once more with another
                self._stop()
                pid, handle, channel = self._request_fork(bounds)
        try:
            return Process(pid, handle, channel, max_pixels)
        except (WorkerLost, ValueError) as error:
            raise OSError(f"a process that decodes did not start: {error}") from error

    def exit_code(self, pid: int) -> int | None:
        """
        Exit code of a process that has ended, negative for a signal; None: unknown.

        The processes of a program that was killed have ended by SIGKILL.
        """
        with self._lock:
            if not self._control:
                return -signal.SIGKILL
            try:
                self._control.send(b"{}")
                message = self._control.recv(MESSAGE_BYTES)
            except OSError:
                message = b""
            if not message:
                return -signal.SIGKILL
            self._note(json.loads(message)["ended"])
            return self._codes.pop(pid, None)

    def close(self) -> None:
        """End the program; the processes that it forked end with it."""
        with self._lock:
            self._stop()

    def _request_fork(self, bounds: SandboxLimits) -> tuple[int, int, socket.socket]:
        """Have a process forked: its number, a handle of it, and the way to talk to it."""
        control = self._control or self._start()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(control, [json.dumps(asdict(bounds)).encode()], [theirs.fileno()])
            message, handles, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
            if not message:
                raise ConnectionResetError("the program that decodes has ended")
            report = json.loads(message)
            if "error" in report:
                raise OSError(f"no process can be forked to decode: {report['error']}")
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._note(report["ended"])
        return report["pid"], handles[0], ours

    def _note(self, ended: list[tuple[int, int]]) -> None:
        for pid, code in ended:
            logger.info("process %d, which decoded, ended with exit code %d", pid, code)
            self._codes[pid] = code
        while len(self._codes) > KEPT_CODES:
            del self._codes[next(iter(self._codes))]

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(START_S)
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        self._program = subprocess.Popen(
            [*self._command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=kept | ALLOCATOR | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the service
        )
        theirs.close()
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._control:
            self._control.close()  # which it takes as its end
            self._control = None
        if self._program:
            try:
                self._program.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self._program.wait()
            self._program = None
