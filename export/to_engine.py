"""
`segmif export engine`: ONNX to a TensorRT engine for the GPU of this machine, and its manifest.

The engine has the precision of the ONNX (strongly typed). If our plugin is loaded, it computes
every `segmif::InteractiveAttention` and the last pixels, `segmif::Pixels`. Otherwise TensorRT
compiles the body of a node.
"""

import argparse
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes so

from segmif.argument_types import IntegerRange
from segmif.files import write_bytes
from segmif.frames import MULTIPLE
from segmif.manifest import Manifest, ManifestError, sha256
from segmif.runtime import tensorrt_library as library
from segmif.runtime.errors import ArtefactError

from .build_config import configure, open_timing_cache
from .build_progress import monitor
from .output_paths import check_output_path

DOMAIN, ATTENTION, PIXELS = "segmif", "InteractiveAttention", "Pixels"
PLUGIN_PREFERRED = (10, 7)  # first TensorRT whose parser prefers a plugin to a local function
SIZE_FACTOR = 4  # greatest size of an engine over that of its ONNX; TensorRT-RTX's have 2.3


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The sizes that an engine takes: minimum, optimum and maximum."""

    batch: tuple[int, int, int] = (1, 1, 8)
    height: tuple[int, int, int] = (32, 480, 1024)
    width: tuple[int, int, int] = (32, 640, 1280)

    def __post_init__(self) -> None:
        for name, sizes in vars(self).items():
            low, best, high = sizes
            if not 1 <= low <= best <= high:
                raise ValueError(f"{name} is {sizes}: 1 <= min <= opt <= max expected")
            if name != "batch" and any(size % MULTIPLE for size in sizes):
                raise ValueError(f"{name} is {sizes}: multiples of {MULTIPLE} expected")

    def shapes(self, channels: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Minimum, optimum and maximum shape of a tensor (B, H, W, *channels)."""
        sizes = zip(self.batch, self.height, self.width, strict=True)
        return [(*size, *channels) for size in sizes]

    def tuned(self) -> "list[Profile]":
        """
        What TensorRT is to tune on its own: one pair, batches, both of the best size, and the rest.

        The first that holds a size runs it.
        """
        low, best, high = self.batch
        fixed = {"height": (self.height[1],) * 3, "width": (self.width[1],) * 3}
        profiles = [Profile(batch=(1, 1, 1), **fixed)] if low == 1 else []
        if high > 1:
            batches = (max(low, 2), best if best > 1 else high, high)
            profiles.append(Profile(batch=batches, **fixed))
        if self.height[0] < self.height[2] or self.width[0] < self.width[2]:
            profiles.append(self)
        return profiles

    @property
    def ranges(self) -> dict[str, list[int]]:
        """Minimum, optimum and maximum of each size, as a manifest has them."""
        return {name: list(sizes) for name, sizes in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class Build:
    """The settings of an engine's build."""

    profile: Profile
    plugin: Path | None = None  # our library; None: TensorRT compiles the bodies of our nodes
    nodes: frozenset[str] = frozenset((ATTENTION, PIXELS))  # that the library computes
    workspace_mib: int | None = None  # for scratch and activations; None: all of the GPU's memory
    aux_streams: int | None = None  # for layers side by side; None: as many as TensorRT likes
    timing_cache: Path | None = None  # timings of earlier builds on this machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `segmif export engine`."""
    default = Profile()
    parser.add_argument("--onnx", type=Path, required=True, help="network to build, as exported")
    parser.add_argument("--out", type=Path, help="engine to write [beside the ONNX]")
    parser.add_argument(
        "--rtx",
        action="store_true",
        help="for any RTX card, by TensorRT-RTX, without a GPU here (needs its extra); native",
    )
    parser.add_argument(
        "--attention",
        choices=["plugin", "native"],
        help="our kernels, or TensorRT's own compilation of the attention's body [plugin]",
    )
    parser.add_argument(
        "--pixels",
        choices=["plugin", "native"],
        help="the same for the last pixels: colour, hue, labels, confidence [as --attention]",
    )
    parser.add_argument(
        "--plugin",
        type=Path,
        default=Path("build/plugin/libsegmif_plugin.so"),
        help="library of the plugin [build/plugin/libsegmif_plugin.so, as `make plugin` leaves it]",
    )
    for name, sizes in vars(default).items():
        parser.add_argument(
            f"--{name}",
            type=IntegerRange(1),
            nargs=3,
            default=sizes,
            metavar=("MIN", "OPT", "MAX"),
            help=f"sizes that the engine takes [{' '.join(map(str, sizes))}]",
        )
    parser.add_argument(
        "--workspace-mib", type=IntegerRange(1), help="GPU memory that the network may use [all]"
    )
    parser.add_argument(
        "--aux-streams",
        type=IntegerRange(0),
        help="streams for layers side by side, each with scratch memory; 0 saves it [TensorRT's]",
    )
    parser.add_argument("--timing-cache", type=Path, help="file that makes the next build faster")
    parser.add_argument("--rebuild", action="store_true", help="even if the engine is up to date")


def main(args: argparse.Namespace) -> int:
    """Builds as the arguments say; returns the exit code."""
    sizes = {name: tuple(getattr(args, name)) for name in ("batch", "height", "width")}
    nodes = nodes_of_plugin(args)
    build = Build(
        profile=Profile(**sizes),
        plugin=args.plugin if nodes else None,
        nodes=nodes,
        workspace_mib=args.workspace_mib,
        aux_streams=args.aux_streams,
        timing_cache=args.timing_cache,
    )
    out = args.out or args.onnx.with_suffix(".engine")
    check_output_path(args.onnx, out)
    Manifest.read(args.onnx)  # an error in the file comes before one of the machine
    machine = library.Machine.any_rtx() if args.rtx else library.Machine.here()
    if not args.rebuild and up_to_date(args.onnx, out, build, machine):
        print(f"{out} fits this ONNX and this machine; --rebuild builds it all the same")
        return 0
    facts = export(args.onnx, out, build, machine)
    how = f"attention: {facts['attention']}, pixels: {facts['pixels']}"
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {how}")
    return 0


def nodes_of_plugin(args: argparse.Namespace) -> frozenset[str]:
    """The nodes that our plugin is to compute; raises ArtefactError for what RTX does not take."""
    attention = args.attention or ("native" if args.rtx else "plugin")
    asked = {ATTENTION: attention, PIXELS: args.pixels or attention}
    nodes = frozenset(name for name, by in asked.items() if by == "plugin")
    if args.rtx and (nodes or args.timing_cache):
        raise ArtefactError(
            "TensorRT-RTX takes no plugins, and needs a GPU for a timing cache: leave out "
            "--attention, --pixels and --timing-cache"
        )
    return nodes


def export(source: Path, out: Path, build: Build, machine: "library.Machine") -> dict[str, Any]:
    """
    Writes the engine `out` and its manifest; gives the manifest's facts of the engine.

    Raises ArtefactError if `source` is no ONNX, if TensorRT refuses the network, or if the plugin
    is missing. Raises OSError if the disk has too little space.
    """
    manifest, model = read_model(source)
    check_disk_space(source, out)
    trt = library.import_for(machine.facts)
    plugin = library.load_plugin(trt, build.plugin) if build.plugin else None
    engine = serialize(trt, model, build)
    facts = expected_facts(build, machine) | {"plugin_sha256": plugin}
    replace(
        manifest,
        source_sha256=manifest.sha256,
        tools={**manifest.tools, "tensorrt": trt.__version__},
        engine=facts,
    ).save(out, engine)
    return facts


def read_model(path: Path) -> tuple[Manifest, onnx.ModelProto]:
    """The manifest and the network of an ONNX file; raises ArtefactError for another file."""
    manifest, content = Manifest.open(path)
    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.node:  # an empty file is a valid message
            raise DecodeError("nothing in it")
    except DecodeError as error:
        raise ArtefactError(
            f"{path.name} is no ONNX ({error}): `segmif export onnx` writes one of the weights"
        ) from error
    tensors = [*model.graph.initializer]
    tensors += [each.t for node in model.graph.node for each in node.attribute]
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in tensors):
        raise ArtefactError(
            f"{path.name} keeps numbers in another file, which its manifest does not cover: "
            "`segmif export onnx` writes one file"
        )
    return manifest, model


def expected_facts(build: Build, machine: "library.Machine") -> dict[str, Any]:
    """The facts in the manifest of an engine of this build on this machine."""
    return {
        **machine.facts,
        "profile": build.profile.ranges,
        "profiles": [profile.ranges for profile in build.profile.tuned()],
        "workspace_mib": build.workspace_mib,
        "aux_streams": build.aux_streams,
        "attention": "plugin" if build.plugin and ATTENTION in build.nodes else "native",
        "pixels": "plugin" if build.plugin and PIXELS in build.nodes else "native",
        "plugin_sha256": sha256(build.plugin) if build.plugin and build.plugin.is_file() else None,
    }


def check_disk_space(source: Path, out: Path) -> None:
    """Makes the engine's folder; raises OSError if it is not writable or the disk is too full."""
    folder = out.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} cannot be written by user {os.getuid()}: give it to that user")
    needed, free = SIZE_FACTOR * source.stat().st_size, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e6:.1f} MB free, an engine of {source.name} may take "
            f"{needed / 1e6:.1f} MB: free some disk space"
        )


def up_to_date(source: Path, out: Path, build: Build, machine: "library.Machine") -> bool:
    """Whether `out` was built from this ONNX, with these settings, for this machine."""
    if not out.is_file() or not Manifest.beside(out).is_file():
        return False
    try:
        there = Manifest.read(out)
    except ManifestError as error:
        print(f"{error}: it is built again")
        return False
    same_source = there.source_sha256 == Manifest.read(source).sha256
    return same_source and there.engine == expected_facts(build, machine)


def prepare(
    model: onnx.ModelProto, version: tuple[int, ...], plugins: frozenset[str]
) -> onnx.ModelProto:
    """
    A copy of the model for the parser of a TensorRT version, with our plugin for the named nodes.

    Parsers before 10.7 must not find the bodies of those, because they prefer them. The body of any
    other node replaces it: from 10.7 on, the parser prefers any loaded plugin. Raises
    ArtefactError if there is none of the named nodes.
    """
    if plugins and not count_nodes(model, plugins):
        raise ArtefactError(
            "no node of this ONNX is our plugin's: export it without --inline, or build it native"
        )
    model = onnx.ModelProto.FromString(model.SerializeToString())
    others = [(f.domain, f.name) for f in model.functions if f.name not in plugins]
    if others:
        model = onnx.inliner.inline_selected_functions(model, others)
    if version < PLUGIN_PREFERRED:
        del model.functions[:]  # all that are left have a plugin
    return model


def serialize(trt: Any, model: onnx.ModelProto, build: Build) -> bytes:
    """
    A model to the bytes of an engine, by the module `tensorrt` or one with its interface.

    Raises ArtefactError with the reason of the parser or the builder.
    """
    version = library.version_of(trt)
    log = library.TensorRTLog(trt)
    builder = trt.Builder(log.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    plugins = build.nodes if build.plugin else frozenset()
    prepared = prepare(model, version, plugins)
    if not parser.parse(prepared.SerializeToString()):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ArtefactError(f"TensorRT {trt.__version__} cannot read this ONNX: {errors}")
    check_plugins(trt, network, count_nodes(model, plugins))
    config = configure(trt, builder, network, build)
    cache = open_timing_cache(trt, config, build.timing_cache)
    progress = monitor(trt, lambda percent, phase: print(f"{percent} %: {phase}", flush=True))
    config.progress_monitor = progress
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ArtefactError(
            f"TensorRT {trt.__version__} built no engine: {log.last_error}; if memory is "
            "short, use a smaller profile or a larger --workspace-mib"
        )
    if build.timing_cache and cache is not None:
        build.timing_cache.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(build.timing_cache, bytes(cache.serialize()))
    return bytes(engine)


def count_nodes(model: onnx.ModelProto, names: frozenset[str]) -> int:
    """How many of a network's nodes are ours and have one of these names."""
    return sum(node.domain == DOMAIN and node.op_type in names for node in model.graph.node)


def check_plugins(trt: Any, network: Any, wanted: int) -> None:
    """
    Raises ArtefactError unless the parsed network has `wanted` layers that a plugin computes.

    Counted before the build: an engine may hide plugins inside other layers.
    """
    kind = getattr(trt.LayerType, "PLUGIN_V3", None)  # TensorRT-RTX takes no plugins
    held = sum(network.get_layer(place).type == kind for place in range(network.num_layers))
    if held != wanted:
        raise ArtefactError(
            f"our plugin is in {held} layers of the parsed network, {wanted} were expected: is the "
            "library built for this TensorRT? --attention native does without"
        )
