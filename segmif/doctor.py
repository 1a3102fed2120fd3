"""`segmif doctor`: what works on this machine, and the remedy if it does not, within 10 s."""

import argparse
import ctypes
import json
import logging
import math
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from http.client import HTTPException
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.request import ProxyHandler, build_opener

from packaging.requirements import Requirement

from segmif import camera_checks
from segmif.argument_types import IntegerRange
from segmif.finding import Finding
from segmif.install import install_command, version

LIMIT_S = 9.0  # for all checks
FREE_BYTES = 2**30  # an engine or a training run writes less
BOUNDS = {">=": "at least", "==": "just", "<": "less than"}  # of a version
NO_DRIVER = "no NVIDIA driver: networks run on the CPU"


def main(arguments: Sequence[str]) -> int:
    """Print the findings; gives 0 if no check failed, else 1."""
    parser = argparse.ArgumentParser(prog="segmif doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--port",
        type=IntegerRange(1, 65535),
        help="port that the service is to take (SEGMIF_PORT, else 8000)",
    )
    args = parser.parse_args(arguments)
    findings = examine(args.port or _stated_port(parser))
    failed = [name for name, finding in findings.items() if finding.state == "failed"]
    if args.json:
        checks = [{"name": name, **asdict(finding)} for name, finding in findings.items()]
        print(json.dumps({"version": version(), "ok": not failed, "checks": checks}, indent=2))
    else:
        print(*_lines(findings), sep="\n")
    sys.stdout.flush()
    return 1 if failed else 0


def examine(port: int, limit_s: float | None = None) -> dict[str, Finding]:
    """The findings of all checks, by name."""
    limit_s = limit_s or LIMIT_S
    end = time.monotonic() + limit_s
    found: dict[str, Finding] = {}
    checks: dict[str, Callable[[], Finding]] = {
        "Python": check_python,
        "packages": check_packages,
        "extras": check_extras,
        "GPU": check_gpu,
        "TensorRT": check_tensorrt,
        "ONNX Runtime": lambda: check_onnxruntime(found["GPU"].state == "ok"),
        "decoders": check_decoders,
        "videos": camera_checks.check_videos,
        "cameras": camera_checks.check_cameras,
        "GStreamer": camera_checks.check_gstreamer,
        "recordings": camera_checks.check_recordings,
        "disk": check_disk,
        "port": lambda: check_port(port),
        "OpenVINO": lambda: check_openvino(end - time.monotonic()),  # last, as it takes longest
    }
    for name, check in checks.items():
        found[name] = _within(check, end, limit_s)
    return found


def check_python() -> Finding:
    """Version and machine."""
    return Finding("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def check_packages() -> Finding:
    """What the base install requires, by the metadata of the installed `segmif`."""
    try:
        wanting = [line for line in map(_wanting, _requirements("")) if line]
    except PackageNotFoundError:
        return Finding("failed", "segmif is not installed", install_command())
    if wanting:
        return Finding("failed", ", ".join(wanting), install_command())
    return Finding("ok", f"segmif {version()} and all that it requires")


def check_extras() -> Finding:
    """Which extras are here; none of them is needed to serve on a CPU."""
    extras = ("live", "client", "train", "export", "gpu", "trt", "openvino", "rosbag", "traces")
    with suppress(PackageNotFoundError):
        missing = [name for name in extras if any(map(_wanting, _requirements(name)))]
        here = ", ".join(name for name in extras if name not in missing) or "none"
        remedy = install_command(missing[0]) if missing else ""
        return Finding("ok" if not missing else "note", f"{here} of {', '.join(extras)}", remedy)
    return Finding("note", "not known, as segmif is not installed", install_command())


def check_gpu() -> Finding:
    """The first GPU, its compute capability and the newest CUDA that the driver knows."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding("note", NO_DRIVER)
    if driver.cuInit(0):
        return Finding(
            "failed",
            "the driver's library is here, and opens no GPU",
            "`nvidia-smi` must list a GPU; a container needs --gpus all",
        )
    name, number = ctypes.create_string_buffer(128), [ctypes.c_int() for _ in range(3)]
    driver.cuDeviceGetName(name, 128, 0)
    driver.cuDriverGetVersion(ctypes.byref(number[0]))
    for value, attribute in zip(number[1:], (75, 76), strict=True):  # capability: major, minor
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, 0)
    cuda, major, minor = (value.value for value in number)
    known = f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    return Finding("ok", f"{name.value.decode()}, capability {major}.{minor}, driver of {known}")


def check_tensorrt() -> Finding:
    """The version of TensorRT."""
    tensorrt = import_module("segmif.runtime.tensorrt_library")
    errors = import_module("segmif.runtime.errors")
    try:
        return Finding("ok", str(tensorrt.import_tensorrt().__version__))
    except errors.ArtefactError:
        return Finding("note", "not here: only .engine files need it", install_command("trt"))


def check_onnxruntime(gpu: bool) -> Finding:
    """Its providers, which should use a GPU that is here, and one small pair through a network."""
    numpy, frames = import_module("numpy"), import_module("segmif.frames")
    runtime = import_module("segmif.runtime")
    ours = import_module("segmif.runtime.onnxruntime_").onnxruntime
    providers = [name.removesuffix("ExecutionProvider") for name in ours.get_available_providers()]
    here = f"{ours.__version__} with {', '.join(providers)}"
    weights = _stated_weights()
    try:
        network = runtime.open_runtime(weights)
    except ValueError as error:
        remedy = "SEGMIF_WEIGHTS must name an ONNX file with its manifest beside it, or be unset"
        return Finding("failed", str(error), remedy)
    visible = numpy.zeros((64, 64, 3), numpy.uint8)
    runtime.predict(network, frames.FramePair(visible, visible[..., 0]))
    network.close()
    if gpu and "CUDA" not in providers:
        return Finding("note", f"{here}; the GPU is not used", install_command("gpu"))
    return Finding("ok", f"{here}; {weights.name} answers")


def check_openvino(left_s: float) -> Finding:
    """Whether OpenVINO is here, and which of the two runtimes is faster, if there is time left."""
    if find_spec("openvino") is None:
        return Finding("note", "not here: only --device openvino needs it")
    weights = _stated_weights()
    # In a process: a thread of OpenVINO that is left behind at the end takes Python down.
    command = [sys.executable, "-m", "segmif.runtime.choice", str(weights)]
    limit_s = max(0.1, left_s - 1)  # a late finding would be a failed one
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return Finding("note", f"here; the {limit_s:.1f} s that were left are too few to compare")
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = said[-1] if said else f"it ended with code {done.returncode}"
    remedy = install_command("openvino")
    return Finding("ok", last) if done.returncode == 0 else Finding("failed", last, remedy)


def check_decoders() -> Finding:
    """A picture through a process that decodes, and whether that is confined."""
    pool = import_module("segmif.service.pipeline.decoder.pool")
    codecs, numpy = import_module("segmif.imaging.codecs"), import_module("numpy")
    notes = _Notes()
    logger = logging.getLogger(pool.__name__)
    logger.addHandler(notes)
    logger.propagate = False
    decoder = pool.DecoderPool(1, 2.0)
    try:
        decoder.infrared(codecs.encode_png(numpy.zeros((48, 64), numpy.uint8)), 10**6, math.inf)
    finally:
        decoder.close()
        logger.removeHandler(notes)
    if notes.said:
        remedy = "install libseccomp (Debian, Ubuntu: apt-get install libseccomp2), on Linux"
        return Finding("note", "; ".join(notes.said), remedy)
    return Finding("ok", "a PNG was decoded in a confined process")


def check_disk() -> Finding:
    """Room in the current folder and for temporary files."""
    room = {place: shutil.disk_usage(place).free for place in (os.curdir, tempfile.gettempdir())}
    said = ", ".join(f"{free / 2**30:.1f} GiB free in {place}" for place, free in room.items())
    if min(room.values()) < FREE_BYTES:
        return Finding("failed", said, f"free {FREE_BYTES / 2**30:.0f} GiB, or set TMPDIR")
    return Finding("ok", said)


def check_port(port: int) -> Finding:
    """Whether the service could listen, or does already."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            if _answers(f"http://127.0.0.1:{port}/livez"):
                return Finding("ok", f"a service answers on port {port}")
            why = getattr(error, "strerror", None) or error
            return Finding("failed", f"port {port}: {why}", "segmif serve --port with a free one")
    return Finding("ok", f"port {port} is free")


def _answers(url: str) -> bool:
    """Whether a GET succeeds within a second; no proxy is asked, as one knows other machines."""
    with suppress(OSError, HTTPException), build_opener(ProxyHandler({})).open(url, timeout=1):
        return True
    return False


def _within(check: Callable[[], Finding], end: float, limit_s: float) -> Finding:
    """The finding of a check, or that it failed or was not done by then."""
    found: list[Finding] = []

    def work() -> None:
        try:
            found.append(check())
        except ModuleNotFoundError as error:
            found.append(Finding("failed", f"{error.name} is missing", install_command()))
        except Exception as error:
            found.append(Finding("failed", f"{type(error).__name__}: {error}", install_command()))

    worker = Thread(target=work, daemon=True)
    worker.start()
    worker.join(max(0.1, end - time.monotonic()))
    if found:
        return found[0]
    # A check that hangs has failed; one that had no core to run on has not.
    load = os.getloadavg()[0]
    busy = load > (os.cpu_count() or 1)
    late = f"not done when the {limit_s:g} s for all checks were over (load {load:.1f})"
    return Finding("note" if busy else "failed", late, "try again when the machine is idle")


@lru_cache
def _all_requirements() -> tuple[Requirement, ...]:
    return tuple(map(Requirement, requires("segmif") or ()))


def _requirements(extra: str) -> Iterator[Requirement]:
    """What an extra ("": the base install) requires on this machine."""
    for requirement in _all_requirements():
        marker = requirement.marker
        in_base = marker is None or marker.evaluate({"extra": ""})
        if in_base != bool(extra) and (marker is None or marker.evaluate({"extra": extra})):
            yield requirement


def _wanting(requirement: Requirement) -> str:
    """What is wrong with a requirement, or nothing."""
    name = requirement.name
    try:
        here = version_of(name)
    except PackageNotFoundError:
        return f"{name} is missing"
    for bound in requirement.specifier:
        if not bound.contains(here, prereleases=True):
            word = BOUNDS.get(bound.operator, bound.operator)
            return f"{name} is {here}, {word} {bound.version} is needed"
    return ""


def _stated_port(parser: argparse.ArgumentParser) -> int:
    stated = os.environ.get("SEGMIF_PORT", "")
    if not stated or "://" in stated:  # Kubernetes sets an address for a Service called segmif
        return 8000
    try:
        return IntegerRange(0, 65535)(stated)
    except argparse.ArgumentTypeError as error:
        parser.error(f"SEGMIF_PORT: {error}")


def _stated_weights() -> Path:
    """The ONNX file that the service would take; its default one if it would take an engine."""
    stated = Path(os.environ.get("SEGMIF_WEIGHTS", ""))
    if stated.suffix == ".onnx":
        return stated
    return import_module("segmif.service.settings").DEFAULT_WEIGHTS  # type: ignore[no-any-return]


def _lines(findings: dict[str, Finding]) -> Iterator[str]:
    width = max(map(len, findings))
    for name, finding in findings.items():
        yield f"{finding.state:6}  {name:{width}}  {finding.detail}"
        if finding.remedy:
            yield f"{'':6}  {'':{width}}  -> {finding.remedy}"


class _Notes(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
