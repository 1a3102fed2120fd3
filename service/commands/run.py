"""`segmif run`: the rigs that its flags or its settings file name."""

import argparse
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from segmif.argument_types import FloatRange
from segmif.classes import Taxonomy
from segmif.parsing import parse_toml
from segmif.sources.ros_topic import NAME
from segmif.thermal.camera_profile import Cameras

from ..live.open_rig import check_classes, check_rig
from ..live.rig_settings import LiveSettings, RigSettings
from ..live.sinks.open_sinks import parse_sink
from ..live.sinks.picture import PictureName
from ..live.sinks.settings import SinkSettings
from ..schemas.pair_options import STREAM_NAME
from ..settings.environment import closest
from ..settings.settings import RIGS
from .pairing_flags import add_pairing_arguments

FLAGS = (
    *("visible", "infrared", "name", "offset_ms", "tolerance_ms", "max_rate"),
    *("alone_after_s", "refine", "registration"),
)
# What the patterns of names let through.
NAMES = {
    STREAM_NAME: "1 to 64 letters, digits, _, . or -",
    NAME.pattern: "a namespace such as /robot/front",
}
CAMERAS = "two sources: --visible and --infrared, or [[rigs]] in the file that --config names"


def add_rig_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that name one rig; a settings file may name several."""
    rig = parser.add_argument_group("the rig; several stand as [[rigs]] in the file of --config")
    rig.add_argument("--visible", metavar="SRC", help="colour camera: device, URL, video, folder")
    rig.add_argument("--infrared", metavar="SRC", help="thermal camera, likewise")
    rig.add_argument("--name", help="of the rig, in pages, files and metrics (rig)")
    add_pairing_arguments(rig)
    rig.add_argument(
        "--max-rate",
        type=FloatRange(0, 10_000),
        metavar="HZ",
        help="pairs a second that are taken at most (all)",
    )
    rig.add_argument(
        "--alone-after",
        dest="alone_after_s",
        type=FloatRange(0, 86_400),
        metavar="SECONDS",
        help="without a new picture of one camera, after which the other goes on alone; 0: never "
        "(3)",
    )
    rig.add_argument(
        "--refine", action="store_true", default=None, help="mend what misalignment pairs show"
    )
    rig.add_argument(
        "--registration",
        action="store_true",
        default=None,
        help="keep infrared in place by what all pairs show, in milliseconds",
    )
    rig.add_argument(
        "--out",
        action="append",
        metavar="SINK",
        help="recording or stream out, such as out.mkv, out.mcap or rtsp://host/path; repeatable",
    )
    rig.add_argument(
        "--picture", choices=get_args(PictureName), help="that videos and streams of --out show"
    )
    recordings = parser.add_argument_group("recordings")
    recordings.add_argument(
        "--once",
        action="store_true",
        help="process every pair of the recordings as fast as possible, then end",
    )
    recordings.add_argument(
        "--speed",
        type=FloatRange(0, 1000),
        default=1.0,
        help="of recordings without --once: 2 plays twice as fast (1)",
    )


def _sink(word: str, picture: str | None) -> SinkSettings:
    sink = parse_sink(word)
    shows = picture is not None and hasattr(sink, "picture")
    return sink.model_copy(update={"picture": picture}) if shows else sink


def live_settings(options: argparse.Namespace) -> LiveSettings:
    """The rigs of the flags, else those of the settings file; raises OSError or ValueError."""
    flags = {name: value for name in FLAGS if (value := getattr(options, name)) is not None}
    if options.out:
        flags["sinks"] = [_sink(word, options.picture) for word in options.out]
    if options.picture and not any(hasattr(sink, "picture") for sink in flags.get("sinks", ())):
        raise ValueError("--picture is for videos and streams: state one with --out as well")
    listed = parse_toml(options.config).get(RIGS, []) if options.config else []
    if flags and listed:
        raise ValueError(f"{options.config} lists rigs, and flags name one: use either")
    if not listed and not {"visible", "infrared"} <= flags.keys():
        raise ValueError(f"segmif run needs {CAMERAS}")
    if not isinstance(listed, list):
        raise ValueError(f"{options.config}: rigs must be tables [[rigs]], got {listed!r:.80}")
    stated = {"rigs": listed or [flags], "once": options.once, "speed": options.speed}
    try:
        return LiveSettings.model_validate(stated)
    except ValidationError as error:
        # A misspelt setting comes before the one that is missing for it.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        words, loc = _words(first), first["loc"]
        place = ".".join(map(str, loc)) if listed else f"--{loc[-1]}" if loc else ""
        raise ValueError(f"{place}: {words}" if place else words) from None


def _words(fault: ErrorDetails) -> str:
    """What is wrong with a setting of a rig, in words of ours where pydantic's say too little."""
    match fault:
        case {"type": "extra_forbidden", "loc": (_, _, str(name))}:
            close = closest(name, RigSettings.model_fields)
            return f"no setting of a rig{f'; is {close} meant?' if close else ''}"
        case {"type": "extra_forbidden"}:
            return "no setting of this table"
        case {"type": "string_pattern_mismatch", "ctx": {"pattern": pattern}}:
            what = NAMES.get(pattern, f"what fits {pattern}")
            return f"expected {what}, got {fault['input']!r:.80}"
    return fault["msg"].removeprefix("Value error, ")


def check_rigs(settings: LiveSettings, service: Cameras | None = None) -> None:
    """
    Raise ValueError or OSError for a rig that cannot be opened as its settings state it.

    `service`: what the service's settings state of the cameras; None: that is not known yet.
    """
    for rig in settings.rigs:
        check_rig(rig, settings, service)


def check_rig_classes(settings: LiveSettings, taxonomy: Taxonomy) -> None:
    """Raise ValueError for a class of objects or events that the network does not have."""
    for rig in settings.rigs:
        check_classes(rig, taxonomy)
