"""
A labeller of the user's: a program, or an HTTP address, that gives masks for visible frames.

It gets one JSON object for each frame and gives one back. A program gets and gives a line each, by
its standard input and output; an address gets a POST:

    {"name": "0001", "width": 640, "height": 480, "visible": "PNG as base64"}
    {"classes": ["background", "car"], "mask": "PNG as base64, 8 bit, one id a pixel"}

An id is a place in `classes`, or 255 for what it does not know. {} proposes nothing for a frame,
{"error": "why"} ends the work.
"""

import os
import shlex
import signal
import socket
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Event, Timer
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from segmif.addresses import masked
from segmif.classes import IGNORE
from segmif.files import shown
from segmif.imaging.codecs import decode_labels, encode_png
from segmif.parsing import json_value

from .package import as_json, value_as
from .shapes import Labels

ANSWER_BYTES = 64 << 20
END_S = 5.0  # that a program has to end in, once its input is at its end
SHOWN = 200  # characters of an answer in an error

Ask = Callable[[bytes], bytes]  # one request as JSON in one line; its answer


class LabellerError(ValueError):
    """A labeller did not give what was expected."""


@dataclass(frozen=True)
class Proposal:
    """A labeller's mask of one frame."""

    classes: tuple[str, ...]
    labels: Labels  # (H, W) places in `classes`; 255 is not known


@dataclass(frozen=True)
class _Answer:
    classes: tuple[str, ...] = ()
    mask: str | None = None
    error: str | None = None


@contextmanager
def opened_labeller(where: str, timeout_s: float) -> Iterator[Ask]:
    """
    The labeller behind an http(s) address or the words of a command, for as long as it is open.

    Each answer has `timeout_s` and ANSWER_BYTES. Raises OSError if the command cannot be started;
    asking raises LabellerError.
    """
    if where.startswith(("http://", "https://")):
        yield lambda request: _post(where, timeout_s, request)
        return
    words = shlex.split(where)
    pipe = subprocess.PIPE
    # a session of its own, so that what a shell has started ends with it
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        try:
            yield lambda request: _tell(process, timeout_s, request)
            with suppress(OSError, subprocess.TimeoutExpired):
                process.communicate(timeout=END_S)
        finally:
            _kill(process)


def request_of(name: str, visible: NDArray[np.uint8]) -> bytes:
    """The request for a frame (H, W, 3) RGB, in one line."""
    height, width = visible.shape[:2]
    pixels = b64encode(encode_png(visible)).decode()
    return as_json({"name": name, "width": width, "height": height, "visible": pixels})


def proposal_of(answer: bytes, size: tuple[int, int]) -> Proposal | None:
    """What an answer proposes for a frame of `size` (height, width); raises LabellerError."""
    try:
        said = value_as(_Answer, json_value(answer.decode()), "the answer")
        if said.error is not None:
            raise LabellerError(f"it says: {shown(said.error)[:SHOWN]}")
        if said.mask is None:
            return None
        if len(set(said.classes)) < len(said.classes) or not 0 < len(said.classes) < IGNORE:
            raise LabellerError(f"its classes are {said.classes!r:.{SHOWN}}, expected unique names")
        labels = decode_labels(b64decode(said.mask, validate=True))
    except LabellerError:
        raise
    except ValueError as error:
        began = shown(answer[:SHOWN].decode(errors="replace"))
        raise LabellerError(f"{error}; its answer begins {began!r}") from None
    if labels.shape != size:
        found, expected = (f"{width}x{height}" for height, width in (labels.shape, size))
        raise LabellerError(f"its mask is {found}, the frame is {expected}")
    most = int(labels[labels != IGNORE].max(initial=0))
    if most >= len(said.classes):
        raise LabellerError(f"its mask has the id {most}, but it names {len(said.classes)} classes")
    return Proposal(said.classes, labels)


def _tell(process: subprocess.Popen[bytes], timeout_s: float, request: bytes) -> bytes:
    assert process.stdin and process.stdout
    killed = Event()

    def stop() -> None:
        killed.set()
        _kill(process)

    late = Timer(timeout_s, stop)
    late.start()
    try:
        process.stdin.write(request + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline(ANSWER_BYTES + 1)
    except OSError:  # it has ended
        answer = b""
    finally:
        late.cancel()
    if answer.endswith(b"\n"):
        return answer
    if killed.is_set():
        raise LabellerError(_late(timeout_s))
    if len(answer) > ANSWER_BYTES:
        raise LabellerError(f"{_long()} in one line")
    try:
        code = process.wait(END_S)
    except subprocess.TimeoutExpired:
        raise LabellerError("it has closed its output and gave no answer") from None
    raise LabellerError(f"it ended before it had answered (exit code {code})")


def _post(address: str, timeout_s: float, request: bytes) -> bytes:
    connection, path = _connection(address, timeout_s)
    cut = Event()

    def stop() -> None:
        cut.set()
        with suppress(OSError, AttributeError):  # closed meanwhile
            connection.sock.shutdown(socket.SHUT_RDWR)

    late = Timer(timeout_s, stop)
    late.start()
    try:
        connection.request("POST", path, request, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read(ANSWER_BYTES + 1)
    except (OSError, HTTPException) as error:
        if cut.is_set() or isinstance(error, TimeoutError):
            raise LabellerError(_late(timeout_s)) from None
        raise LabellerError(f"no answer: {error or type(error).__name__}") from None
    finally:
        late.cancel()
        connection.close()
    if cut.is_set():  # which may look like the end of the answer
        raise LabellerError(_late(timeout_s))
    if len(body) > ANSWER_BYTES:
        raise LabellerError(_long())
    if answer.status != HTTPStatus.OK:
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        said = shown(body[:SHOWN].decode(errors="replace"))
        raise LabellerError(f"status {answer.status}{hint}: {said}")
    return body


def _connection(address: str, timeout_s: float) -> tuple[HTTPConnection, str]:
    """A connection to an address, not yet open, and the path to ask there."""
    parts = urlsplit(address)
    if not parts.hostname or parts.username is not None:
        raise LabellerError(f"{masked(address)}: expected http://HOST:PORT/PATH, without a user")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout_s), path
    trusted = ssl.create_default_context()
    return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=trusted), path


def _late(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s: give it longer by --labeller-timeout"


def _long() -> str:
    return f"its answer has more than {ANSWER_BYTES:,} bytes"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
