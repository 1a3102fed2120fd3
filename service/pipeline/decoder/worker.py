"""
The program that decodes untrusted files.

It is started with a descriptor as its only argument.

It has the codecs in memory and does nothing itself. For each socket that comes over the descriptor
it forks a worker, confined to memory and that socket. To a message without a socket it answers
which workers have ended, and how. A job's frame lies in memory that both sides map, and so does the
picture that comes of it.
"""

import json
import mmap
import os
import signal
import socket
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from segmif.imaging import codecs
from segmif.imaging.headers import Header, ImageError

from .sandbox import SandboxLimits, confine, limit_cpu

MESSAGE_BYTES = 4096
NICE = 1  # as the threads of the service that wait for it


def main(descriptor: int) -> None:
    """Fork workers until the service ends, which closes the descriptor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the service says when it is over
    os.nice(NICE)
    warm_up()
    # a service that is killed no longer takes what it asked for
    with suppress(ConnectionError), socket.socket(fileno=descriptor) as service:
        while True:
            message, descriptors, _, _ = socket.recv_fds(service, MESSAGE_BYTES, 1)
            if not message:
                return
            if not descriptors:
                service.send(json.dumps({"ended": reap()}).encode())
                continue
            fork_worker(service, descriptors[0], SandboxLimits(**json.loads(message)))


def warm_up() -> None:
    """Decode one picture of each format, so that a worker has nothing left to load."""
    cv2.setNumThreads(1)
    grey = np.zeros((8, 8), np.uint8)
    for suffix in (".png", ".jpg", ".tiff"):
        encoded = cv2.imencode(suffix, grey)[1]
        cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        codecs.decode_visible(codecs.encode_png(grey))


def fork_worker(service: socket.socket, descriptor: int, bounds: SandboxLimits) -> None:
    """Fork a worker for a socket; send the service its process, and how others have ended."""
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        service.send(json.dumps({"error": str(error)}).encode())
        os.close(descriptor)
        return
    if pid == 0:
        try:
            run_worker(descriptor, bounds, parent)
        finally:
            os._exit(1)
    os.close(descriptor)
    process = os.pidfd_open(pid)
    report = json.dumps({"pid": pid, "ended": reap()}).encode()
    socket.send_fds(service, [report], [process])
    os.close(process)


def reap() -> list[tuple[int, int]]:
    """Process and exit code of workers that ended; a negative code is a signal."""
    ended = []
    try:
        while (gone := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((gone[0], os.waitstatus_to_exitcode(gone[1])))
    except ChildProcessError:
        pass  # none is left
    return ended


def run_worker(descriptor: int, bounds: SandboxLimits, parent: int) -> None:
    """Answer jobs until the service closes the socket."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.dup2(descriptor, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    with socket.socket(fileno=3) as channel:
        unfiltered = confine(bounds, parent)
        channel.send(json.dumps({"unfiltered": unfiltered}).encode())
        memory: mmap.mmap | None = None
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
            if not message:
                return
            job = json.loads(message)
            if descriptors:
                memory = mmap.mmap(descriptors[0], job["memory_bytes"])
                os.close(descriptors[0])
            assert memory
            limit_cpu(job["cpu_s"])
            report = answer(job, memory) | {"number": job["number"]}
            channel.send(json.dumps(report).encode())


def answer(job: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
    """Decode a job's frame and leave the picture behind it; gives the report."""
    header = Header(**job["header"], decodable=memoryview(memory)[: job["bytes"]])
    try:
        report, pixels = decode(job["part"], header, job["bits"])
    except ImageError as error:
        return {"kind": error.kind, "message": str(error)}
    except MemoryError:
        return {"kind": "memory", "message": ""}
    place = np.frombuffer(memory, pixels.dtype, pixels.size, job["offset"])
    np.copyto(place.reshape(pixels.shape), pixels)
    return report


def decode(part: str, header: Header, bits: int | None) -> tuple[dict[str, Any], codecs.Pixels]:
    """The pixels of a frame, and its report."""
    if part == "infrared":
        return {}, codecs.infrared_of(header)
    frame = codecs.visible_of(header, bits)
    return {"bits": frame.bits, "bits_from": frame.bits_from}, frame.pixels
