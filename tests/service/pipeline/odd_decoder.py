"""The program that decodes, but the width of a frame says what goes wrong in it."""

import ctypes
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segmif.imaging.codecs import MAX_PIXELS, Pixels
from segmif.imaging.headers import Header, ImageError
from service.pipeline.decoder import worker

CRASH, SPIN, FLOOD, BREAK_OUT, LIE, SLEEP = 321, 322, 323, 324, 325, 326
KILLED, KILLED_ONCE = 327, 328
killed = mmap.mmap(-1, 1)  # one for all that are forked: whether one was killed already
usual, told = worker.decode, worker.answer


def decode(part: str, header: Header, bits: int | None) -> tuple[dict[str, Any], Pixels]:
    """What the width says, else a frame as usual."""
    if part == "visible" and header.width == CRASH:
        ctypes.string_at(0)
    while part == "visible" and header.width == SPIN:
        pass
    if header.width == KILLED or (header.width == KILLED_ONCE and killed[0] == 0):
        killed[0] = 1
        signal.pthread_kill(threading.get_ident(), signal.SIGKILL)  # as the kernel does
    held = []
    while part == "visible" and header.width == FLOOD:
        held.append(b"x" * 2**20)
    if header.width == BREAK_OUT:
        raise ImageError("damaged", f"done: {', '.join(sorted(break_out()))}")
    return usual(part, header, bits)


def answer(job: dict[str, Any], memory: Any) -> dict[str, Any]:
    """An answer as usual, or a lie."""
    if job["header"]["width"] == LIE:
        return {"kind": "anything", "bits": "many"}
    return told(job, memory)


def break_out() -> list[str]:
    """The names of what an attacker within the process can do."""
    attempts: dict[str, Callable[[], object]] = {
        "read a file": lambda: Path("/etc/passwd").read_bytes(),
        "list processes": lambda: list(Path("/proc").iterdir()),
        "write a file": lambda: Path("/tmp/segmif-broke-out").write_text("out"),
        "open a socket": socket.socket,
        "fork": os.fork,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "signal the service": lambda: os.kill(os.getppid(), 0),
        "take a gigabyte": lambda: bytearray(2**30),
        "decode more pixels than any frame has": decode_too_much,
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        done.append(name)
    return done


def decode_too_much() -> None:
    """MemoryError if OpenCV refuses a picture by the limit that it reads at its first import."""
    whole = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    head = b"IHDR" + struct.pack(">II", MAX_PIXELS // 4096 + 1, 4096) + whole[24:29]
    picture = whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:]
    try:
        cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "MAX_IMAGE_PIXELS" in str(error):
            raise MemoryError from error


if __name__ == "__main__":
    worker.decode, worker.answer = decode, answer
    worker.main(int(sys.argv[1]))
