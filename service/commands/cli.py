"""The commands of `python -m service`: serve, infer and bench."""

import argparse
import logging.config
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from segmif.addresses import masked
from segmif.argument_types import FloatRange, IntegerRange, MaskingParser
from segmif.cli import INTERRUPTED, print_any_name
from segmif.files import shown, words_of
from segmif.frames import TINTS
from segmif.geometry.rig import read_rig
from segmif.interrupts import end_in_order
from segmif.parsing import parse_toml
from segmif.runtime import Device
from segmif.thermal.camera_profile import Cameras

from ..app import create_app
from ..live.rig_settings import LiveSettings
from ..live.rigs import Rigs
from ..live.sinks.sink_error import SinkError
from ..memory.process_limit import bound_memory, bound_memory_by_machine, freeze, use_one_arena
from ..observability.logs import log_config
from ..scheduler.model_loading import LoadedModel, load_model
from ..schemas.camera_options import CameraFields
from ..server.process_limits import fitted, limit_threads, log_limits
from ..server.transport import Server, check_listening, server_config
from ..settings import Settings, as_toml, load_settings
from ..settings.environment import FILE_VARIABLE
from ..settings.settings import RIGS
from . import shadow
from .infer_command import add_infer_arguments, check_infer, infer
from .on_ray.arguments import add_ray_arguments
from .on_ray.serve import serve_on_ray
from .run import add_rig_arguments, check_rig_classes, check_rigs, live_settings

DESCRIPTION = "Serve answers over HTTP, infer works through folders and recordings, bench measures."

RUN = """\
Read two cameras or recordings, fuse each pair, show it on the page, record or pass it on.

  segmif run --visible /dev/video0 --infrared /dev/video2 --out day.mkv"""
INFER = """\
Fuse and label two folders of frames, or two recordings.

  segmif infer --visible colour.mp4 --infrared thermal.mkv --out fused.mp4"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m service") -> int:
    """
    Run one subcommand; gives the exit code.

    0: done, 1: pairs failed or refused, or the network hangs, 2: could not start, 130: interrupted.
    """
    print_any_name()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["shadow"]:
            return shadow.main(arguments[1:], f"{prog} shadow")
        if arguments[:1] == ["bench"]:
            end_in_order()
            return measure(arguments[1:], prog)
        return run(parser(prog).parse_args(arguments))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED


def run(options: argparse.Namespace) -> int:
    """Serve or infer as the options say; gives the exit code."""
    try:
        settings = settings_of(options)
        if options.print_config:
            print(as_toml(settings), end="")
            return 0
        check_flags(options, settings)
        if options.command == "serve" and options.config:
            say_rigs(options.config)
        if options.command == "serve" and options.ray:
            return serve_on_ray(settings, options.replicas, partial(settings_of, options))
        if options.command == "run":
            check_rigs(live_settings(options), cameras_of(settings))
        if options.command == "infer":
            check_infer(options)
            return infer(options, settings)
        use_one_arena()
        opened = load_model(settings, with_candidate=True)
        if options.command == "run":
            check_rig_classes(live_settings(options), opened.runtime.manifest.classes)
    except (OSError, ValueError, SinkError) as error:  # ours are among them
        print(masked(words_of(error)), file=sys.stderr)
        return 2
    limit_threads()
    opened = replace(opened, settings=fitted(opened.settings))
    reopen_rigs = partial(live_settings, options) if options.command == "run" else None
    reopen = partial(reload_model, options)
    return serve(opened, reopen, reopen_rigs)


def check_flags(options: argparse.Namespace, settings: Settings) -> None:
    """Raise ValueError for flags that do not go together."""
    if options.plugin and settings.weights.suffix == ".onnx":  # images set it for all weights
        raise ValueError(
            f"--plugin {options.plugin} is for an engine that was built with it, and "
            f"{settings.weights.name} is none: leave it out, or name the engine with --weights"
        )
    if options.command != "run" and options.replicas and not options.ray:
        raise ValueError("--replicas is for --ray")


def say_rigs(config: Path) -> None:
    """Says so if a settings file lists rigs, which serving reads nothing of."""
    if RIGS in parse_toml(config):
        print(
            f"note: {shown(config)} lists rigs, which `segmif serve` does not read: "
            f"`segmif run --config {shown(config)}` serves and reads them",
            file=sys.stderr,
        )


def reload_model(options: argparse.Namespace) -> LoadedModel:
    """What the settings name now, opened; raises as `load_model`."""
    return load_model(fitted(settings_of(options)), with_candidate=True)


def settings_of(options: argparse.Namespace) -> Settings:
    """Settings of the command line, else the environment, else the file that either names."""
    return load_settings(vars(options), options.config)


def cameras_of(settings: Settings) -> Cameras:
    """What the settings, and the rig file that they name, state of the cameras."""
    if not settings.rig:
        return settings.cameras()
    return settings.cameras().over(read_rig(settings.rig).frames)


def measure(arguments: Sequence[str], prog: str) -> int:
    """Run `service.commands.bench`, whose client the base install lacks."""
    try:
        from . import bench
    except ImportError as error:
        print(error, file=sys.stderr)
        return 2
    return bench.main(arguments, f"{prog} bench")


def serve(
    opened: LoadedModel,
    reopen: Callable[[], LoadedModel],
    reopen_rigs: Callable[[], LiveSettings] | None = None,
) -> int:
    """
    Answer over HTTP, and read the rigs if there are any, until a signal stops it.

    SIGHUP reloads what `reopen` and `reopen_rigs` open.
    """
    settings = opened.settings
    try:
        if settings.memory_mib:
            bound_memory(settings.memory_mib)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    app = create_app(
        settings,
        opened.runtime,
        opened.rig_aligner,
        opened.reference,
        reopen,
        candidate=opened.candidate,
    )
    if reopen_rigs:
        app.state.rigs = Rigs(reopen_rigs(), app.state.dispatcher)
        app.state.reopen_rigs = reopen_rigs
    try:
        config = server_config(app, settings, app.state.dispatcher.metrics.refused)
    except OSError as error:
        print(f"the TLS certificate or key cannot be used: {words_of(error)}", file=sys.stderr)
        return 2
    try:
        check_listening(settings)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # Python adds the address
        print(
            f"cannot listen on {settings.host} port {settings.port} ({why}): stop what does, or "
            "choose another --port or --host (make serve: PORT=)",
            file=sys.stderr,
        )
        return 2
    logging.config.dictConfig(log_config(settings.log))
    if settings.memory_mib is None and not settings.on_gpu:  # CUDA maps more than it takes
        bound_memory_by_machine()
    log_limits(settings)
    server = Server(config)
    app.state.give_up = server.give_up
    if app.state.rigs:
        app.state.rigs.all_ended = server.stop
    freeze()
    end_in_order()  # uvicorn drains, and puts this back
    server.run()
    return 1 if server.failed or (app.state.rigs and app.state.rigs.failed) else 0


def common() -> MaskingParser:
    """Describe the flags of both serve and infer."""
    network = MaskingParser(add_help=False)
    network.add_argument(
        "--weights", type=Path, metavar="FILE", help=".onnx or .engine, its manifest beside it"
    )
    network.add_argument(
        "--plugin", type=Path, metavar="FILE", help="library of the attention, for an engine"
    )
    network.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=os.environ.get(FILE_VARIABLE),
        help="TOML with settings, weaker than flags and environment",
    )
    network.add_argument(
        "--print-config", action="store_true", help="print the settings in force, as such a file"
    )
    network.add_argument(
        "--threads", type=IntegerRange(1, 1024), help="CPU threads of the network (one per core)"
    )
    network.add_argument(
        "--device",
        choices=get_args(Device),
        help="what runs an .onnx (cpu); auto: ONNX Runtime or OpenVINO, as a measurement says",
    )
    network.add_argument(
        "--rig",
        type=Path,
        metavar="FILE",
        help="rig.yaml of the cameras; else frames are taken as aligned",
    )
    network.add_argument(
        "--depth-m",
        type=FloatRange(0, math.inf),
        metavar="M",
        help="depth of the plane that the rig aligns (far)",
    )
    network.add_argument(
        "--tint",
        type=FloatRange(*TINTS),
        metavar="0..1",
        help="strength of the fused frame's hue; 0: the visible colour alone (as the weights say)",
    )
    cameras = network.add_argument_group("what is stated of the cameras")
    for name, field in CameraFields.model_fields.items():
        kinds = get_args(field.annotation)  # the type, or its choices, and None
        cameras.add_argument(
            f"--{name.replace('_', '-')}",
            type=kinds[0] if isinstance(kinds[0], type) else str,
            choices=get_args(kinds[0]) or None,
            help=(field.description or "").replace("%", "%%"),
        )
    return network


def common_of_services() -> MaskingParser:
    """Describe the flags of both serve and run."""
    service = MaskingParser(add_help=False)
    service.add_argument("--host", help="address to listen on (127.0.0.1)")
    service.add_argument("--port", type=IntegerRange(0, 65_535), help="(8000)")
    service.add_argument(
        "--open-to-all",
        action="store_true",
        default=None,
        help="listen beyond this machine without a token (SEGMIF_TOKEN)",
    )
    service.add_argument(
        "--reference", type=Path, metavar="FILE", help=".onnx that the weights must agree with"
    )
    service.add_argument(
        "--shadow-weights",
        type=Path,
        metavar="FILE",
        help="candidate that sees a share of the pairs and never answers; GET /shadow compares",
    )
    service.add_argument(
        "--shadow-share", type=FloatRange(0, 1), metavar="0..1", help="of the pairs (0.1)"
    )
    service.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        help="earlier pairs of a stream steady its labels and pictures (yes)",
    )
    service.add_argument("--log", choices=("text", "json"), help="form of the log lines (text)")
    service.add_argument(
        "--tls-certificate", type=Path, metavar="PEM", help="with --tls-key: HTTPS"
    )
    service.add_argument("--tls-key", type=Path, metavar="PEM")
    return service


def parser(prog: str = "python -m service") -> argparse.ArgumentParser:
    """Describe the command line."""
    top = MaskingParser(prog=prog, description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True)
    network = common()
    serving = common_of_services()
    answering = commands.add_parser("serve", parents=[network, serving], help="answer over HTTP")
    add_ray_arguments(answering, "many replicas on Ray, that of RAY_ADDRESS or of this machine")
    run = commands.add_parser(
        "run",
        parents=[network, serving],
        help="read cameras or recordings, fuse and pass on",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_rig_arguments(run)
    infer = commands.add_parser(
        "infer",
        parents=[network],
        help="fuse and label folders of pairs, or recordings",
        description=INFER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_infer_arguments(infer)
    commands.add_parser("shadow", help="compare, promote or drop a candidate network")
    commands.add_parser("bench", help="measure a running service (needs the extra `client`)")
    return top
