"""Passes a picture of each result on: to an RTSP server, an UDP receiver or a loopback device."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmif.addresses import masked
from segmif.sources.frame import SourceError
from segmif.sources.secrets import filled

from ..live_result import LiveResult
from .picture import picture
from .settings import StreamSettings
from .sink import SinkError
from .stream_process import STAMP, Start
from .video_track import av_module

# The empty entry of the path is the current folder, which may hold anything of these names.
PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    f"from {__package__}.stream_process import main; main()"
)
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "SSL_CERT_FILE")  # no token
START_S = 15.0  # to load FFmpeg on a small board under load, and to connect
STALL_S = 5.0  # that the other side may take for a step of the connection, or a picture
STOP_S = 2.0
ANSWER_BYTES = 4096
PICTURE_BYTES = 1 << 16  # written at a time


class StreamOut:
    """
    Streams from a process of its own, which is started anew after a failure.

    A peer that stalls holds `write` for `START_S` at most.
    """

    dropped = 0

    def __init__(self, settings: StreamSettings) -> None:
        """Raises SinkError without PyAV or a secret; connects with the first picture."""
        av_module()
        self._address = settings.url.get_secret_value()
        self.name = f"stream {masked(self._address)}"
        self._settings = settings
        self._url()
        self._process: StreamProcess | None = None

    def write(self, result: LiveResult) -> None:
        """Stream a result; raises SinkError if there is no connection, or it is lost."""
        pixels = picture(result, self._settings.picture)
        if self._process and self._process.shape != pixels.shape:
            self.close()  # a stream has one size
        try:
            if not self._process:
                start = self._start(pixels)
                self._process = StreamProcess(start.shape)
                self._process.connect(start)
            self._process.send(result.stamp_ns, pixels)
        except _Lost as error:
            self._end()
            raise SinkError(f"no {self.name}: {error}; it is tried again") from None

    def close(self) -> None:
        """End the stream as its protocol wants, if the other side still takes it."""
        process, self._process = self._process, None
        if process:
            process.close()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()

    def _url(self) -> str:
        """The address with its secrets, which may be others each time."""
        try:
            return filled(self._address)
        except SourceError as error:
            raise SinkError(f"no {self.name}: {error}") from None

    def _start(self, pixels: NDArray[np.uint8]) -> Start:
        settings, (height, width, _) = self._settings, pixels.shape
        shape = (height, width, 3)
        return Start(
            self._url(),
            settings.codec,
            settings.quality,
            settings.max_kbit_s,
            str(settings.ca_file) if settings.ca_file else None,
            shape,
            STALL_S,
        )


class _Lost(Exception):
    """The process cannot stream; says why."""


class StreamProcess:
    """A running `stream_process`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Start it, for pictures of one shape."""
        self.shape = shape
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the other side of its pipe
        )
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)

    def connect(self, start: Start) -> None:
        """Have it connect; raises _Lost. Its input is not public, as its arguments would be."""
        self._write(start.line(), time.monotonic() + START_S)
        answer = self._answer(START_S)
        if answer is None or "error" in answer:
            raise _Lost(self._reason(answer))

    def send(self, stamp_ns: int, pixels: NDArray[np.uint8]) -> None:
        """Hand over a picture; raises _Lost."""
        due = time.monotonic() + 2 * STALL_S  # the process ends by itself after one
        self._write(STAMP.pack(stamp_ns), due)
        self._write(np.ascontiguousarray(pixels).data.cast("B"), due)

    def close(self) -> None:
        """Have it finish, else end it."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self.kill()

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _write(self, data: bytes | memoryview, due: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._input, left[:PICTURE_BYTES]) :]
            except BlockingIOError:
                patience_s = max(0.0, due - time.monotonic())
                if not select.select([], [self._input], [], patience_s)[1]:
                    raise _Lost(self._reason(None)) from None
            except OSError:  # it has ended
                raise _Lost(self._reason(self._answer(STOP_S))) from None

    def _answer(self, patience_s: float) -> dict[str, str] | None:
        """A line of the process; None if it ended or came to nothing in time."""
        if not select.select([self._output], [], [], patience_s)[0]:
            return None
        try:
            answer: dict[str, str] = json.loads(
                os.read(self._output, ANSWER_BYTES).splitlines()[-1]
            )
        except (IndexError, ValueError):
            return None
        return answer

    def _reason(self, answer: dict[str, str] | None) -> str:
        if answer:
            return answer["error"]
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        if self._process.returncode in (None, -signal.SIGALRM):
            return f"the other side took nothing for {STALL_S:g} seconds"
        return f"its process ended with code {self._process.returncode}"
