"""What TensorRT's builder is told: profiles, memory, and timings of earlier builds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmif.files import read_bytes
from segmif.frames import TINT

if TYPE_CHECKING:
    from .to_engine import Build


def configure(trt: Any, builder: Any, network: Any, build: "Build") -> Any:
    """A builder's configuration for a parsed network."""
    config = builder.create_builder_config()
    if build.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, build.workspace_mib << 20)
    if build.aux_streams is not None:
        config.max_aux_streams = build.aux_streams
    # names and types of the layers stay in the engine, for a profiler
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    takes_tint = TINT in (network.get_input(place).name for place in range(network.num_inputs))
    for each in build.profile.tuned():
        profile = builder.create_optimization_profile()
        profile.set_shape("visible", *each.shapes((3,)))
        profile.set_shape("infrared", *each.shapes(()))
        if takes_tint:
            profile.set_shape(TINT, *((batch,) for batch in each.batch))
        config.add_optimization_profile(profile)
    return config


def open_timing_cache(trt: Any, config: Any, path: Path | None) -> Any:
    """Timings of earlier builds; empty if the file does not fit this TensorRT and GPU."""
    if path is None:
        return None
    held = read_bytes(path) if path.exists() else b""
    cache = _attach_timing_cache(config, held)
    if cache is None and held:
        print(
            f"{path} has no timings for TensorRT {trt.__version__} on this GPU: they are measured "
            "again and replace it"
        )
        cache = _attach_timing_cache(config, b"")
    return cache


def _attach_timing_cache(config: Any, held: bytes) -> Any:
    cache = config.create_timing_cache(held)
    fits = cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
    return cache if fits else None
