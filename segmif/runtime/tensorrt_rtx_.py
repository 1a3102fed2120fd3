"""
TensorRT for RTX: its engines are built without a GPU, and run on RTX cards of several generations.

It has the interface of TensorRT 11, so `tensorrt_.EngineNetwork` runs them. Here is what differs.
The card compiles an engine's kernels itself, when it first sees a size of frames.
"""

import importlib
from typing import Any

from segmif.install import install_command
from segmif.runtime.errors import ArtefactError

MODULE = "tensorrt_rtx"
CARDS = "RTX"  # in place of a GPU's name in the manifest of an engine
LEAST = (8, 0)  # compute capability that an engine runs on unless its build asks for another
EXTRA = "tensorrt-rtx"


def import_tensorrt_rtx() -> Any:
    """The module `tensorrt_rtx`; raises ArtefactError if it is missing or broken."""
    try:
        return importlib.import_module(MODULE)
    except (ImportError, OSError) as error:
        raise ArtefactError(
            f"TensorRT for RTX is not installed here ({error}): {install_command(EXTRA)}, or run "
            "the .onnx file instead"
        ) from error


def label_of(trt: Any) -> str:
    """How a manifest names a TensorRT: the version, with the module's name before RTX's own."""
    return f"{MODULE} {trt.__version__}" if is_rtx(trt.__name__) else str(trt.__version__)


def is_rtx(name: str) -> bool:
    """Whether the name of a module, or the TensorRT in a manifest, is that for RTX."""
    return name.split()[:1] == [MODULE]


def check_card(built: str, here: str, capability: str, card: str) -> None:
    """Raises ArtefactError if the card or the TensorRT `here` does not run an RTX engine."""
    if built != here:
        raise ArtefactError(
            f"this engine was built with {built}; here is {here}: `segmif export engine --rtx "
            "--rebuild` makes one that fits"
        )
    if tuple(map(int, capability.split("."))) < LEAST:
        least = ".".join(map(str, LEAST))
        raise ArtefactError(
            f"this engine runs on RTX cards of compute capability {least} and later; {card} has "
            f"{capability}: run the .onnx file instead"
        )


def create_context(trt: Any, engine: Any) -> Any:
    """
    An execution context whose scratch memory the caller gives; None if memory is short.

    Its kernels are compiled for each size before the first run ends. Otherwise that would go on
    beside it, and a CUDA graph would keep the slower ones that fill in.
    """
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not is_rtx(trt.__name__):
        return engine.create_execution_context(strategy)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategy)
    specialization = trt.DynamicShapesKernelSpecializationStrategy
    config.dynamic_shapes_kernel_specialization_strategy = specialization.EAGER
    return engine.create_execution_context(config)
