"""Opens what `segmif infer` is asked for: two recordings and their output."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from segmif.files import shown
from segmif.runtime import Runtime
from segmif.sources.ffmpeg import imported
from segmif.sources.frame import Part, Source
from segmif.sources.open_source import FILES, is_one_source, local_path, open_source
from segmif.spared_inputs import check_spared

from ...live.sinks.settings import ImagesSettings, McapSettings, VideoSettings
from ...pipeline.pair_rules import PairRules
from ...pipeline.result import tint_used
from ...pipeline.result_files import FOLDERS
from ..infer_report import REPORT
from .clock import OffsetMs, Openers
from .image_output import ImageOutput
from .output import NEXT, Output, part_of
from .recording import RIG, Recording
from .run_record import RECORD, Facts, RunRecord, facts_of_source

VIDEOS, BAG = (".mp4", ".mkv"), ".mcap"
NO_OUTPUTS = {*FILES, BAG, ".bag", ".seq", ".cptv"}  # unless they are written as above
PictureChoice = Literal["fused", "overlay", "mosaic"]


@dataclass(frozen=True)
class RecordingOptions:
    """What the flags state of the recordings and of their output."""

    picture: PictureChoice = "fused"
    codec: str = "h264"
    quality: int = 21
    frames: bool = False  # pictures instead of a video
    offset_ms: OffsetMs = 0.0
    tolerance_ms: float | None = None
    refine: bool = False
    registration: bool = False
    objects: bool = False
    overwrite: bool = False


def open_recording(
    visible: str,
    infrared: str,
    out: Path,
    options: RecordingOptions,
    runtime: Runtime,
    rules: PairRules,
) -> Recording:
    """Open two recordings; raises ValueError, SinkError or OSError for what cannot be."""
    sources: Openers = {
        "visible": partial(_recorded, visible, "visible"),
        "infrared": partial(_recorded, infrared, "infrared"),
    }
    for open_it in sources.values():
        source = open_it()  # raises for what no source can be
    if is_one_source(visible, infrared):
        print(f"both sources are {source.address}", file=sys.stderr)
    output = open_output(out, options, runtime, rules)
    single = output.target.suffix in (*VIDEOS, BAG) and output.target == out
    beside = f"{out.stem}." if single else ""
    folder = out.parent if single else out
    report, record = folder / f"{beside}{REPORT}", folder / f"{beside}{RECORD}"
    written = [*_files_of(output.target, options), report, record]
    check_spared(written, filter(None, map(local_path, (visible, infrared))))
    tolerance_ms = options.tolerance_ms
    return Recording(
        sources,
        output,
        report,
        record,
        RunRecord(
            facts_of_source(visible),
            facts_of_source(infrared),
            settings_of(output.target, options, runtime, rules),
        ),
        options.offset_ms,
        None if tolerance_ms is None else round(tolerance_ms * 1e6),
        options.refine,
        options.registration,
        options.objects,
        options.overwrite,
        min(filter(None, map(expected_frames, (visible, infrared))), default=None),
    )


def _files_of(target: Path, options: RecordingOptions) -> list[Path]:
    """What an output writes: files, or folders of pictures."""
    if options.frames:
        return [target / name for name in (*FOLDERS, "overlay")]
    return [target, part_of(target), part_of(target, NEXT)]


def open_output(out: Path, options: RecordingOptions, runtime: Runtime, rules: PairRules) -> Output:
    """The output that a path and the flags stand for; raises ValueError, SinkError or OSError."""
    if options.frames:
        if options.picture == "mosaic":
            raise ValueError("--frames writes fused, mask and overlay; mosaic is for a video")
        if out.suffix.lower() in NO_OUTPUTS:
            raise ValueError(f"--frames writes to a folder, and {shown(out)} names a file")
        return ImageOutput(ImagesSettings(path=out, overlay=options.picture == "overlay"))
    if out.suffix == BAG:
        from .mcap_output import McapOutput

        cameras = rules.rig_aligner.rig if rules.rig_aligner else None
        return McapOutput(_bag_settings(out, options), RIG, runtime.manifest.classes, cameras)
    from .video_output import VideoOutput

    target = out if out.suffix in VIDEOS else out / f"{options.picture}.mkv"
    try:
        settings = VideoSettings(
            path=target, picture=options.picture, codec=options.codec, quality=options.quality
        )
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return VideoOutput(settings)


def expected_frames(spec: str) -> int | None:
    """About how many frames a video file has; None for what does not say it."""
    path = Path(spec)
    if not path.is_file():
        return None
    try:
        av = imported()
        with path.open("rb") as file, av.open(file, metadata_errors="replace") as container:
            stream = container.streams.video[0]
            seconds = (container.duration or 0) / av.time_base
            return int(stream.frames or seconds * (stream.average_rate or 0)) or None
    except Exception:  # what is wrong is said when it is read
        return None


def _bag_settings(out: Path, options: RecordingOptions) -> McapSettings:
    settings = McapSettings(path=out)
    if options.picture in settings.topics:
        return settings
    return settings.model_copy(update={"topics": (*settings.topics, options.picture)})


def settings_of(
    target: Path, options: RecordingOptions, runtime: Runtime, rules: PairRules
) -> Facts:
    """What decides on the results, besides the recordings."""
    aligner, form = rules.rig_aligner, "pictures" if options.frames else target.suffix
    facts: dict[str, Any] = {
        "output": form,
        "picture": options.picture,
        "codec": options.codec,
        "quality": options.quality,
        "offset_ms": options.offset_ms,
        "tolerance_ms": options.tolerance_ms,
        "refine": options.refine,
        "registration": options.registration,
        "objects": str(rules.objects) if options.objects else None,
        "degraded": rules.degraded,
        "max_skew_ms": str(rules.max_skew_ms) if rules.skew_stated else None,
        "max_invalid": rules.max_invalid,
        "gain": str(rules.gain),
        "rig_sha256": aligner and aligner.sha256,
        "depth_m": aligner and str(aligner.depth_m),
        "visible camera": json.dumps(rules.cameras.visible.stated()),
        "infrared camera": json.dumps(rules.cameras.infrared.stated()),
        "tint": tint_used(rules.tint, runtime),
        "weights_sha256": runtime.manifest.sha256,
        "engine": runtime.name,
    }
    return facts


def _recorded(spec: str, part: Part) -> Source:
    source = open_source(spec, part)
    if source.live:
        raise ValueError(
            f"{part}: {source.address} is live and has no end, expected a recording; "
            "`segmif run` reads what is live"
        )
    return source
