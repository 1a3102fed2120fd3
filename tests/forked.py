"""
`Forked(["-m", "service", ...])` is `Popen` of Python with these words, without the imports.

They take 2 s of CPU time, so one process of each worker has done them, without torch, and forks.
What is forked becomes a child of the test; its folder, variables, files and signals are as `Popen`
gives them. Its command line in `/proc` is another one.
"""

import atexit
import ctypes
import gc
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, AnyStr, cast

ROOT = Path(__file__).parents[1]
SET_CHILD_SUBREAPER = 36  # of prctl: orphans below this process become its children
REQUEST_BYTES = 2**17
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
STREAMS = ("p2cread", "c2pwrite", "errwrite")  # what the child has for input, output, errors
COMMANDS = {"service": "service.commands.cli", "segmif": "segmif.service.commands.cli"}


class Forked(subprocess.Popen[AnyStr]):
    """`Popen` of what follows `python` on a command line."""

    def _execute_child(self, *given: Any) -> None:
        """Fork where `Popen` forks and executes; versions of Python differ in its arguments."""
        popen = cast(Any, super())
        signature = inspect.signature(popen._execute_child)
        of: dict[str, Any] = signature.bind(*given).arguments
        assert of["preexec_fn"] is None and not of["shell"], "cannot be passed on"
        request = {
            "words": [*map(str, of["args"])],
            "folder": os.fspath(of["cwd"] or Path.cwd()),
            "environment": dict(os.environ if of["env"] is None else of["env"]),
        }
        try:
            given_or_own = enumerate(of[name] for name in STREAMS)
            self.pid = _fork(request, [own if each == -1 else each for own, each in given_or_own])
            self._child_created = True
        finally:
            popen._close_pipe_fds(*(of[name] for name in PIPES))


def run(
    words: Sequence[str], timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of what follows `python`, with what it says as text."""
    pipe = subprocess.PIPE
    with Forked[str](words, stdout=pipe, stderr=pipe, text=True, **options) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, *said)


def _fork(request: Mapping[str, Any], streams: Sequence[int]) -> int:
    """Give the process id of a new child that runs what is requested."""
    template, libc = _template(), ctypes.CDLL(None)
    libc.prctl(SET_CHILD_SUBREAPER, 1)
    try:
        socket.send_fds(template, [json.dumps(request).encode()], streams)
        return int(template.recv(100))
    finally:
        libc.prctl(SET_CHILD_SUBREAPER, 0)


@cache
def _template() -> socket.socket:
    """The way to the process that forks."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def main(descriptor: int) -> None:
    """Fork for each request; what is forked returns from `_requested` and runs it."""
    sys.modules["torch"] = cast(ModuleType, None)  # to import it is an error
    words = _requested(socket.socket(fileno=descriptor))
    sys.argv = words[1:]
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = "-c"
        exec(words[1], {"__name__": "__main__"})


def _requested(requests: socket.socket) -> list[str]:
    """The words after `python`, in a process that has all else as requested."""
    while True:
        message, streams, *_ = socket.recv_fds(requests, REQUEST_BYTES, len(STREAMS))
        if not message:
            sys.exit()  # the worker has ended
        request = json.loads(message)
        words: list[str] = request["words"]
        import_module(COMMANDS.get(words[1], COMMANDS["service"]))
        gc.freeze()  # a collection would write to, and so copy, the pages that all share
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            if os.fork():
                os._exit(0)  # so the worker becomes the parent
            os.write(write, str(os.getpid()).encode())
            requests.close()
            _take(request, [*streams, read, write])
            return words
        os.waitpid(between, 0)
        requests.send(os.read(read, 100))
        for each in (*streams, read, write):
            os.close(each)


def _take(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    for own in range(len(STREAMS)):
        os.dup2(descriptors[own], own)
    for each in descriptors:
        os.close(each)
    # The template's own may be able to seek where these cannot.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # deaf to it in the background


if __name__ == "__main__":
    main(int(sys.argv[1]))
