"""
What a container runs: the service, once there is an engine for this very GPU if one is wanted.

    start.py [FLAGS OF segmif serve]      the service
    start.py run [FLAGS OF segmif run]    the service with the rigs that it reads
    start.py COMMAND ...                  another command instead, as segmif COMMAND ...

With ENGINE_CACHE (a folder), an .onnx among the settings is built into an engine that is kept
there, by `segmif export engine` with ENGINE_FLAGS; meanwhile /readyz says how far it is.
IMAGE_CUDA is the major version of CUDA that the image was made for.
"""

import fcntl
import logging.config
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server, socket
from types import FrameType
from typing import NoReturn

from segmif.service.commands.cli import parser, settings_of
from segmif.service.commands.run import check_rigs, live_settings
from segmif.service.observability.logs import log_config
from segmif.service.server.startup import startup_responder
from segmif.service.settings import Settings

from segmif.addresses import masked
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError, DeviceError
from segmif.runtime.tensorrt_library import import_tensorrt

PERCENT = re.compile(r"\d+ %")  # how the builder's lines of progress begin
JETPACK = {12: 6, 13: 7}  # by the major version of CUDA

LOCK = ".building"  # a file in the cache
SERVICES = ("serve", "run")  # the commands that answer over HTTP

log = logging.getLogger("start")


class Code(IntEnum):
    """Exit codes, named as BSD's sysexits; those of the service are 0 and 2."""

    PORT = os.EX_UNAVAILABLE
    BUILD = os.EX_SOFTWARE
    GPU = os.EX_OSERR
    CACHE = os.EX_CANTCREAT
    IMAGE = os.EX_CONFIG


class CannotStart(Exception):
    """Why not, in a sentence, and the exit code that says the same."""

    def __init__(self, code: Code, reason: object) -> None:
        super().__init__(str(reason))
        self.code = code


def main(arguments: list[str]) -> int:
    """Become the program that the arguments name; gives an exit code only where that fails."""
    if not arguments or arguments[0].startswith("-"):
        arguments = ["serve", *arguments]
    if arguments[0] not in SERVICES:
        become(*arguments)
    try:
        options = parser("segmif").parse_args(arguments)
        settings = settings_of(options)
        if options.command == "run":
            check_rigs(live_settings(options))  # before an engine takes its minutes
    except (OSError, ValueError) as error:
        print(masked(str(error)), file=sys.stderr)
        return 2
    logging.config.dictConfig(log_config(settings.log))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)  # so that a builder ends as well
    try:
        with open_door(settings) as door:
            weights = network(settings, door)
    except CannotStart as error:
        log.error("%s", error)
        return error.code
    flags = ["--weights", str(weights)]
    if weights != settings.weights and not settings.reference:
        flags += ["--reference", str(settings.weights)]  # no engine serves that lost its answers
    return become(*arguments, *flags)


def become(*command: str) -> NoReturn:
    """Go on as another program, in this very process: signals reach it."""
    os.execv(sys.executable, [sys.executable, "-m", "segmif", *command])


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """End as a program that a signal ended."""
    raise SystemExit(128 + number)


@contextmanager
def open_door(settings: Settings) -> Iterator[socket]:
    """Listen where the service will, which shows at once whether it can."""
    family = AF_INET6 if ":" in settings.host else AF_INET
    try:
        door = create_server((settings.host, settings.port), family=family)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise CannotStart(
            Code.PORT,
            f"cannot listen on {settings.host} port {settings.port} ({why}): stop what does, or "
            "set SEGMIF_PORT",
        ) from error
    with door:
        yield door


def network(settings: Settings, door: socket) -> Path:
    """What the service is to open: the weights as they are, or an engine made of them."""
    weights: Path = settings.weights
    cache = os.environ.get("ENGINE_CACHE")
    if not cache or weights.suffix != ".onnx":
        return weights
    name = check_gpu(int(os.environ.get("IMAGE_CUDA", "0")))
    engine = Path(cache) / f"{weights.stem}.engine"
    progress = ["is looked for"]
    with (
        startup_responder(settings, door, lambda: f"the engine of {weights.stem} {progress[-1]}"),
        alone_with(engine.parent),
    ):
        for line in build(settings, engine):
            log.info("engine of %s: %s", weights.stem, line)
            if PERCENT.match(line):
                progress.append(f"is being built for {name}: {line}")
    return engine


def check_gpu(cuda: int) -> str:
    """The name of the GPU; CannotStart without one, or where the image is for another driver."""
    try:
        device: DeviceBackend = open_device()
        try:
            import_tensorrt()
        finally:
            device.close()
    except DeviceError as error:
        raise CannotStart(
            Code.GPU,
            f"{error}: give the container one (--gpus all, on a Jetson --runtime nvidia), or take "
            "the image for CPUs",
        ) from error
    except ArtefactError as error:
        raise CannotStart(Code.IMAGE, error) from error
    driver = int(device.driver.split(".")[0])
    if driver < cuda or (device.integrated and driver > cuda):
        raise CannotStart(
            Code.IMAGE,
            f"this image is for CUDA {cuda} (JetPack {JETPACK.get(cuda)}), the driver here is of "
            f"CUDA {device.driver} (JetPack {JETPACK.get(driver)}): take the image that fits it",
        )
    return device.name


@contextmanager
def alone_with(cache: Path) -> Iterator[None]:
    """
    Wait for other containers that build into the same folder.

    The lock is a file: the folder itself is locked by the builder while it writes its artefact.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache, os.O_RDONLY)
    except OSError as error:
        raise CannotStart(Code.CACHE, f"ENGINE_CACHE is no folder of ours: {error}") from error
    try:
        with suppress(OSError):  # a folder that cannot be written: nobody builds there
            handle, folder = os.open(cache / LOCK, os.O_RDWR | os.O_CREAT, 0o666), handle
            os.close(folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def build(settings: Settings, engine: Path) -> Iterator[str]:
    """Make the engine unless one is there that fits; gives the builder's lines as they come."""
    plugin = ["--plugin", str(settings.plugin)] if settings.plugin else ["--attention", "native"]
    command = [sys.executable, "-m", "segmif", "export", "engine", *plugin]
    command += ["--onnx", str(settings.weights), "--out", str(engine)]
    command += ["--timing-cache", str(engine.with_name("timing.cache"))]
    command += shlex.split(os.environ.get("ENGINE_FLAGS", ""))
    line = "the builder said nothing"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as builder:
        assert builder.stdout
        try:
            for line in builder.stdout:
                yield line.strip()
        except BaseException:
            builder.terminate()
            raise
    if builder.returncode:
        from segmif.export.to_engine import (
            check_disk_space,  # needs onnx, which images for CPUs do not hold
        )

        try:
            check_disk_space(settings.weights, engine)
        except OSError as error:
            raise CannotStart(Code.CACHE, error) from error
        raise CannotStart(Code.BUILD, f"no engine could be built: {line.strip()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
