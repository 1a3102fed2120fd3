"""The library TensorRT, or that for RTX: import, log, our plugin, and engines from bytes."""

import ctypes
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import Self

from segmif.install import install_command
from segmif.manifest import sha256
from segmif.runtime import tensorrt_rtx_ as rtx
from segmif.runtime.device import DeviceBackend, open_device
from segmif.runtime.errors import ArtefactError

PLUGIN = "InteractiveAttention"
OLDEST = (10, 3)  # TensorRT of JetPack 6

NO_REASON = "it gave no reason"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """The TensorRT and GPU that an engine is built for."""

    tensorrt: str
    device: str
    capability: str  # compute capability, as 9.0
    driver: str

    @classmethod
    def of(cls, trt: Any, device: DeviceBackend) -> Self:
        """The machine of a module `tensorrt` and an open device."""
        return cls(
            rtx.label_of(trt), device.name, ".".join(map(str, device.capability)), device.driver
        )

    @classmethod
    def here(cls) -> Self:
        """This machine; raises ArtefactError without TensorRT, DeviceError without a GPU."""
        trt = import_tensorrt()
        device = open_device()
        try:
            return cls.of(trt, device)
        finally:
            device.close()

    @classmethod
    def any_rtx(cls) -> Self:
        """The RTX cards for which TensorRT-RTX builds; raises ArtefactError without it."""
        trt = rtx.import_tensorrt_rtx()
        return cls(rtx.label_of(trt), rtx.CARDS, ".".join(map(str, rtx.LEAST)), "any")

    @property
    def facts(self) -> dict[str, str]:
        """The facts of a manifest."""
        return dict(vars(self))


def import_for(facts: Mapping[str, Any]) -> Any:
    """The module that an engine with these facts needs; raises as `import_tensorrt`."""
    return rtx.import_tensorrt_rtx() if rtx.is_rtx(facts["tensorrt"]) else import_tensorrt()


def import_tensorrt() -> Any:
    """The module `tensorrt`; raises ArtefactError if it is missing, broken or too old."""
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise ArtefactError(
            f"TensorRT is not installed here ({error}): take NVIDIA's TensorRT image, run the "
            f".onnx file instead, or {install_command('trt')}"
        ) from error
    if version_of(trt) < OLDEST:
        raise ArtefactError(
            f"TensorRT {trt.__version__} is installed here; {'.'.join(map(str, OLDEST))} or later "
            "is needed: upgrade it, or run the .onnx file instead"
        )
    return trt


def version_of(trt: Any) -> tuple[int, ...]:
    """Major, minor, ... of the module `tensorrt`."""
    if rtx.is_rtx(trt.__name__):
        return (11,)  # has version numbers of its own and the interface of TensorRT 11
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdigit())


class TensorRTLog:
    """A logger for TensorRT that keeps its last error and forwards all to our log."""

    def __init__(self, trt: Any) -> None:
        self.last_error = NO_REASON
        outer = self

        class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known when it runs
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                    outer.last_error = message
                log.debug("TensorRT: %s", message)

        self.logger = Logger()

    def take_error(self) -> str:
        """The last error, which is forgotten: the next one must not be explained by it."""
        error, self.last_error = self.last_error, NO_REASON
        return error


def load_plugin(trt: Any, path: Path) -> str:
    """Registers our plugin with TensorRT; gives its library's hash, or raises ArtefactError."""
    if not path.is_file():
        raise ArtefactError(
            f"there is no plugin at {path}: `make plugin` builds it if TensorRT's headers are "
            "installed, --attention native does without"
        )
    registry = trt.get_plugin_registry()
    try:
        if not _has_plugin(registry):
            ctypes.CDLL(str(path.resolve()))  # gives the reason if it fails; TensorRT does not
            registry.load_library(str(path.resolve()))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be loaded: {error}") from error
    if not _has_plugin(registry):
        raise ArtefactError(
            f"{path} has no {PLUGIN} for TensorRT {trt.__version__}: build it again with the "
            "headers of this TensorRT (`make plugin`)"
        )
    return sha256(path)


def _has_plugin(registry: Any) -> bool:
    return any(creator.name == PLUGIN for creator in registry.all_creators)


def deserialize(trt: Any, engine: bytes, trt_log: TensorRTLog | None = None) -> Any:
    """An engine from its bytes; raises ArtefactError if this TensorRT cannot open it."""
    trt_log = trt_log or TensorRTLog(trt)
    opened = trt.Runtime(trt_log.logger).deserialize_cuda_engine(engine)
    if opened is None:
        raise ArtefactError(
            f"TensorRT {trt.__version__} cannot open this engine: {trt_log.last_error}; "
            "`segmif export engine --rebuild` makes one that fits"
        )
    return opened
