"""
`python -m export engine`: ONNX in, a TensorRT engine for this very GPU and its manifest out.

The precision is that of the ONNX (strongly typed). Where our plugin is loaded, it takes the place
of every `segmif::InteractiveAttention`; elsewhere TensorRT compiles the node's body.
"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes so

from segmif.argument_types import IntegerRange
from segmif.files import read_bytes, write_bytes
from segmif.frames import MULTIPLE
from segmif.manifest import Manifest, ManifestError, sha256
from segmif.runtime import tensorrt_ as runtime
from segmif.runtime.errors import ArtefactError

from .build_progress import monitor
from .output_paths import spare_source

OPERATOR = ("segmif", "InteractiveAttention")
PLUGIN_FIRST = (10, 7)  # from here on the parser prefers a plugin to a local function
ROOM = 4  # what an engine may take, in sizes of its ONNX; TensorRT-RTX's take 2.3


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The sizes an engine is built for: at least, at best and at most."""

    batch: tuple[int, int, int] = (1, 1, 8)
    height: tuple[int, int, int] = (32, 480, 1024)
    width: tuple[int, int, int] = (32, 640, 1280)

    def __post_init__(self) -> None:
        for name, sizes in vars(self).items():
            least, best, most = sizes
            if not 1 <= least <= best <= most:
                raise ValueError(f"{name} is {sizes}: least <= best <= most expected, from 1 on")
            if name != "batch" and any(size % MULTIPLE for size in sizes):
                raise ValueError(f"{name} is {sizes}: multiples of {MULTIPLE} expected")

    def shapes(self, channels: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Least, best and most of a tensor (B, H, W, *channels)."""
        sizes = zip(self.batch, self.height, self.width, strict=True)
        return [(*size, *channels) for size in sizes]


@dataclass(frozen=True, kw_only=True)
class Build:
    """What an engine is built with."""

    profile: Profile
    plugin: Path | None = None  # our plugin's library; None: TensorRT compiles the attention's body
    workspace_mib: int | None = None  # scratch and activations; None: all the GPU has
    timing_cache: Path | None = None  # what earlier builds on this machine measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m export engine`."""
    best = Profile()
    parser.add_argument("--onnx", type=Path, required=True, help="network to build, as exported")
    parser.add_argument("--out", type=Path, help="engine to write [beside the ONNX]")
    parser.add_argument(
        "--attention",
        choices=["plugin", "native"],
        default="plugin",
        help="our kernels, or TensorRT's own compilation of the attention's body [plugin]",
    )
    parser.add_argument(
        "--plugin",
        type=Path,
        default=Path("build/plugin/libsegmif_plugin.so"),
        help="library of the plugin [build/plugin/libsegmif_plugin.so, as `make plugin` leaves it]",
    )
    for name, sizes in vars(best).items():
        parser.add_argument(
            f"--{name}",
            type=IntegerRange(),
            nargs=3,
            default=sizes,
            metavar=("LEAST", "BEST", "MOST"),
            help=f"sizes that the engine takes [{' '.join(map(str, sizes))}]",
        )
    parser.add_argument(
        "--workspace-mib", type=IntegerRange(), help="GPU memory that the network may use [all]"
    )
    parser.add_argument("--timing-cache", type=Path, help="file that makes the next build faster")
    parser.add_argument("--rebuild", action="store_true", help="even where the engine fits")


def main(args: argparse.Namespace) -> int:
    """Builds as the arguments say; returns the exit code."""
    sizes = {name: tuple(getattr(args, name)) for name in ("batch", "height", "width")}
    build = Build(
        profile=Profile(**sizes),
        plugin=args.plugin if args.attention == "plugin" else None,
        workspace_mib=args.workspace_mib,
        timing_cache=args.timing_cache,
    )
    out = args.out or args.onnx.with_suffix(".engine")
    spare_source(args.onnx, out)
    Manifest.read(args.onnx)  # tells what is wrong with the file before what the machine lacks
    machine = runtime.Machine.here()
    if not args.rebuild and up_to_date(args.onnx, out, build, machine):
        print(f"{out} fits this ONNX and this machine; --rebuild builds it all the same")
        return 0
    facts = export(args.onnx, out, build, machine)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, attention: {facts['attention']}")
    return 0


def export(source: Path, out: Path, build: Build, machine: "runtime.Machine") -> dict[str, Any]:
    """
    Writes the engine `out` and its manifest; gives what the manifest says of the engine.

    Raises ArtefactError where `source` is no ONNX, TensorRT refuses the network or the plugin is
    not to be found, OSError where `out` has no room.
    """
    manifest, model = read_model(source)
    check_room(source, out)
    trt = runtime.import_tensorrt()
    plugin = runtime.load_plugin(trt, build.plugin) if build.plugin else None
    engine = serialize(trt, model, build)
    held = attention_of(trt, engine, attentions(model))
    wanted = "plugin" if build.plugin else "native"
    if held != wanted:
        raise ArtefactError(
            f"the engine's attention is {held}, {wanted} was asked for: the parser did not take "
            "our plugin for each node; is the library built for this TensorRT?"
        )
    facts = wanted_facts(build, machine) | {"attention": held, "plugin_sha256": plugin}
    replace(
        manifest,
        source_sha256=manifest.sha256,
        tools={**manifest.tools, "tensorrt": trt.__version__},
        engine=facts,
    ).save(out, engine)
    return facts


def read_model(path: Path) -> tuple[Manifest, onnx.ModelProto]:
    """The manifest and the network of an ONNX file; ArtefactError where it is something else."""
    manifest, content = Manifest.open(path)
    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.node:  # an empty file is read as that
            raise DecodeError("nothing in it")
    except DecodeError as error:
        raise ArtefactError(
            f"{path.name} is no ONNX ({error}): `python -m export onnx` writes one of the weights"
        ) from error
    tensors = [*model.graph.initializer]
    tensors += [each.t for node in model.graph.node for each in node.attribute]
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in tensors):
        raise ArtefactError(
            f"{path.name} keeps numbers in another file, which its manifest does not cover: "
            "`python -m export onnx` writes one file"
        )
    return manifest, model


def wanted_facts(build: Build, machine: "runtime.Machine") -> dict[str, Any]:
    """What an engine of this build on this machine would say of itself."""
    return {
        **machine.facts,
        "profile": {name: list(sizes) for name, sizes in vars(build.profile).items()},
        "workspace_mib": build.workspace_mib,
        "attention": "plugin" if build.plugin else "native",
        "plugin_sha256": sha256(build.plugin) if build.plugin and build.plugin.is_file() else None,
    }


def check_room(source: Path, out: Path) -> None:
    """Makes the folder of an engine; OSError where it cannot be written or is too full."""
    folder = out.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} cannot be written by user {os.getuid()}: give it to that user")
    needed, free = ROOM * source.stat().st_size, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e6:.1f} MB free, an engine of {source.name} may take "
            f"{needed / 1e6:.1f} MB: make room"
        )


def up_to_date(source: Path, out: Path, build: Build, machine: "runtime.Machine") -> bool:
    """Whether an engine there was built from this ONNX, by this build, for this machine."""
    if not out.is_file() or not Manifest.beside(out).is_file():
        return False
    try:
        there = Manifest.read(out)
    except ManifestError as error:
        print(f"{error}: it is built again")
        return False
    same_source = there.source_sha256 == Manifest.read(source).sha256
    return same_source and there.engine == wanted_facts(build, machine)


def prepare(model: onnx.ModelProto, version: tuple[int, ...], *, plugin: bool) -> onnx.ModelProto:
    """
    The model as the parser of a TensorRT version must see it.

    With our plugin, parsers before 10.7 must not find the body, which they would prefer. Without
    it, the body stands in the node's place: from 10.7 on, a plugin that something else in this
    process loaded would be preferred.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    if plugin and version < PLUGIN_FIRST:
        kept = [f for f in model.functions if (f.domain, f.name) != OPERATOR]
        del model.functions[:]
        model.functions.extend(kept)
    elif not plugin:
        model = onnx.inliner.inline_local_functions(model)
    return model


def serialize(trt: Any, model: onnx.ModelProto, build: Build) -> bytes:
    """
    A model to the bytes of an engine, by the module `tensorrt` (or one with its interface).

    Raises ArtefactError with what the parser or the builder said.
    """
    version = runtime.version_of(trt)
    logger = runtime.Words(trt)
    builder = trt.Builder(logger.of_tensorrt)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger.of_tensorrt)
    prepared = prepare(model, version, plugin=build.plugin is not None)
    if not parser.parse(prepared.SerializeToString()):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ArtefactError(f"TensorRT {trt.__version__} cannot read this ONNX: {errors}")
    config = _configure(trt, builder, build)
    cache = _open_timing_cache(trt, config, build.timing_cache)
    progress = monitor(trt, lambda percent, phase: print(f"{percent} %: {phase}", flush=True))
    config.progress_monitor = progress
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ArtefactError(
            f"TensorRT {trt.__version__} built no engine: {logger.last_error}; where memory is "
            "short, a smaller profile needs less and a larger --workspace-mib allows more"
        )
    if build.timing_cache and cache is not None:
        build.timing_cache.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(build.timing_cache, bytes(cache.serialize()))
    return bytes(engine)


def _configure(trt: Any, builder: Any, build: Build) -> Any:
    config = builder.create_builder_config()
    if build.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, build.workspace_mib << 20)
    # names and types of the layers stay in the engine: they tell which attention it holds
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("visible", *build.profile.shapes((3,)))
    profile.set_shape("infrared", *build.profile.shapes(()))
    config.add_optimization_profile(profile)
    return config


def _open_timing_cache(trt: Any, config: Any, path: Path | None) -> Any:
    """What earlier builds measured; nothing yet where this TensorRT and GPU cannot use the file."""
    if path is None:
        return None
    held = read_bytes(path) if path.exists() else b""
    cache = _attached(config, held)
    if cache is None and held:
        print(
            f"{path} holds no timings for TensorRT {trt.__version__} on this GPU: all is measured "
            "anew, and takes its place"
        )
        cache = _attached(config, b"")
    return cache


def _attached(config: Any, held: bytes) -> Any:
    cache = config.create_timing_cache(held)
    fits = cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)
    return cache if fits else None


def attentions(model: onnx.ModelProto) -> int:
    """How many attention nodes a network has: `nano` one, `edge` two."""
    return sum((node.domain, node.op_type) == OPERATOR for node in model.graph.node)


def attention_of(trt: Any, engine: bytes, nodes: int) -> str:
    """Which attention an engine of so many nodes really holds, as the engine itself says."""
    opened = runtime.deserialize(trt, engine)
    inspector = opened.create_engine_inspector()
    layers = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"]
    plugins = [
        layer
        for layer in layers
        if "plugin" in str(layer.get("LayerType", "")).lower()
        and OPERATOR[1].lower() in json.dumps(layer).lower()
    ]
    if 0 < len(plugins) < nodes:
        return f"mixed (our plugin for {len(plugins)} of {nodes} nodes)"
    return "plugin" if plugins else "native"
